from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from scripted import EVENTS, PaperPeer, ScriptedServer, open_scripted

from roomful import _core, media_log
from roomful.rtc.log import sparing


@pytest.fixture(autouse=True)
def all_lines() -> None:
    """Lines of the tests before do not count."""
    sparing.forget()
    media_log.sparing.forget()


@pytest.fixture
def paper_peers(monkeypatch: pytest.MonkeyPatch) -> type[PaperPeer]:
    """Rooms have no media, and the peers that they make are noted."""
    monkeypatch.setattr(_core, "Peer", PaperPeer, raising=False)
    monkeypatch.setattr(_core, "PeerEvent", EVENTS, raising=False)
    monkeypatch.setattr(PaperPeer, "made", [])
    monkeypatch.setattr(PaperPeer, "connects", True)
    return PaperPeer


@pytest_asyncio.fixture
async def script(paper_peers: type[PaperPeer]) -> AsyncIterator[ScriptedServer]:
    async with open_scripted() as script:
        yield script
