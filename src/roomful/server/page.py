"""The page that a development server shows to browsers, and the token it asks for."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from starlette.datastructures import Headers
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

from roomful.auth import AccessToken

_PAGE = Path(__file__).parent.parent / "page"


class Page:
    """Files below one directory; nothing outside of it is ever opened."""

    def __init__(self, directory: Path) -> None:
        self._files = {
            "/" + file.relative_to(directory).as_posix(): file
            for file in directory.rglob("*")
            if file.is_file()
        }

    @classmethod
    def find(cls, directory: Path = _PAGE) -> Self | None:
        """The built page, when this installation has it."""
        return cls(directory) if (directory / "index.html").is_file() else None

    def index(self) -> Response:
        return self._file(self._files["/index.html"])

    def respond(self, path: str) -> Response:
        file = self._files.get(path)
        return self._file(file) if file else Response(status_code=404)

    def _file(self, file: Path) -> Response:
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return FileResponse(file, media_type=kind)


def dev_token(scope: Scope, headers: Headers, query: Mapping[str, str], keys: Mapping[str, str]) -> Response:
    """`{url, token}` for whoever asks: for development only, where key and secret are public anyway."""
    room, identity = query.get("room", ""), query.get("identity", "")
    if not room or not identity:
        return PlainTextResponse("room and identity are needed", 400)
    key, secret = next(iter(keys.items()))
    token = AccessToken(key, secret).with_identity(identity).with_room(room)
    token.with_grants(can_update_own_metadata=True)
    if name := query.get("name", ""):
        token.with_name(name)
    scheme = "wss" if scope["scheme"] == "https" else "ws"
    url = f"{scheme}://{headers.get('host', 'localhost')}{scope.get('root_path', '')}"
    return JSONResponse({"url": url, "token": token.to_jwt()}, headers={"cache-control": "no-store"})
