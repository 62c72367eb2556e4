"""Reliable data of a client that did not come while later data did.

livekit-client keeps back what is sent during a try to resume and sends at once what is sent between two
tries; what it kept back it sends once it has resumed. So the media plane keeps the later packets until then,
or until the client proves that it keeps back nothing: a packet that its SDK refused to send leaves a gap too.
"""

from __future__ import annotations

from roomful.server.liveness import RESUME_TIMEOUT
from roomful.server.participant import Participant


def noticed(participant: Participant) -> None:
    """By the media plane, once until the packets that it keeps are gone."""
    participant.data_missing = True
    if not participant.pings:
        _give_up(participant)


def heard_of(participant: Participant) -> None:
    """A frame came: on a connection that it has had for long, proof that the client is not resuming."""
    if participant.node.clock() - participant.resumed_at >= RESUME_TIMEOUT:
        _give_up(participant)


def _give_up(participant: Participant) -> None:
    participant.data_missing = False
    participant.node.media.skip_missing_data(participant=participant.id)
