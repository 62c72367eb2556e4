"""What clients do with each other; importing this fills `stage.SCENARIOS`."""

from . import data, encryption, media, publishing, rights, rooms, rpc, streams

__all__ = ["data", "encryption", "media", "publishing", "rights", "rooms", "rpc", "streams"]
