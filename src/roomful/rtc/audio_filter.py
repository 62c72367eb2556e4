"""Audio filters that are native plugins of LiveKit's own library, which this client isn't."""

from __future__ import annotations


class AudioFilter:
    """A native plugin.

    Raises:
        RuntimeError: always; a `FrameProcessor` does the same here.
    """

    def __init__(self, module_id: str, path: str, dependencies: list[str] | None = None) -> None:
        raise RuntimeError(
            f"the audio filter {module_id!r} is a plugin of LiveKit's native library, which roomful.rtc "
            "doesn't have: pass a FrameProcessor as AudioStream's noise_cancellation instead"
        )
