"""What was said, as text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TranscriptionSegment:
    """A piece of speech, which may be sent again with the same id while it is recognised."""

    id: str
    text: str
    start_time: int
    """Milliseconds."""
    end_time: int
    """Milliseconds."""
    language: str
    final: bool
    """Won't change any more."""


@dataclass
class Transcription:
    """Segments of what is heard on a participant's track."""

    participant_identity: str
    track_sid: str
    segments: list[TranscriptionSegment]
