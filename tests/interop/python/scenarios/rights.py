"""What a token allows, and what becomes of the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable

from ..media import RED, Colour
from ..sdk import rtc
from ..stage import Person, Stage, scenario
from .media import MICROPHONE


async def refusal(stage: Stage, token: str) -> str:
    person = Person("refused")
    try:
        await stage.enter(person, token)
    except rtc.ConnectError as error:
        stage.people.remove(person)
        return error.message
    raise AssertionError("admitted")


@scenario(ours=True)
async def bad_tokens_are_refused(stage: Stage) -> None:
    """livekit-server does so too, but repeats the token."""
    foreign = stage.token("eve", secret="somebody else's secret, of 32 characters")
    expired = stage.token("eve", ttl=-3600)
    elsewhere = stage.token("eve", room_join=False)
    for token in (foreign, expired, elsewhere, "nonsense"):
        reason = await refusal(stage, token)
        assert "401" in reason, reason
        assert token not in reason


@scenario(ours=True, room={"max_participants": 1})
async def a_full_room_says_so(stage: Stage) -> None:
    await stage.join("ada")
    reason = await refusal(stage, stage.token("bob"))
    assert "max_participants 1" in reason, reason


@scenario()
async def publishing_needs_the_right(stage: Stage) -> None:
    """The client gives up a publication after ten seconds, whatever the server says."""
    ada = await stage.join("ada", can_publish=False)
    bob = await stage.join("bob", can_publish_sources=["microphone"])
    await ada.meets("bob")
    await bob.meets("ada")
    refused = [ada.spawn(attempt(ada.play(880))), bob.spawn(attempt(bob.show(Colour(RED))))]
    await bob.play(440)
    await ada.hears("bob", 440)
    assert [one.source for one in ada.other("bob").track_publications.values()] == [MICROPHONE]
    assert not bob.other("ada").track_publications
    assert not any(task.done() for task in refused)


async def attempt(publishing: Awaitable[object]) -> None:
    await publishing


@scenario()
async def listening_needs_the_right(stage: Stage) -> None:
    ada = await stage.join("ada")
    bob = await stage.join("bob", can_subscribe=False)
    eve = await stage.join("eve")
    await ada.meets("bob", "eve")
    await ada.play(440)
    await eve.hears("ada", 440)
    await bob.sees_event("track_published", "microphone")
    assert bob.publication("ada", MICROPHONE).track is None


@scenario()
async def data_needs_the_right(stage: Stage) -> None:
    ada = await stage.join("ada", can_publish_data=False)
    bob = await stage.join("bob")
    eve = await stage.join("eve")
    await ada.meets("bob", "eve")
    await bob.meets("eve")
    await ada.sees_event("participant_active", "bob")
    with contextlib.suppress(rtc.participant.PublishDataError):
        await ada.me.publish_data("not allowed")
    await eve.me.publish_data("allowed")
    await bob.receives(b"allowed", sender="eve")
    assert [data for _, data, _, _ in bob.packets] == [b"allowed"]


@scenario()
async def changing_oneself_needs_the_right(stage: Stage) -> None:
    ada, bob = await stage.pair()
    await ada.me.set_metadata("changed")
    await ada.me.set_attributes({"mood": "fine"})
    await ada.me.publish_data("after")
    await bob.receives(b"after")
    assert (bob.other("ada").metadata, dict(bob.other("ada").attributes)) == ("", {})
