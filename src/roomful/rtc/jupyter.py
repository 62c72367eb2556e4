"""A room in a notebook: the page of the development server, displayed in a cell."""

from __future__ import annotations

import html
import json
import re
import sys
from pathlib import Path
from typing import Any

_PAGE = Path(__file__).parent.parent / "page"


def room_html(url: str, token: str, *, width: str, height: str) -> Any:
    """A room as `IPython.display.HTML`.

    The token is in the HTML, and so in the notebook when it is saved: let it be short-lived.

    Args:
        url: of the server, as the browser reaches it.
        width: of the frame, in CSS.
        height: of the frame, in CSS.

    Raises:
        FileNotFoundError: this installation has no page.
    """
    from IPython.display import HTML

    document = _document(url, token)
    if "google.colab" not in sys.modules:
        # Colab has its output in a frame already, which it gives the microphone.
        document = (
            f'<iframe width="{html.escape(width)}" height="{html.escape(height)}" frameborder="0" '
            'allow="microphone; camera; display-capture; autoplay; fullscreen" '
            f'srcdoc="{html.escape(document)}"></iframe>'
        )
    return HTML(document)


def display_room(url: str, token: str, *, width: str = "100%", height: str = "480px") -> None:
    """Displays a room in the current cell, as `room_html` makes it."""
    from IPython.display import display

    display(room_html(url, token, width=width, height=height))


def _document(url: str, token: str) -> str:
    """The page in one document, which has been invited already."""
    index = (_PAGE / "index.html").read_text()

    def script(match: re.Match[str]) -> str:
        source = (_PAGE / match[1]).read_text().replace("</script", r"<\/script")
        return f'<script type="module">{source}</script>'

    def style(match: re.Match[str]) -> str:
        return f"<style>{(_PAGE / match[1]).read_text()}</style>"

    invitation = json.dumps({"url": url, "token": token}).replace("<", r"\u003c")
    document = re.sub(r'<script type="module"[^>]* src="\./([^"]+)"></script>', script, index)
    document = re.sub(r'<link rel="stylesheet"[^>]* href="\./([^"]+)">', style, document)
    return document.replace("<head>", f"<head><script>window.roomfulInvitation = {invitation};</script>", 1)
