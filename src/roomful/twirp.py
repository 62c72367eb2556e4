"""A small client of the server API, for the command line."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TypeVar

import httpx
from google.protobuf.message import Message

_Answer = TypeVar("_Answer", bound=Message)


class ApiError(Exception):
    """The server refused, or could not be reached; the text is for people."""


class ApiClient:
    def __init__(self, url: str, token: str) -> None:
        """`url` as clients have it: ws, wss, http or https."""
        scheme, _, rest = url.partition("://")
        base = {"ws": "http", "wss": "https"}.get(scheme, scheme) + "://" + rest.rstrip("/")
        self._url = url
        self._http = httpx.Client(base_url=base, headers={"authorization": f"Bearer {token}"}, timeout=10.0)

    def call(self, service: str, method: str, request: Message, answer: type[_Answer]) -> _Answer:
        try:
            response = self._http.post(
                f"/twirp/livekit.{service}/{method}",
                content=request.SerializeToString(),
                headers={"content-type": "application/protobuf"},
            )
        except httpx.InvalidURL:
            raise ApiError(f"{self._url} is not a URL") from None
        except httpx.HTTPError as error:
            raise ApiError(f"cannot reach {self._url}: {error or type(error).__name__}") from None
        if response.status_code != 200:
            raise ApiError(_explain(response))
        return answer.FromString(response.content)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()


def _explain(response: httpx.Response) -> str:
    try:
        return str(response.json()["msg"])
    except (ValueError, KeyError, TypeError):
        return response.text or f"HTTP {response.status_code}"
