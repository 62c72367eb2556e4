"""The comparison of events with a record finds what it is for, and lets pass what it says that it does."""

from __future__ import annotations

import pytest
from python.performance import Event, Record

CONNECTED = ["participant_connected", "bob"]
ACTIVE = ["participant_active", "bob"]
PUBLISHED = ["local_track_published", "microphone", "audio"]
SUBSCRIBED = ["local_track_subscribed", "audio"]
LEFT = ["participant_disconnected", "bob", "CLIENT_INITIATED"]
LEFT_UNTOLD = ["participant_disconnected", "bob", "UNKNOWN_REASON"]


def agrees(events: list[Event], recorded: list[Event]) -> bool:
    record = Record("a scenario")
    record.add("dual", {"ada": recorded})
    return not record.differences("dual", {"ada": events})


def test_the_recorded_order_agrees() -> None:
    order = [CONNECTED, ACTIVE, PUBLISHED, SUBSCRIBED, LEFT]
    assert agrees(order, order)


@pytest.mark.parametrize("place", range(4))
def test_any_two_neighbours_the_other_way_round_differ(place: int) -> None:
    order = [PUBLISHED, SUBSCRIBED, CONNECTED, LEFT, CONNECTED]
    swapped = [*order[:place], order[place + 1], order[place], *order[place + 2 :]]
    earlier_arrival = order[place + 1] == CONNECTED
    assert agrees(swapped, order) == earlier_arrival


def test_an_arrival_may_come_earlier_but_not_later() -> None:
    early, late = [CONNECTED, ACTIVE, PUBLISHED], [PUBLISHED, CONNECTED, ACTIVE]
    assert agrees(early, late)
    assert not agrees(late, early)


def test_becoming_active_may_be_seen_besides() -> None:
    assert agrees([CONNECTED, ACTIVE, PUBLISHED], [CONNECTED, PUBLISHED])
    assert not agrees([CONNECTED, PUBLISHED], [CONNECTED, ACTIVE, PUBLISHED])
    assert not agrees([CONNECTED, CONNECTED, PUBLISHED], [CONNECTED, PUBLISHED])


def test_what_is_missing_or_too_much_differs() -> None:
    assert not agrees([PUBLISHED], [PUBLISHED, SUBSCRIBED])
    assert not agrees([PUBLISHED, SUBSCRIBED, SUBSCRIBED], [PUBLISHED, SUBSCRIBED])


def test_a_reason_may_be_told_where_none_was() -> None:
    assert agrees([LEFT], [LEFT_UNTOLD])
    assert not agrees([LEFT_UNTOLD], [LEFT])


def test_somebody_else_differs() -> None:
    record = Record("a scenario")
    record.add("dual", {"ada": [PUBLISHED]})
    assert record.differences("dual", {"ada": [PUBLISHED], "bob": []})


def test_each_recorded_order_agrees() -> None:
    record = Record("a scenario")
    record.add("dual", {"ada": [PUBLISHED, SUBSCRIBED]})
    record.add("dual", {"ada": [SUBSCRIBED, PUBLISHED]})
    assert not record.differences("dual", {"ada": [PUBLISHED, SUBSCRIBED]})
    assert not record.differences("dual", {"ada": [SUBSCRIBED, PUBLISHED]})
