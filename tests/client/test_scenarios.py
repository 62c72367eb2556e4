"""The scenarios of PyPI's `livekit`, with only its import changed: the same is seen, in the same order."""

from __future__ import annotations

import pytest
from python import scenarios  # noqa: F401
from python.performance import MODES, Event, Performance, Record, perform_all
from python.stage import SCENARIOS
from servers import REFERENCE, open_server

#: Where ours does otherwise: a refused publication fails at once.
NOT_ALIKE = {"publishing_needs_the_right"}
#: With a server configured for them, or long.
APART = {name for name, one in SCENARIOS.items() if one.config or one.alone}
PLAYED = [
    name for name, one in SCENARIOS.items() if name not in NOT_ALIKE | APART and not (REFERENCE and one.ours)
]
AT_ONCE = 4

LEFT: list[Event] = [
    ["participant_disconnected", "bob", "UNKNOWN_REASON"],
    ["local_track_unpublished", "microphone"],
]
RECONNECTING: list[Event] = [["connection_state_changed", 2], ["reconnecting"]]
RECONNECTED: list[Event] = [["connection_state_changed", 1], ["reconnected"]]
BACK: list[Event] = [
    ["participant_connected", "bob"],
    ["participant_active", "bob"],
    ["local_track_published", "microphone", "audio"],
    ["local_track_republished", "microphone", "TR"],
    ["local_track_subscribed", "audio"],
]
#: At once, and after a resume that media did not outlive.
ANEW = [*LEFT, *RECONNECTING, *RECONNECTED, *BACK]
ANEW_AFTER_ALL = [*RECONNECTING, *LEFT, *RECONNECTED, *BACK]
#: What somebody sees from then on, as LiveKit's documentation has it, where PyPI's client sees it otherwise.
OTHERWISE: dict[str, tuple[str, list[list[Event]]]] = {
    "a_lost_signal_is_found_again": ("ada", [[["reconnected"]]]),
    "connect_again_when_the_signal_breaks": ("ada", [ANEW]),
    "simulated_failure_of_the_node": ("ada", [ANEW, ANEW_AFTER_ALL]),
    "simulated_loss_of_the_signal_that_resumed": ("ada", [ANEW]),
    "simulated_migration": ("ada", [ANEW, ANEW_AFTER_ALL]),
    "simulated_want_of_tcp": ("ada", [ANEW]),
    "subscriptions_for_some_only": ("eve", [[["track_unsubscribed", "audio", "microphone", "ada"]]]),
}


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def played(mode: str) -> tuple[dict[str, Performance | str], str]:
    """All of them on one server and in one process, some at a time."""
    with open_server() as server:
        return perform_all(server, PLAYED, mode, sdk="roomful", at_once=AT_ONCE)


@pytest.fixture(scope="module")
def played_here() -> tuple[dict[str, Performance | str], str]:
    return perform_all(None, PLAYED, "single", sdk="roomful", at_once=AT_ONCE)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PLAYED)
def test_a_program_sees_the_same(
    name: str, mode: str, played: tuple[dict[str, Performance | str], str]
) -> None:
    check(name, mode, played)


@pytest.mark.skipif(bool(REFERENCE), reason="that server is in no process of Python")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PLAYED)
def test_a_program_sees_the_same_without_a_network(
    name: str, played_here: tuple[dict[str, Performance | str], str]
) -> None:
    check(name, "single", played_here)


def check(name: str, mode: str, played: tuple[dict[str, Performance | str], str]) -> None:
    outcomes, log = played
    performance = outcomes.get(name, f"no word of it; the log ends with\n{log[-3000:]}")
    assert not isinstance(performance, str), performance
    differences = Record.load(name).differences(mode, performance) if SCENARIOS[name].recorded else []
    if name in OTHERWISE:
        who, endings = OTHERWISE[name]
        seen = performance[who]
        assert any(seen[-len(ending) :] == ending for ending in endings), seen
        assert len(differences) == 1, "\n".join(differences)
        assert f", {who} saw" in differences[0]
    else:
        assert not differences, "\n".join(differences)
