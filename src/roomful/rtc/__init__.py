"""A client of realtime rooms, with the names of LiveKit's Python SDK, `livekit.rtc`."""

from roomful.rtc._enums import (
    ConnectionQuality,
    ConnectionState,
    ContinualGatheringPolicy,
    DataPacketKind,
    DegradationPreference,
    DisconnectReason,
    EncodedFrameType,
    EncryptionState,
    EncryptionType,
    FrameMetadata,
    FrameMetadataFeature,
    IceServer,
    IceTransportType,
    KeyDerivationFunction,
    ParticipantKind,
    ParticipantKindDetail,
    ParticipantState,
    ParticipantTrackPermission,
    SimulateScenarioKind,
    StreamState,
    TrackKind,
    TrackPublishOptions,
    TrackSource,
    VideoBufferType,
    VideoCodec,
    VideoEncoderBackend,
    VideoEncoding,
    VideoQuality,
    VideoRotation,
)
from roomful.rtc._proto import stats_pb2 as stats
from roomful.rtc.apm import AudioProcessingModule
from roomful.rtc.audio_filter import AudioFilter
from roomful.rtc.audio_frame import AudioFrame
from roomful.rtc.audio_mixer import AudioMixer
from roomful.rtc.audio_resampler import AudioResampler, AudioResamplerQuality
from roomful.rtc.audio_source import AudioSource
from roomful.rtc.audio_stream import AudioFrameEvent, AudioStream, NoiseCancellationOptions
from roomful.rtc.data_stream import (
    ByteStreamInfo,
    ByteStreamReader,
    ByteStreamWriter,
    StreamError,
    TextStreamInfo,
    TextStreamReader,
    TextStreamWriter,
)
from roomful.rtc.data_track import (
    DataTrackFrame,
    DataTrackInfo,
    DataTrackStream,
    LocalDataTrack,
    PushFrameError,
    RemoteDataTrack,
    SubscribeDataTrackError,
)
from roomful.rtc.e2ee import E2EEManager, E2EEOptions, FrameCryptor, KeyProvider, KeyProviderOptions
from roomful.rtc.encoded_video import (
    EncodedRateControl,
    EncodedVideoFrame,
    EncodedVideoSource,
    EncodedVideoSourceFeedback,
)
from roomful.rtc.event_emitter import EventEmitter
from roomful.rtc.frame_processor import FrameProcessor
from roomful.rtc.media_devices import MediaDevices
from roomful.rtc.participant import LocalParticipant, Participant, RemoteParticipant
from roomful.rtc.platform_audio import (
    AudioDeviceInfo,
    PlatformAudio,
    PlatformAudioError,
    PlatformAudioOptions,
    PlatformAudioSource,
)
from roomful.rtc.room import (
    ConnectError,
    DataPacket,
    DataStreamOptions,
    Room,
    RoomOptions,
    RtcConfiguration,
    RtcStats,
    SipDTMF,
)
from roomful.rtc.rpc import RpcCallInfo, RpcError, RpcInterceptor, RpcInvocationData
from roomful.rtc.synchronizer import AVSynchronizer
from roomful.rtc.track import (
    AudioTrack,
    LocalAudioTrack,
    LocalTrack,
    LocalVideoTrack,
    RemoteAudioTrack,
    RemoteTrack,
    RemoteVideoTrack,
    Track,
    VideoTrack,
)
from roomful.rtc.track_publication import LocalTrackPublication, RemoteTrackPublication, TrackPublication
from roomful.rtc.transcription import Transcription, TranscriptionSegment
from roomful.rtc.utils import combine_audio_frames
from roomful.rtc.video_frame import VideoFrame
from roomful.rtc.video_source import VideoSource
from roomful.rtc.video_stream import VideoFrameEvent, VideoStream

__all__ = [
    "AVSynchronizer",
    "AudioDeviceInfo",
    "AudioFilter",
    "AudioFrame",
    "AudioFrameEvent",
    "AudioMixer",
    "AudioProcessingModule",
    "AudioResampler",
    "AudioResamplerQuality",
    "AudioSource",
    "AudioStream",
    "AudioTrack",
    "ByteStreamInfo",
    "ByteStreamReader",
    "ByteStreamWriter",
    "ConnectError",
    "ConnectionQuality",
    "ConnectionState",
    "ContinualGatheringPolicy",
    "DataPacket",
    "DataPacketKind",
    "DataStreamOptions",
    "DataTrackFrame",
    "DataTrackInfo",
    "DataTrackStream",
    "DegradationPreference",
    "DisconnectReason",
    "E2EEManager",
    "E2EEOptions",
    "EncodedFrameType",
    "EncodedRateControl",
    "EncodedVideoFrame",
    "EncodedVideoSource",
    "EncodedVideoSourceFeedback",
    "EncryptionState",
    "EncryptionType",
    "EventEmitter",
    "FrameCryptor",
    "FrameMetadata",
    "FrameMetadataFeature",
    "FrameProcessor",
    "IceServer",
    "IceTransportType",
    "KeyDerivationFunction",
    "KeyProvider",
    "KeyProviderOptions",
    "LocalAudioTrack",
    "LocalDataTrack",
    "LocalParticipant",
    "LocalTrack",
    "LocalTrackPublication",
    "LocalVideoTrack",
    "MediaDevices",
    "NoiseCancellationOptions",
    "Participant",
    "ParticipantKind",
    "ParticipantKindDetail",
    "ParticipantState",
    "ParticipantTrackPermission",
    "PlatformAudio",
    "PlatformAudioError",
    "PlatformAudioOptions",
    "PlatformAudioSource",
    "PushFrameError",
    "RemoteAudioTrack",
    "RemoteDataTrack",
    "RemoteParticipant",
    "RemoteTrack",
    "RemoteTrackPublication",
    "RemoteVideoTrack",
    "Room",
    "RoomOptions",
    "RpcCallInfo",
    "RpcError",
    "RpcInterceptor",
    "RpcInvocationData",
    "RtcConfiguration",
    "RtcStats",
    "SimulateScenarioKind",
    "SipDTMF",
    "StreamError",
    "StreamState",
    "SubscribeDataTrackError",
    "TextStreamInfo",
    "TextStreamReader",
    "TextStreamWriter",
    "Track",
    "TrackKind",
    "TrackPublication",
    "TrackPublishOptions",
    "TrackSource",
    "Transcription",
    "TranscriptionSegment",
    "VideoBufferType",
    "VideoCodec",
    "VideoEncoderBackend",
    "VideoEncoding",
    "VideoFrame",
    "VideoFrameEvent",
    "VideoQuality",
    "VideoRotation",
    "VideoSource",
    "VideoStream",
    "VideoTrack",
    "__version__",
    "combine_audio_frames",
    "stats",
]


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from roomful.rtc.version import __version__  # Looks into the installed packages, which takes time.

    return __version__
