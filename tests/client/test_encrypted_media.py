"""Sound and pictures encrypted from end to end, between ours and PyPI's `livekit`."""

from __future__ import annotations

import asyncio

import pytest
from peers import run_python
from servers import ROOM, open_server

pytestmark = pytest.mark.asyncio

KEY = "our secret"


@pytest.mark.parametrize(
    ("ours", "theirs", "guess"), [("vp9", "vp8", "a guess"), ("h264", "h264", "")], ids=["wrong", "without"]
)
async def test_only_the_right_key_hears_and_sees(ours: str, theirs: str, guess: str) -> None:
    with open_server() as server:
        async with (
            run_python("ada", "roomful") as ada,
            run_python("bob") as bob,
            run_python("eve", "roomful") as eve,
        ):
            for peer, key in ((ada, KEY), (bob, KEY), (eve, guess)):
                token = server.token(identity=peer.identity, room=ROOM)
                await peer.connect(server.url, token, False, key)
            await asyncio.gather(ada.publishTone(440), bob.publishTone(880))
            await asyncio.gather(ada.publishColour("red", ours), bob.publishColour("blue", theirs))
            await asyncio.gather(ada.hears("bob", 880), bob.hears("ada", 440))
            await asyncio.gather(ada.sees("bob", "blue"), bob.sees("ada", "red"))
            for sender in ("ada", "bob"):
                if guess:
                    await eve.notices("encryption", f"{sender} DECRYPTION_FAILED")
                else:
                    await eve.notices("subscriptionFailed", sender)
            assert await eve.perceives() == []
            await eve.publishTone(660)
            await ada.notices(
                *("encryption", "eve DECRYPTION_FAILED") if guess else ("subscriptionFailed", "eve")
            )
            assert await ada.perceives() == ["bob"]
