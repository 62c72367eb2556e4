"""What a client writes into the log: its own lines and those of its media, and no secrets."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys

import pytest
from scripted import ScriptedServer
from servers import open_server

from roomful import rtc

#: In a process of its own: lines go to the oldest that listens.
ALONE = """
import threading
from roomful import _core

woken = threading.Event()
peer = _core.Peer(single=True, wake=woken.set)
peer.set_ice_servers([(["turn:nowhere.invalid"], "user", "secret")])
while not (lines := [one for one in peer.take_events() if isinstance(one, _core.PeerEvent.Log)]):
    woken.wait(30)
    woken.clear()
peer.close()
print(lines[0].level, lines[0].target, lines[0].message)
"""


def test_lines_of_the_media_come_to_the_log_without_a_server() -> None:
    said = subprocess.check_output([sys.executable, "-c", ALONE], text=True, timeout=60)
    level, target, message = said.split(" ", 2)
    assert level == "warning"
    assert target.startswith("roomful")
    assert "nowhere.invalid" in message
    assert "secret" not in message


@pytest.mark.asyncio
async def test_lines_of_the_media_are_written_as_ours(
    script: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    from scripted import Log, PaperPeer

    room = rtc.Room()
    await room.connect(script.url, "token")
    PaperPeer.made[0].emit(Log("warning", "roomful_media::client", "100% of it"))
    await room.disconnect()
    ours = [one for one in caplog.record_tuples if one[0] == "roomful.rtc"]
    assert ours == [("roomful.rtc", logging.WARNING, "roomful_media::client: 100% of it")]


@pytest.mark.asyncio
async def test_no_secret_is_in_any_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with open_server() as server:
        key = rtc.KeyProviderOptions(shared_key=b"the shared key")
        options = rtc.RoomOptions(encryption=rtc.E2EEOptions(key_provider_options=key))
        token = server.token(identity="ada", room="demo")
        room = rtc.Room()
        await room.connect(server.url, token, options)
        await room.local_participant.publish_data(b"the payload")
        await room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
        async with asyncio.timeout(20):
            again = asyncio.Event()
            room.on("reconnected", again.set)
            await again.wait()
        await room.disconnect()
        for single in (True, False):
            with pytest.raises(rtc.ConnectError):
                await rtc.Room().connect(
                    server.url, f"{token}x", rtc.RoomOptions(single_peer_connection=single)
                )
    written = "\n".join(record.getMessage() + str(record.exc_info or "") for record in caplog.records)
    assert "reconnecting" in written
    for secret in (
        token,
        token[-20:],
        "ice-pwd",
        "a=fingerprint",
        "the shared key",
        "the payload",
        "Bearer",
    ):
        assert secret not in written, secret
