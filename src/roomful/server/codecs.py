"""Codec names as clients, SDP and TrackInfo spell them, and what a client may be asked to use."""

from __future__ import annotations

from collections.abc import Iterable

from livekit.protocol import models

from roomful.config import Config

_SPELLING = {
    name.lower(): name
    for name in (
        *("audio/opus", "audio/red", "audio/PCMU", "audio/PCMA"),
        *("video/VP8", "video/H264", "video/VP9", "video/AV1", "video/H265"),
    )
}
_ALIASES = {"video/hevc": "video/h265", "video/av1x": "video/av1"}
_SVC = {"video/vp9", "video/av1"}
_PREFERRED = ("video/vp8", "video/h264")

Mode = models.VideoLayer.Mode


def mime_of(codec: str, kind: str) -> str:
    """ "vp8" or "video/VP8" in lower case with its kind; empty stays empty."""
    name = codec.strip().lower()
    if not name:
        return ""
    mime = name if "/" in name else f"{kind}/{name}"
    return _ALIASES.get(mime, mime)


def spelled(mime: str) -> str:
    """As TrackInfo has it."""
    return _SPELLING.get(mime.lower(), mime)


def enabled(config: Config) -> list[str]:
    """What rooms take, in lower case and in the configured order, without RTX."""
    mimes = dict.fromkeys(codec.mime.lower() for codec in config.room.enabled_codecs)
    return [mime for mime in mimes if not mime.endswith("/rtx")]


def usable(mime: str, kind: str, allowed: Iterable[str]) -> str:
    """`mime` if allowed, else what to publish instead; empty when there is nothing of its kind."""
    allowed = list(allowed)
    if not mime or mime in allowed:
        return mime
    same_kind = [other for other in allowed if other.startswith(f"{kind}/") and other != "audio/red"]
    for preferred in _PREFERRED:
        if preferred in same_kind:
            return preferred
    return same_kind[0] if same_kind else ""


def layer_mode(mime: str, kind: str, declared: int) -> models.VideoLayer.Mode:
    """Where a packet's layer is told, unless the client says so."""
    if kind == "audio":
        return Mode.MODE_UNUSED
    if declared in Mode.values() and declared != Mode.MODE_UNUSED:
        return declared  # type: ignore[return-value]
    return Mode.MULTIPLE_SPATIAL_LAYERS_PER_STREAM if mime in _SVC else Mode.ONE_SPATIAL_LAYER_PER_STREAM


def publishable(config: Config, disabled: models.DisabledCodecs) -> list[models.Codec]:
    """JoinResponse.enabled_publish_codecs: VP8 and H264, other video, then audio."""
    off = {codec.mime.lower() for codec in (*disabled.codecs, *disabled.publish)}
    mimes = [mime for mime in enabled(config) if mime not in off]
    first = [mime for mime in _PREFERRED if mime in mimes]
    video = [mime for mime in mimes if mime.startswith("video/") and mime not in first]
    audio = [mime for mime in mimes if mime.startswith("audio/")]
    return [models.Codec(mime=spelled(mime)) for mime in (*first, *video, *audio)]


def room_codecs(config: Config) -> list[models.Codec]:
    return [models.Codec(mime=codec.mime, fmtp_line=codec.fmtp_line) for codec in config.room.enabled_codecs]


def disabled_for(client: models.ClientInfo) -> models.DisabledCodecs:
    """What is known not to work in some browsers and on some devices."""
    browser, os = client.browser.lower(), client.os.lower()
    disabled = models.DisabledCodecs()
    if browser == "safari":
        disabled.codecs.add(mime="video/AV1")
        if _version(client.browser_version) > (18, 3):
            disabled.publish.add(mime="video/VP9")
    elif (browser in ("firefox", "firefox mobile") and os in ("linux", "android")) or (
        (os, client.device_model.lower()) == ("android", "xiaomi 2201117ti")
    ):
        disabled.publish.add(mime="video/H264")
    return disabled


def _version(text: str) -> tuple[int, ...]:
    parts = []
    for part in text.split(".")[:2]:
        if not part.isascii() or not part.isdigit():
            break
        parts.append(int(part[:9]))
    return tuple(parts)
