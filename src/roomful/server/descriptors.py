"""How many files, and so connections, this process may have open at once."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import resource


def raise_limit() -> None:
    """To what the system lets this process have. For programs that are the server, never for a library."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # macOS says "no limit" and means another one: what is there has to do.
        return


def describe_limit() -> str:
    """For the log, by the names that people know the limit by."""
    if sys.platform == "win32":
        return "handles"
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"open files {soft} (ulimit -n, LimitNOFILE)"
