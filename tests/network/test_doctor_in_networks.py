"""`roomful doctor` where firewalls are in the way."""

from __future__ import annotations

import os
import subprocess
import sys

import faults
import pytest
from namespace import Link
from servers import open_command

PORT, TCP_PORT, UDP_PORT = 7880, 7881, 7882


@pytest.mark.timeout(90)
def test_blocked_udp_is_named_with_the_port_to_open(link: Link) -> None:
    options = [f"--port={PORT}", f"--bind={link.server.address}"]
    url = f"ws://{link.server.address}:{PORT}"
    doctor = link.client.command(sys.executable, "-m", "roomful.cli", "doctor", url)
    with open_command(*options, within=link.server.command()), faults.block_udp(link):
        answer = subprocess.run(
            doctor, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "300"}
        )
    said = {line[:10].strip(): line[11:] for line in answer.stdout.splitlines()}
    assert answer.returncode == 1, answer.stderr
    assert said["UDP"].startswith("no answer")
    assert f"open UDP {link.server.address}:{UDP_PORT}" in answer.stdout
    assert said["TCP"].startswith("works")
