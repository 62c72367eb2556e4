"""Ids: SIDs for clients, numbers for the media plane."""

from __future__ import annotations

from itertools import count
from random import Random
from uuid import UUID

_BASE57 = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LENGTH = 12

ROOM = "RM_"
PARTICIPANT = "PA_"
NODE = "ND_"
DATA_TRACK = "DTR_"
TRACK = "TR_"
DISPATCH = "AD_"


class Ids:
    """Clients parse the prefix of a SID; the rest is random, so that nobody guesses one."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._numbers = count(1)

    def sid(self, prefix: str) -> str:
        return prefix + "".join(self._random.choices(_BASE57, k=_LENGTH))

    def number(self) -> int:
        """A RoomId, ParticipantId or TrackId, never used twice."""
        return next(self._numbers)

    def uuid(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def trailer(self) -> bytes:
        """Marks frames that the server injects, under end-to-end encryption."""
        return self._random.randbytes(16)
