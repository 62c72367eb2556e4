from __future__ import annotations

import html
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from roomful.rtc import jupyter


@pytest.fixture
def displayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a notebook displays, with a page of a few lines."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/a.js").write_text('document.write("</script>")')
    (tmp_path / "assets/a.css").write_text("body { color: red }")
    (tmp_path / "index.html").write_text(
        '<html><head><script type="module" crossorigin src="./assets/a.js"></script>'
        '<link rel="stylesheet" crossorigin href="./assets/a.css"></head></html>'
    )
    monkeypatch.setattr(jupyter, "_PAGE", tmp_path)
    displayed: list[Any] = []
    notebook = ModuleType("IPython.display")
    notebook.HTML = lambda data: SimpleNamespace(data=data)  # type: ignore[attr-defined]
    notebook.display = displayed.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    return displayed


def test_a_room_is_displayed_in_a_frame_with_everything_in_it(displayed: list[Any]) -> None:
    jupyter.display_room("wss://host", "a<", width='1"', height="5px")
    frame = displayed[0].data
    assert frame.startswith('<iframe width="1&quot;" height="5px"')
    document = html.unescape(frame.split('srcdoc="')[1].split('"></iframe>')[0])
    assert document == (
        '<html><head><script>window.roomfulInvitation = {"url": "wss://host", "token": "a\\u003c"};</script>'
        '<script type="module">document.write("<\\/script>")</script>'
        "<style>body { color: red }</style></head></html>"
    )


def test_colab_has_a_frame_already(displayed: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    jupyter.display_room("wss://host", "token")
    assert displayed[0].data.startswith("<html>")
