from __future__ import annotations

import pytest
from livekit.protocol.agent_dispatch import CreateAgentDispatchRequest, RoomAgentDispatch
from livekit.protocol.room import CreateRoomRequest

from roomful.server.dispatches import MAX_DISPATCHES
from roomful.server.errors import ControlError, InvalidArgument, NotFound, ResourceExhausted

from .world import World, config


def request(**fields: object) -> CreateAgentDispatchRequest:
    return CreateAgentDispatchRequest(**{"room": "demo", "agent_name": "a", **fields})  # type: ignore[arg-type]


def test_dispatches_are_kept_with_their_room(world: World) -> None:
    made = world.control.create_dispatch(request(metadata="m", attributes={"k": "v"}, deployment="d"))
    assert made.id.startswith("AD_")
    assert (made.agent_name, made.room, made.metadata, made.deployment) == ("a", "demo", "m", "d")
    assert made.state.created_at > 10**18
    second = world.control.create_dispatch(request())
    assert [it.id for it in world.control.list_dispatches("demo")] == [made.id, second.id]
    assert [it.id for it in world.control.list_dispatches("demo", second.id)] == [second.id]
    assert world.control.list_dispatches("demo", "AD_none") == []
    assert world.control.delete_dispatch("demo", made.id).id == made.id
    with pytest.raises(NotFound):
        world.control.delete_dispatch("demo", made.id)
    assert [it.id for it in world.control.list_dispatches("demo")] == [second.id]
    world.control.delete_room("demo")
    with pytest.raises(NotFound):
        world.control.list_dispatches("demo")


def test_a_room_has_those_it_was_made_with(world: World) -> None:
    world.control.create_room(CreateRoomRequest(name="demo", agents=[RoomAgentDispatch(agent_name="b")]))
    assert [it.agent_name for it in world.control.list_dispatches("demo")] == ["b"]


def test_refusals() -> None:
    world = World(
        config(room={"auto_create": False}, limit={"max_metadata_size": 10, "max_attributes_size": 10})
    )
    with pytest.raises(NotFound):
        world.control.create_dispatch(request())
    world.control.create_room(CreateRoomRequest(name="demo"))
    for wrong in (
        {"metadata": "m" * 11},
        {"attributes": {"k": "v" * 10}},
        {"deployment": "a_b"},
        {"deployment": "d" * 65},
    ):
        with pytest.raises(InvalidArgument):
            world.control.create_dispatch(request(**wrong))
        with pytest.raises(InvalidArgument):
            world.control.create_room(CreateRoomRequest(name="other", agents=[RoomAgentDispatch(**wrong)]))  # type: ignore[arg-type]
    too_many = [RoomAgentDispatch(agent_name="a")] * (MAX_DISPATCHES + 1)
    with pytest.raises(InvalidArgument, match=f"at most {MAX_DISPATCHES}"):
        world.control.create_room(CreateRoomRequest(name="other", agents=too_many))
    for _ in range(MAX_DISPATCHES):
        world.control.create_dispatch(request())
    with pytest.raises(ResourceExhausted):
        world.control.create_dispatch(request())


def test_a_room_with_egress_needs_egress(world: World) -> None:
    wanted = CreateRoomRequest(name="demo")
    wanted.egress.SetInParent()
    with pytest.raises(ControlError, match="egress not connected") as error:
        world.control.create_room(wanted)
    assert error.value.code == "internal"
