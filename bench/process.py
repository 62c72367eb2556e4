"""What the kernel says of a process: CPU time and resident memory."""

from __future__ import annotations

from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Seconds on a processor of all the process's threads that are alive, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue  # The thread has ended meanwhile.
    return total / 1e9


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no memory: has it ended?")
