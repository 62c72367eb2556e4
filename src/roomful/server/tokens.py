"""Tokens handed to connected clients, so that they can come back after the first one has ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from roomful import auth
from roomful.server import grants

if TYPE_CHECKING:
    from roomful.server.participant import Participant

#: Seconds. A new token comes long before an old one of this life would end.
MIN_LIFE = 600.0
INTERVAL = 300.0


def refreshed(participant: Participant) -> str | None:
    """A token with what the participant is and may do now. None without a key to sign it."""
    node = participant.node
    claims = participant.claims
    key = next(iter(node.config.keys), None)
    if key is None or claims.video is None:
        return None
    return auth.sign(
        replace(
            claims,
            name=participant.name,
            metadata=participant.metadata,
            attributes=dict(participant.attributes),
            video=grants.grant_of(participant.permission, claims.video),
            # Rights outside the room are not for a token that travels over a socket.
            sip=None,
            agent=None,
            inference=None,
            observability=None,
            sha256="",
            expires_at=max(claims.expires_at, node.wall() + MIN_LIFE),
        ),
        key,
        node.config.keys[key],
    )
