"""A server that is about to stop: nobody new, and nobody who is here notices before it must."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from roomful.server.join import Refusal

from .world import Client, World

Gone = models.DisconnectReason
Action = rtc.LeaveRequest.Action


class Emptied:
    """How often a draining control plane has said that nobody is left."""

    def __init__(self, world: World) -> None:
        self.times = 0
        world.control.drain(self._count)

    def _count(self) -> None:
        self.times += 1


@pytest.fixture
def ada(world: World) -> Client:
    client = world.join("ada").connect()
    client.read()
    return client


@pytest.mark.parametrize("identity", ["bob", "ada"])
@pytest.mark.parametrize("room", ["demo", "another"])
def test_joins_and_their_validation_are_refused_in_a_way_that_clients_try_again(
    world: World, ada: Client, identity: str, room: str
) -> None:
    Emptied(world)
    for ask in (world.control.check_join, world.control.join):
        with pytest.raises(Refusal, match="draining") as refused:
            ask(world.params(identity, room=room))
        assert refused.value.status == 503
    assert not ada.closed
    assert [room.name for room in world.control.list_rooms()] == ["demo"]


def test_who_may_not_join_at_all_is_still_told_so(world: World) -> None:
    Emptied(world)
    with pytest.raises(Refusal) as refused:
        world.control.join(world.params("bob", grant={"room_join": False}))
    assert refused.value.status == 401


def test_who_is_here_goes_on_and_resumes(world: World, ada: Client) -> None:
    emptied = Emptied(world)
    ada.session.connection_lost()
    world.pass_time(60)
    world.control.check_join(world.params("ada", reconnect=True))
    back = world.resume(ada)
    assert "reconnect" in back.kinds
    assert back.publish("mic").sid
    assert emptied.times == 0


def test_who_is_gone_cannot_resume(world: World, ada: Client) -> None:
    Emptied(world)
    late = world.join("bob", reconnect=True)
    (leave,) = late.all("leave")
    assert (leave.reason, leave.action) == (Gone.STATE_MISMATCH, Action.RECONNECT)
    assert late.closed


def test_the_last_to_leave_is_told_of_once(world: World, ada: Client) -> None:
    bob = world.join("bob", room="other").connect()
    emptied = Emptied(world)
    ada.send(leave=rtc.LeaveRequest())
    assert emptied.times == 0
    bob.send(leave=rtc.LeaveRequest())
    assert emptied.times == 1


def test_nobody_here_is_told_of_at_once(world: World) -> None:
    assert Emptied(world).times == 1


def test_at_its_end_clients_are_told_to_reconnect(world: World, ada: Client) -> None:
    old = world.join("old", room="other", protocol=9).connect()
    emptied = Emptied(world)
    world.control.shutdown(Action.RECONNECT)
    (leave,) = ada.got("leave")
    assert (leave.reason, leave.action) == (Gone.SERVER_SHUTDOWN, Action.RECONNECT)
    (leave,) = old.got("leave")
    assert (leave.reason, leave.can_reconnect) == (Gone.SERVER_SHUTDOWN, True)
    assert ada.closed
    assert old.closed
    assert emptied.times == 1
    assert world.control.next_deadline() is None
