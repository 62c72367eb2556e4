//! The boundary between the control plane and the media plane.
//!
//! The control plane allocates every id, sends [`Command`]s in order and receives [`Event`]s in order.
//! The boundary is coarse: the media plane keeps who hears whom as a room's audience minus exceptions,
//! so no command is ever per (track × subscriber) unless somebody asked for an exception.

use std::net::IpAddr;
use std::sync::Arc;

pub use crate::transport::Way;

/// A room: an audience that tracks are published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);
/// One session of one participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParticipantId(pub u64);
/// A published track, media or data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u64);

/// Which of a participant's peer connections. In single mode there is only `Publisher`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Publisher,
    Subscriber,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    Audio,
    Video,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SdpKind {
    Offer,
    Answer,
}

/// How a participant's peer connections are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionMode {
    /// One connection; only the client offers, also for what it receives.
    Single,
    /// Two connections; the server offers on the subscriber one, and opens the data channels there
    /// when that one is primary.
    Dual { subscriber_primary: bool },
}

/// What the control plane says a participant may do. The media plane enforces it per packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    pub hidden: bool,
    pub can_publish: bool,
    pub can_subscribe: bool,
    pub can_publish_data: bool,
    /// An agent may keep another sender identity on generated chat messages and text streams,
    /// and may send transcriptions.
    pub agent: bool,
}

/// Behaviour of a client implementation that the media plane must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTraits {
    /// `ClientInfo.sdk` in lower case: "js", "python", "go", "rust", "swift", …
    pub sdk: String,
    pub protocol: u32,
    /// "firefox", "safari", "chrome", … in lower case, or empty.
    pub browser: String,
    /// Codecs (lower-case MIME, "video/h264") this client must not be asked to publish.
    pub disabled_publish_codecs: Vec<String>,
    pub disabled_codecs: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct ParticipantSpec {
    pub room: RoomId,
    pub identity: Arc<str>,
    pub sid: Arc<str>,
    pub mode: ConnectionMode,
    pub permissions: Permissions,
    pub auto_subscribe: bool,
    pub adaptive_stream: bool,
    pub ice_lite: bool,
    pub client: ClientTraits,
    /// The address the client reached the signalling server by; offered as a host candidate too (dev).
    pub extra_address: Option<IpAddr>,
    /// Offer and take only TCP candidates, if there are any; see [`Command::SetTcpOnly`].
    pub tcp_only: bool,
    /// Its client is in this process, and connects without a network.
    pub in_process: bool,
}

/// One declared layer of a simulcast or SVC track (`livekit.VideoLayer`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    /// 0 LOW, 1 MEDIUM, 2 HIGH.
    pub quality: u8,
    /// Simulcast rid, or empty: then q, h, f by the number of layers.
    pub rid: String,
    pub width: u32,
    pub height: u32,
    pub bitrate: u32,
    pub ssrc: u32,
}

/// `livekit.VideoLayer.Mode`: where the layer of a packet is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerMode {
    Unused,
    /// One layer a stream: the rid or SSRC tells the layer, never the packet's own spatial id.
    OneSpatialLayerPerStream,
    /// SVC: several layers in one stream.
    MultipleSpatialLayersPerStream,
}

/// One codec variant of a track, as declared by AddTrack's `simulcast_codecs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecSpec {
    /// Lower-case MIME ("video/vp9"), or empty when the client did not say.
    pub mime: String,
    /// msid track id in the client's SDP that carries this codec.
    pub cid: String,
    pub layer_mode: LayerMode,
    pub layers: Vec<LayerSpec>,
}

#[derive(Clone, Debug)]
pub struct TrackSpec {
    pub track: TrackId,
    pub sid: Arc<str>,
    /// msid stream name for lip sync ("camera", "screen", …).
    pub stream: Arc<str>,
    pub kind: MediaKind,
    /// A microphone takes part in speaker detection.
    pub microphone: bool,
    pub cid: String,
    pub codecs: Vec<CodecSpec>,
    pub stereo: bool,
    pub dtx: bool,
    pub red: bool,
    pub encrypted: bool,
    pub muted: bool,
}

/// What a subscriber wants of one track (`livekit.UpdateTrackSettings`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackSettings {
    pub disabled: bool,
    /// 0 LOW … 2 HIGH; used when width and height are 0.
    pub quality: u8,
    pub width: u32,
    pub height: u32,
    /// Frames a second, 0 = all.
    pub fps: u32,
}

/// What a track, once published, is allowed to whom. The control plane folds the subscriber's own wish
/// and the publisher's track permissions into one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionWish {
    /// What `auto_subscribe` and `can_subscribe` say.
    Default,
    Subscribed,
    Unsubscribed,
}

#[derive(Clone, Debug)]
pub struct DataTrackSpec {
    pub track: TrackId,
    pub sid: Arc<str>,
    /// The publisher's own handle in packets (1..=65535).
    pub publisher_handle: u16,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpeakerSettings {
    /// A frame is active at or below this many −dBov (RFC 6464).
    pub active_level: u8,
    /// Share of an interval that must be active, in percent.
    pub min_percentile: u8,
    pub update_interval_ms: u32,
    pub smooth_intervals: u32,
}

impl Default for SpeakerSettings {
    fn default() -> Self {
        Self {
            active_level: 35,
            min_percentile: 40,
            update_interval_ms: 400,
            smooth_intervals: 2,
        }
    }
}

#[derive(Clone, Debug)]
pub struct RoomSpec {
    pub room: RoomId,
    pub sid: Arc<str>,
    /// Codecs enabled for publishing and subscribing, lower-case MIME, in order of preference.
    pub codecs: Vec<String>,
    pub speakers: SpeakerSettings,
    /// Give tracks of one stream a shared msid stream for lip sync.
    pub sync_streams: bool,
}

/// Control plane → media plane. Commands on unknown ids are ignored: the thing ended meanwhile.
#[derive(Clone, Debug)]
pub enum Command {
    OpenRoom(RoomSpec),
    CloseRoom(RoomId),

    AddParticipant {
        participant: ParticipantId,
        spec: ParticipantSpec,
    },
    UpdatePermissions {
        participant: ParticipantId,
        permissions: Permissions,
    },
    /// Takes the participant with its connections and tracks into another room, where its sid is another.
    /// Both rooms must be on one worker; nothing happens otherwise.
    MoveParticipant {
        participant: ParticipantId,
        room: RoomId,
        sid: Arc<str>,
    },
    /// Closes the participant's transports (DTLS close_notify) and forgets its tracks and subscriptions.
    RemoveParticipant(ParticipantId),

    /// A client's offer (answered by [`Event::Description`] with the same `id`) or answer.
    RemoteDescription {
        participant: ParticipantId,
        target: Target,
        kind: SdpKind,
        sdp: String,
        id: u32,
    },
    /// `candidate:…` line (RTCIceCandidateInit.candidate); empty means end of candidates.
    RemoteCandidate {
        participant: ParticipantId,
        target: Target,
        candidate: String,
    },
    /// Whether only TCP candidates are offered and taken from the next ICE restart on.
    SetTcpOnly {
        participant: ParticipantId,
        tcp_only: bool,
    },
    /// Offer with fresh ICE credentials on the subscriber connection (dual mode).
    RestartIce {
        participant: ParticipantId,
        target: Target,
    },
    /// The client is back on another signalling connection and may have missed what was sent on the last:
    /// answered by [`Event::Resumed`]. What is still wanted of it is asked for again, in single mode too.
    Resume(ParticipantId),
    /// Sends the reliable packets again that a client which resumed has not received. `received` has the
    /// highest number it got of each sender, by sid (`SyncState.datachannel_receive_states`).
    ReplayData {
        participant: ParticipantId,
        received: Vec<(Arc<str>, u32)>,
    },
    /// Answers [`Event::DataMissing`] once what is missing will not come: the packets after it go out.
    SkipMissingData(ParticipantId),

    /// A track announced by AddTrack: bound when an SDP section with its cid (or the first unbound one
    /// of its kind) appears, before or after. With a known track id: adds codecs (backup codec).
    ExpectTrack {
        participant: ParticipantId,
        spec: TrackSpec,
    },
    MuteTrack {
        track: TrackId,
        muted: bool,
    },
    /// Ends a track by the server's decision. Packets that still come are dropped.
    RemoveTrack(TrackId),
    /// Publishes `track` in `room` too, as `mirror` of a participant that has the id and sid given and is
    /// nothing but this. Both rooms must be on one worker; nothing happens otherwise. The mirror ends with
    /// the track, or by [`Command::RemoveTrack`].
    ForwardTrack {
        track: TrackId,
        mirror: TrackId,
        room: RoomId,
        owner: ParticipantId,
        sid: Arc<str>,
    },

    SetSubscription {
        participant: ParticipantId,
        track: TrackId,
        wish: SubscriptionWish,
    },
    SetTrackSettings {
        participant: ParticipantId,
        track: TrackId,
        settings: TrackSettings,
    },

    PublishDataTrack {
        participant: ParticipantId,
        spec: DataTrackSpec,
    },
    UnpublishDataTrack(TrackId),
    /// `handle` is the subscriber's own handle, `None` unsubscribes.
    SetDataSubscription {
        participant: ParticipantId,
        track: TrackId,
        handle: Option<u16>,
    },

    /// A serialised `livekit.DataPacket` from the server itself (API), sent as it is.
    /// Empty `destinations` = everybody in the room.
    SendData {
        room: RoomId,
        packet: Vec<u8>,
        reliable: bool,
        destinations: Vec<ParticipantId>,
    },
    /// Sends `livekit.DataPacket`s to one participant, reliably, and from now on reports what it sends to the
    /// identity `caller` by [`Event::Answered`].
    Call {
        participant: ParticipantId,
        caller: Arc<str>,
        packets: Vec<Vec<u8>>,
    },
    EndCall {
        participant: ParticipantId,
        caller: Arc<str>,
    },

    Shutdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    Connecting,
    /// ICE and DTLS are up.
    Connected,
    /// Nothing heard for a while; may come back.
    Disconnected,
    /// Will not come back without an ICE restart.
    Failed,
    Closed,
}

/// One codec's enabled layers, by quality LOW, MEDIUM, HIGH (`livekit.SubscribedCodec`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecQualities {
    /// Without "video/": "vp8".
    pub codec: String,
    pub enabled: [bool; 3],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpeakerLevel {
    pub participant: ParticipantId,
    /// 0..=1, linear, in eighths.
    pub level: f32,
    pub active: bool,
}

/// One layer a publisher really offers, once bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundLayer {
    pub rid: String,
    pub quality: u8,
    pub ssrc: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionFailure {
    /// The subscriber's SDP has no codec the track comes in.
    CodecUnsupported,
}

/// Media plane → control plane.
#[derive(Clone, Debug)]
pub enum Event {
    /// A local description to relay. An answer has the offer's id. `mids`: mid → track sid of each
    /// section that sends.
    Description {
        participant: ParticipantId,
        target: Target,
        kind: SdpKind,
        sdp: String,
        id: u32,
        mids: Vec<(String, Arc<str>)>,
    },
    /// A client description that cannot be used; says why.
    DescriptionRejected {
        participant: ParticipantId,
        target: Target,
        id: u32,
        reason: String,
    },
    /// A local candidate, after the description it belongs to.
    Candidate {
        participant: ParticipantId,
        target: Target,
        candidate: String,
        mid: String,
        mline: u16,
        last: bool,
    },
    Connection {
        participant: ParticipantId,
        target: Target,
        state: ConnectionState,
        detail: String,
        /// How its path goes or went; `None` when it never had one.
        way: Option<Way>,
    },
    /// Reliable and lossy data channels to this participant are open.
    DataReady(ParticipantId),
    /// A reliable packet of this participant came, and one before it did not: its client may keep that back until
    /// it has resumed. It and those that follow wait for it.
    DataMissing(ParticipantId),
    /// Answers [`Command::Resume`]: the number of the participant's own last reliable packet that came with none
    /// missing before it, 0 for none (`ReconnectResponse.last_message_seq`).
    Resumed {
        participant: ParticipantId,
        last_sequence: u32,
    },
    /// A `livekit.DataPacket` that the participant sent to the caller of a [`Command::Call`].
    Answered {
        participant: ParticipantId,
        caller: Arc<str>,
        packet: Vec<u8>,
    },
    /// Single mode: the client must add that many recvonly sections and offer; 0/0 asks for an offer only.
    MediaSections {
        participant: ParticipantId,
        audios: u32,
        videos: u32,
    },

    /// A track is bound to an SDP section. `mime` is the codec that was negotiated for it.
    TrackBound {
        track: TrackId,
        mid: String,
        mime: String,
        layers: Vec<BoundLayer>,
    },
    /// Its section went away in the client's SDP.
    TrackEnded(TrackId),
    Subscribed {
        participant: ParticipantId,
        track: TrackId,
        mime: String,
    },
    Unsubscribed {
        participant: ParticipantId,
        track: TrackId,
    },
    SubscriptionFailed {
        participant: ParticipantId,
        track: TrackId,
        reason: SubscriptionFailure,
    },
    /// Dynacast: the layers somebody wants changed.
    Qualities {
        track: TrackId,
        codecs: Vec<CodecQualities>,
    },
    /// Dynacast of audio, for tracks that have a backup codec: ("audio/opus", somebody is sent it).
    AudioCodecs {
        track: TrackId,
        codecs: Vec<(String, bool)>,
    },
    /// Only those whose level or state changed.
    Speakers {
        room: RoomId,
        speakers: Vec<SpeakerLevel>,
    },
    /// 0 POOR, 1 GOOD, 2 EXCELLENT, 3 LOST as `livekit.ConnectionQuality`; only changes. Score 0..=5 (MOS).
    Quality {
        participant: ParticipantId,
        quality: u8,
        score: f32,
    },

    /// No authenticated packet on any of the participant's transports for 15 s (`alive: false`), or again one.
    Liveness {
        participant: ParticipantId,
        alive: bool,
    },
    /// The participant does not read what is sent to it; its transports are closed.
    Overflow {
        participant: ParticipantId,
        detail: String,
    },
    /// A packet or request was refused for a reason that the client should learn or the log should say.
    Refused {
        participant: ParticipantId,
        detail: String,
    },
    /// A fault inside the media plane (caught panic): that participant's transports are closed.
    Fault {
        participant: ParticipantId,
        detail: String,
    },
}
