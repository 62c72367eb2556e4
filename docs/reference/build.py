"""Writes the reference of `roomful.rtc` from its docstrings: `make docs`, then open docs/reference/html."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pdoc.doc
import pdoc.render
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

from roomful import rtc
from roomful.rtc import _connection, _session

HTML = Path(__file__).with_name("html")
PROTO = Path(rtc.__file__).parent / "_proto"

#: What the connection tells a room, which is not for programs.
TOLD = {name for told in (_connection.Resident, _session.News) for name in vars(told) if name[0] != "_"}


class Reference(pdoc.doc.Module):
    """With messages and enumerations as they are declared, and what is looked up when it is asked for."""

    @property
    def _member_objects(self) -> dict[str, Any]:
        members = {name: getattr(rtc, name) for name in rtc.__all__}
        return {name: self._declared(name, member) for name, member in members.items()}

    @staticmethod
    def _declared(name: str, member: Any) -> Any:
        if isinstance(member, EnumTypeWrapper):
            return type(name, (), {"__doc__": declaration(name)})
        if isinstance(member, type) and issubclass(member, Message):
            return type(name, (), {"__doc__": declaration(name)})
        return member


def declaration(name: str) -> str:
    for file in PROTO.glob("*.proto"):
        if found := re.search(
            rf"^(enum|message) {name} {{\n.*?^}}", file.read_text(), re.DOTALL | re.MULTILINE
        ):
            return f"```proto\n{found[0]}\n```"
    raise LookupError(name)


def build(target: Path) -> Path:
    """Returns the page."""
    for name in TOLD:
        getattr(rtc.Room, name).__doc__ = "@private"
    pdoc.render.configure(docformat="google", footer_text="roomful", search=True, show_source=False)
    page = Reference(rtc)
    pages = {"roomful.rtc": page}
    target.mkdir(parents=True, exist_ok=True)
    (target / "index.html").write_text(pdoc.render.html_module(page, pages))
    (target / "search.js").write_text(pdoc.render.search_index(pages))
    return target / "index.html"


if __name__ == "__main__":
    shutil.rmtree(HTML, ignore_errors=True)
    print(build(HTML))
