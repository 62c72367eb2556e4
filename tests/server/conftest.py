from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from paper import PaperControl, PaperMedia

import roomful
from roomful.server.runtime import Runtime


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> PaperControl:
    control = PaperControl()
    monkeypatch.setattr(Runtime, "_open_control", lambda self, media, secret: control)
    monkeypatch.setattr(Runtime, "_open_media", lambda self, secret: PaperMedia())
    return control


@pytest_asyncio.fixture
async def server(control: PaperControl) -> AsyncIterator[roomful.Server]:
    async with roomful.Server() as server:
        yield server
