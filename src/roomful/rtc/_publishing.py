"""What a program wants of a published track, in the words of the protocol."""

from __future__ import annotations

from typing import Literal, cast

from livekit.protocol import models, rtc

from roomful.rtc._enums import (
    DegradationPreference,
    TrackPublishOptions,
    TrackSource,
    VideoCodec,
    VideoEncoderBackend,
)
from roomful.rtc._layers import Encoding, encodings

#: bit/s, as for music.
AUDIO_BITRATE = 48_000
_AUTO = VideoEncoderBackend.ENCODER_BACKEND_AUTO
_QUALITIES = {"q": models.VideoQuality.LOW, "h": models.VideoQuality.MEDIUM, "f": models.VideoQuality.HIGH}
#: Names of codecs in the protocol.
CODECS = {
    VideoCodec.VP8: "vp8",
    VideoCodec.H264: "h264",
    VideoCodec.VP9: "vp9",
    VideoCodec.AV1: "av1",
    VideoCodec.H265: "h265",
}


class Unsupported(Exception):
    """An option that cannot be honoured here, by its name."""


def wanted(
    options: TrackPublishOptions, name: Literal["dtx", "red", "simulcast", "preconnect_buffer"], default: bool
) -> bool:
    """An option that is on or off, where the program chose one."""
    return bool(getattr(options, name)) if options.HasField(name) else default


def preference_of(options: TrackPublishOptions) -> DegradationPreference | None:
    """None is the source's own."""
    if not options.HasField("degradation_preference"):
        return None
    return DegradationPreference(options.degradation_preference)


def audio_bitrate(options: TrackPublishOptions) -> int:
    return options.audio_encoding.max_bitrate if options.HasField("audio_encoding") else AUDIO_BITRATE


def codec_of(options: TrackPublishOptions) -> str:
    return CODECS[options.video_codec]


def audio_request(
    options: TrackPublishOptions, *, cid: str, name: str, muted: bool, stereo: bool, encryption: int
) -> rtc.AddTrackRequest:
    request = _request(options, cid, name, models.TrackType.AUDIO, muted, encryption)
    request.stereo = stereo
    if wanted(options, "preconnect_buffer", False):
        request.audio_features.append(models.AudioTrackFeature.TF_PRECONNECT_BUFFER)
    return request


def video_request(
    options: TrackPublishOptions,
    *,
    cid: str,
    name: str,
    muted: bool,
    width: int,
    height: int,
    encryption: int,
    encoded: bool = False,
) -> tuple[rtc.AddTrackRequest, list[Encoding]]:
    """`encoded`: frames come as they are to be sent. Raises Unsupported."""
    if options.scalability_mode:
        raise Unsupported(
            f"scalability_mode {options.scalability_mode!r}: video is encoded in one spatial layer"
        )
    if options.video_codec == VideoCodec.H265:
        raise Unsupported("video_codec H265: it can be neither packetised nor encoded here")
    _check_encoder(options, encoded)
    chosen = options.video_encoding if options.HasField("video_encoding") else None
    layers = encodings(
        width,
        height,
        codec=codec_of(options),
        screen=options.source == TrackSource.SOURCE_SCREENSHARE,
        simulcast=not encoded and wanted(options, "simulcast", True),
        bitrate=chosen.max_bitrate if chosen else None,
        frames=chosen.max_framerate if chosen else None,
    )
    request = _request(options, cid, name, models.TrackType.VIDEO, muted, encryption)
    request.width, request.height = width, height
    request.packet_trailer_features.extend(
        cast(models.PacketTrailerFeature, one) for one in options.frame_metadata_features
    )
    for layer in layers:
        quality = _QUALITIES.get(layer.rid, models.VideoQuality.HIGH)
        request.layers.add(quality=quality, width=layer.width, height=layer.height, bitrate=layer.bitrate)
    simulcast = request.simulcast_codecs.add(codec=codec_of(options), cid=cid)
    simulcast.layers.extend(request.layers)
    return request, layers


def _check_encoder(options: TrackPublishOptions, encoded: bool) -> None:
    backend, name = options.video_encoder, VideoEncoderBackend.Name(options.video_encoder)
    if encoded:
        if wanted(options, "simulcast", False):
            raise Unsupported("simulcast: video that comes encoded has one encoding")
        if backend not in (_AUTO, VideoEncoderBackend.ENCODER_BACKEND_PRE_ENCODED):
            raise Unsupported(f"video_encoder {name}: the video comes encoded")
    elif backend == VideoEncoderBackend.ENCODER_BACKEND_PRE_ENCODED:
        raise Unsupported(f"video_encoder {name}: the track's source is no EncodedVideoSource")
    elif backend not in (_AUTO, VideoEncoderBackend.ENCODER_BACKEND_SOFTWARE):
        raise Unsupported(f"video_encoder {name}: there is software only")


def _request(
    options: TrackPublishOptions,
    cid: str,
    name: str,
    type_: models.TrackType,
    muted: bool,
    encryption: int,
) -> rtc.AddTrackRequest:
    return rtc.AddTrackRequest(
        cid=cid,
        name=name,
        type=type_,
        muted=muted,
        source=models.TrackSource.Name(options.source),
        disable_dtx=not wanted(options, "dtx", True),
        disable_red=bool(encryption) or not wanted(options, "red", True),
        encryption=models.Encryption.Type.Name(encryption),
        stream=options.stream,
    )
