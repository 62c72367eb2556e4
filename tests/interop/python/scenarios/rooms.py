"""Coming, going, and being known to others."""

from __future__ import annotations

import asyncio

from livekit import api

from ..sdk import rtc
from ..stage import Stage, scenario


@scenario(recorded=True)
async def join_and_leave(stage: Stage) -> None:
    ada, bob = await stage.pair()
    await bob.leave()
    await ada.sees_event("participant_disconnected", "bob")


@scenario(recorded=True)
async def a_publisher_leaves(stage: Stage) -> None:
    ada, bob = await stage.pair()
    await ada.play(440)
    await bob.hears("ada", 440)
    await ada.sees_event("local_track_subscribed")
    await ada.leave()
    await bob.sees_event("participant_disconnected", "ada")


@scenario(recorded=True)
async def leave_and_return(stage: Stage) -> None:
    ada, bob = await stage.pair()
    await bob.leave()
    await ada.sees_event("participant_disconnected", "bob")
    again = await stage.join("bob")
    await ada.meets_active("bob")
    await ada.play(440)
    await again.hears("ada", 440)
    await ada.sees_event("local_track_subscribed")


@scenario(recorded=True)
async def about_oneself(stage: Stage) -> None:
    ada = await stage.join(
        "ada", can_update_own_metadata=True, name="Ada", metadata="one", attributes={"mood": "fine"}
    )
    bob = await stage.join("bob")
    await bob.meets("ada")
    seen = bob.other("ada")
    assert (seen.name, seen.metadata, dict(seen.attributes)) == ("Ada", "one", {"mood": "fine"})
    await ada.meets_active("bob")
    await ada.me.set_metadata("two")
    await bob.sees_event("participant_metadata_changed", "ada", "two")
    await ada.sees_event("participant_metadata_changed", "ada")
    await ada.me.set_name("Ada L.")
    await bob.sees_event("participant_name_changed", "ada", "Ada L.")
    await ada.sees_event("participant_name_changed", "ada")
    await ada.me.set_attributes({"mood": "", "place": "here"})
    await bob.sees_event("participant_attributes_changed")
    await ada.sees_event("participant_attributes_changed")
    assert dict(bob.other("ada").attributes) == {"place": "here"}


@scenario(recorded=True)
async def the_same_identity_twice(stage: Stage) -> None:
    ada, bob = await stage.pair()
    again = await stage.join("bob")
    await bob.sees_event("disconnected")
    await ada.sees_event("participant_connected", "bob", count=2)
    await ada.meets_active("bob")
    await again.meets("ada")
    assert bob.log[-1] == ["disconnected", rtc.DisconnectReason.DUPLICATE_IDENTITY]
    assert not bob.room.isconnected()
    await ada.play(440)
    await again.hears("ada", 440)
    await ada.sees_event("local_track_subscribed")


@scenario(recorded=True)
async def removed_through_the_api(stage: Stage) -> None:
    ada, bob = await stage.pair()
    async with stage.api() as lk:
        listed = await lk.room.list_participants(api.ListParticipantsRequest(room=stage.room))
        assert {one.identity for one in listed.participants} == {"ada", "bob"}
        await lk.room.remove_participant(api.RoomParticipantIdentity(room=stage.room, identity="bob"))
        await bob.sees_event("disconnected")
        await ada.sees_event("participant_disconnected", "bob")
        left = await lk.room.list_participants(api.ListParticipantsRequest(room=stage.room))
        assert {one.identity for one in left.participants} == {"ada"}
    assert bob.log[-1] == ["disconnected", rtc.DisconnectReason.PARTICIPANT_REMOVED]


@scenario(recorded=True)
async def the_room_is_deleted(stage: Stage) -> None:
    ada, bob = await stage.pair()
    async with stage.api() as lk:
        rooms = await lk.room.list_rooms(api.ListRoomsRequest(names=[stage.room]))
        assert [one.name for one in rooms.rooms] == [stage.room]
        await lk.room.delete_room(api.DeleteRoomRequest(room=stage.room))
        for person in (ada, bob):
            await person.sees_event("disconnected")
            assert person.log[-1] == ["disconnected", rtc.DisconnectReason.ROOM_DELETED]
        rooms = await lk.room.list_rooms(api.ListRoomsRequest(names=[stage.room]))
        assert not rooms.rooms


@scenario()
async def what_a_room_tells(stage: Stage) -> None:
    async with stage.api() as lk:
        made = await lk.room.create_room(
            api.CreateRoomRequest(name=stage.room, metadata="a subject", max_participants=5)
        )
    ada = await stage.join("ada")
    assert await ada.room.sid == made.sid
    assert (ada.room.name, ada.room.metadata) == (stage.room, "a subject")


@scenario()
async def nobody_sees_the_hidden(stage: Stage) -> None:
    ada = await stage.join("ada")
    spy = await stage.join("spy", hidden=True)
    await spy.meets("ada")
    bob = await stage.join("bob")
    await ada.meets("bob")
    await ada.play(440)
    await spy.hears("ada", 440)
    await bob.hears("ada", 440)
    assert "spy" not in bob.room.remote_participants
    assert "spy" not in ada.room.remote_participants
    assert not [event for person in (ada, bob) for event in person.log if "spy" in event]


@scenario(recorded=True)
async def connect_again_when_the_signal_breaks(stage: Stage) -> None:
    """The client asks to resume; a server that cannot has it start anew."""
    ada, bob = await stage.pair()
    await ada.play(440)
    await bob.hears("ada", 440)
    await ada.room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
    await ada.sees_event("reconnected")
    await bob.sees_event("track_subscribed", "audio", count=2)
    await ada.sees_event("local_track_subscribed", count=2)
    await bob.hears_afresh("ada", 440)


async def _comes_back_from(stage: Stage, kind: int) -> None:
    """With its track, in full: everybody sees it leave and return."""
    ada, bob = await stage.pair()
    await ada.play(440)
    await bob.hears("ada", 440)
    await ada.sees_event("local_track_subscribed")
    await ada.room.simulate_scenario(kind)
    await ada.sees_event("reconnected")
    await bob.sees_event("track_subscribed", "audio", count=2)
    await ada.sees_event("local_track_subscribed", count=2)
    await bob.hears_afresh("ada", 440)


@scenario(recorded=True)
async def simulated_failure_of_the_node(stage: Stage) -> None:
    await _comes_back_from(stage, rtc.SimulateScenarioKind.SIMULATE_NODE_FAILURE)


@scenario(recorded=True)
async def simulated_migration(stage: Stage) -> None:
    await _comes_back_from(stage, rtc.SimulateScenarioKind.SIMULATE_MIGRATION)


@scenario(recorded=True)
async def simulated_want_of_tcp(stage: Stage) -> None:
    await _comes_back_from(stage, rtc.SimulateScenarioKind.SIMULATE_FORCE_TCP)


@scenario(recorded=True)
async def simulated_loss_of_the_signal_that_resumed(stage: Stage) -> None:
    await _comes_back_from(stage, rtc.SimulateScenarioKind.SIMULATE_DISCONNECT_SIGNAL_ON_RESUME)


@scenario(recorded=True)
async def simulated_leave(stage: Stage) -> None:
    """For good."""
    ada, bob = await stage.pair()
    await ada.play(440)
    await bob.hears("ada", 440)
    await ada.sees_event("local_track_subscribed")
    await ada.room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_SERVER_LEAVE)
    await ada.sees_event("disconnected")
    await bob.sees_event("participant_disconnected", "ada")


@scenario(recorded=True)
async def a_lost_signal_is_found_again(stage: Stage) -> None:
    """And nobody else sees anything of it."""
    ada, bob = await stage.pair()
    await ada.play(440)
    await bob.hears("ada", 440)
    await bob.play(880)
    await ada.hears("bob", 880)
    await ada.room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
    await ada.sees_event("reconnected")
    await bob.hears_afresh("ada", 440)
    await ada.hears_afresh("bob", 880)
    await ada.me.publish_data("still here")
    await bob.receives(b"still here")
    assert not [event for event in bob.log if event[0] == "participant_disconnected"]


@scenario()
async def a_crowd_comes_at_once(stage: Stage) -> None:
    names = [f"p{number}" for number in range(8)]
    people = await asyncio.gather(*(stage.join(name) for name in names))
    for person in people:
        await person.meets(*(name for name in names if name != person.identity))
    await people[0].play(440)
    for person in people[1:]:
        await person.hears("p0", 440)
