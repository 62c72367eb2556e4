"""The scenarios of PyPI's `livekit`, with only its import changed: the same is seen, in the same order."""

from __future__ import annotations

import pytest
from python import scenarios  # noqa: F401
from python.performance import MODES, Event, Performance, Record, perform_all
from python.stage import SCENARIOS
from servers import REFERENCE, open_server

#: Of media, which is not there yet.
NOT_YET = {
    "a_crowd_comes_at_once",
    "a_lost_signal_is_found_again",
    "a_muted_camera_comes_back_at_once",
    "a_publisher_leaves",
    "a_screen_beside_the_camera",
    "a_speaker_is_noticed",
    "colours_in_av1",
    "colours_in_h264",
    "colours_in_vp8",
    "colours_in_vp9",
    "connect_again_when_the_signal_breaks",
    "everything_both_ways",
    "leave_and_return",
    "listening_needs_the_right",
    "many_tracks_of_one_person",
    "mute_and_unmute",
    "nobody_sees_the_hidden",
    "only_the_right_key_hears_and_sees",
    "publish_again_and_again",
    "publish_in_haste",
    "simulated_failure_of_the_node",
    "simulated_leave",
    "simulated_loss_of_the_signal_that_resumed",
    "simulated_migration",
    "simulated_want_of_tcp",
    "simulcast_layers_as_asked",
    "stereo_without_red_or_dtx",
    "subscribe_by_hand",
    "subscriptions_for_some_only",
    "the_latecomer_hears",
    "the_latecomer_sees",
    "the_same_identity_twice",
    "tone",
    "two_voices_at_once",
}
#: Where ours does otherwise: a refused publication fails at once.
NOT_ALIKE = {"publishing_needs_the_right"}
#: With a server configured for them, or long.
APART = {name for name, one in SCENARIOS.items() if one.config or one.alone}
PLAYED = [
    name
    for name, one in SCENARIOS.items()
    if name not in NOT_YET | NOT_ALIKE | APART and not (REFERENCE and one.ours)
]
AT_ONCE = 4

RECONNECTED: list[Event] = [
    ["participant_disconnected", "bob", "UNKNOWN_REASON"],
    ["local_track_unpublished", "microphone"],
    ["connection_state_changed", 2],
    ["reconnecting"],
    ["connection_state_changed", 1],
    ["reconnected"],
    ["participant_connected", "bob"],
    ["participant_active", "bob"],
    ["local_track_published", "microphone", "audio"],
    ["local_track_republished", "microphone", "TR"],
    ["local_track_subscribed", "audio"],
]
#: By scenario: what its first person sees from a full reconnect or a resume on, where that is not as with
#: PyPI's client: as LiveKit's documentation has it.
OTHERWISE = {
    "connect_again_when_the_signal_breaks": RECONNECTED,
    "a_lost_signal_is_found_again": [["reconnected"]],
}


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def played(mode: str) -> tuple[dict[str, Performance | str], str]:
    """All of them on one server and in one process, some at a time."""
    with open_server() as server:
        return perform_all(server, PLAYED, mode, sdk="roomful", at_once=AT_ONCE)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PLAYED)
def test_a_program_sees_the_same(
    name: str, mode: str, played: tuple[dict[str, Performance | str], str]
) -> None:
    outcomes, log = played
    performance = outcomes.get(name, f"no word of it; the log ends with\n{log[-3000:]}")
    assert not isinstance(performance, str), performance
    if name in OTHERWISE:
        first = next(iter(performance.values()))
        assert first[-len(OTHERWISE[name]) :] == OTHERWISE[name], first
        assert ["reconnecting"] in first or name == "a_lost_signal_is_found_again"
    elif SCENARIOS[name].recorded:
        assert not (differences := Record.load(name).differences(mode, performance)), "\n".join(differences)
