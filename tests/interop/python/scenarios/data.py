"""Data packets, of every kind that the client can send."""

from __future__ import annotations

import asyncio

from livekit import api

from ..sdk import rtc
from ..stage import GLANCE, WAIT, Person, Stage, scenario

#: What clients allow in one packet, nearly.
LARGE = 60_000
#: Messages each way, seconds between two of them, and how often each side loses its signalling meanwhile.
THOUSAND, PACE, BREAKS = 1000, 0.008, 2
RELIABLE = api.DataPacket.Kind.RELIABLE


@scenario(recorded=True)
async def data_packets(stage: Stage) -> None:
    ada, bob = await stage.pair()
    await ada.me.publish_data("by the sure channel")
    assert await bob.receives(b"by the sure channel")
    await ada.me.publish_data(b"by the quick one", reliable=False)
    assert not await bob.receives(b"by the quick one")
    await ada.me.publish_data("with a topic", topic="weather")
    await bob.receives(b"with a topic", topic="weather")
    await bob.me.publish_data("and back")
    await ada.receives(b"and back", sender="bob")


@scenario()
async def only_its_destinations_get_a_packet(stage: Stage) -> None:
    ada, bob = await stage.pair()
    eve = await stage.join("eve")
    await ada.meets("eve")
    await ada.sees_event("participant_active", "eve")
    await ada.me.publish_data("for bob", destination_identities=["bob"])
    await ada.me.publish_data("for all")
    await bob.receives(b"for bob")
    await eve.receives(b"for all")
    assert [data for _, data, _, _ in eve.packets] == [b"for all"]
    assert ada.packets == []


@scenario()
async def in_order_and_all_of_them(stage: Stage) -> None:
    ada, bob = await stage.pair()
    for number in range(500):
        await ada.me.publish_data(f"{number}")
    await bob.receives(b"499")
    assert [int(data) for _, data, _, _ in bob.packets] == list(range(500))


@scenario()
async def large_packets(stage: Stage) -> None:
    ada, bob = await stage.pair()
    for number in range(5):
        content = bytes([number]) * LARGE
        await ada.me.publish_data(content)
        await bob.receives(content)
        await bob.me.publish_data(content)
        await ada.receives(content, sender="bob")
    await ada.me.publish_data(b"l" * LARGE, reliable=False)
    await bob.receives(b"l" * LARGE)


@scenario()
async def data_from_the_server(stage: Stage) -> None:
    ada, bob = await stage.pair()
    async with stage.api() as lk:
        await lk.room.send_data(
            api.SendDataRequest(room=stage.room, data=b"to all", kind=RELIABLE, topic="news")
        )
        await lk.room.send_data(
            api.SendDataRequest(
                room=stage.room, data=b"to bob", kind=RELIABLE, destination_identities=["bob"]
            )
        )
    await ada.receives(b"to all", sender=None, topic="news")
    await bob.receives(b"to all", sender=None, topic="news")
    await bob.receives(b"to bob", sender=None)
    assert len(ada.packets) == 1


@scenario()
async def telephone_tones(stage: Stage) -> None:
    ada, bob = await stage.pair()
    await ada.me.publish_dtmf(code=5, digit="5")
    await bob.sees_event("sip_dtmf_received", "5")


@scenario()
async def data_tracks(stage: Stage) -> None:
    ada, bob = await stage.pair()
    track = await ada.me.publish_data_track(name="positions")
    remote = await bob.until("a data track", lambda: bob.data_tracks and bob.data_tracks[0])
    assert (remote.info.name, remote.publisher_identity) == ("positions", "ada")
    stream = remote.subscribe()
    #: More than one packet.
    payload = bytes(range(256)) * 20

    async def push() -> None:
        # Nobody tells the publisher when a subscription stands.
        while True:
            track.try_push(rtc.DataTrackFrame(payload, user_timestamp=1234))
            await asyncio.sleep(GLANCE)

    pushing = ada.spawn(push())
    async with asyncio.timeout(WAIT):
        frame = await stream.read()
    pushing.cancel()
    assert frame is not None
    assert (frame.payload, frame.user_timestamp) == (payload, 1234)
    stream.close()
    await track.unpublish()
    await bob.sees_event("data_track_unpublished")


@scenario(ours=True)
async def data_to_somebody_who_has_just_come(stage: Stage) -> None:
    """Sent at the first news of them, long before their connection stands."""
    ada = await stage.join("ada")
    async with stage.api() as lk:

        async def greet(identity: str) -> None:
            await ada.me.publish_data("welcome", destination_identities=[identity])
            await lk.room.send_data(
                api.SendDataRequest(room=stage.room, data=b"from the server", kind=RELIABLE)
            )

        ada.room.on("participant_connected", lambda who: ada.spawn(greet(who.identity)) and None)
        for identity in ("bob", "carl", "dora", "eric", "fred"):
            person = await stage.join(identity)
            await person.receives(b"welcome")
            await person.receives(b"from the server", sender=None)
            assert len([one for one in person.packets if one[1] == b"welcome"]) == 1


@scenario(ours=True)
async def a_thousand_each_way_while_signals_break(stage: Stage) -> None:
    """Each comes once and in order, though both sides resume; livekit-server replays nothing."""
    ada, bob = await stage.pair()

    async def send_all(person: Person) -> None:
        for number in range(THOUSAND):
            await person.me.publish_data(f"{number}")
            await asyncio.sleep(PACE)

    async def break_signals(person: Person) -> None:
        for number in range(1, BREAKS + 1):
            await person.room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
            await person.sees_event("reconnected", count=number)

    await asyncio.gather(send_all(ada), send_all(bob), break_signals(ada), break_signals(bob))
    for receiver, sender in ((bob, "ada"), (ada, "bob")):
        await receiver.receives(f"{THOUSAND - 1}".encode(), sender=sender)
        assert [int(data) for _, data, _, _ in receiver.packets] == list(range(THOUSAND))
