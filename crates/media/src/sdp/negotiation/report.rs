//! What goes into a negotiation and what comes out of it.

use crate::api::{MediaKind, TrackId};
use crate::sdp::{
    Codec, DtlsRole, Extension, Feedback, Fmtp, Msid, PayloadFormat, RemoteTransport, StreamSsrc,
    TransportChange,
};

/// How a connection that we send with is told how much it may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CongestionFeedback {
    /// The receiver estimates: abs-send-time out, REMB back.
    #[default]
    Remb,
    /// We estimate: transport-wide sequence numbers out, feedback back.
    TransportCc,
}

/// How a line of our own offers becomes free for another track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineReuse {
    /// The line goes inactive and later sends again, with the same mid.
    #[default]
    Inactive,
    /// The line is stopped (port 0) and its place taken by a line with a new mid (RFC 8829 §5.2.2),
    /// for peers that do not announce a track on a line that sends again.
    Recycle,
}

/// What stays the same for the life of a connection.
#[derive(Clone, Debug)]
pub struct NegotiatorConfig {
    /// Non-zero, below 2^63: identifies our descriptions (RFC 8866 `o=`).
    pub session_id: u64,
    /// RTCP CNAME of all that we send.
    pub cname: String,
    /// Codecs enabled for both directions, in order of preference; others are never negotiated.
    pub codecs: Vec<Codec>,
    /// Of these the ones that the peer may not send.
    pub never_received: Vec<Codec>,
    pub congestion: CongestionFeedback,
    pub line_reuse: LineReuse,
    /// The role that answers choose when the offer leaves it open.
    pub answer_role: DtlsRole,
    /// Largest data channel message that we take, in bytes.
    pub max_message_size: u64,
    /// Offer and accept the playout-delay extension where we send video.
    pub playout_delay: bool,
    /// What we send goes to a forwarding server: offer it the extensions of a publisher (audio level,
    /// rids, transport-wide sequence numbers).
    pub publishing: bool,
    /// As the answerer, also send in sendrecv sections that the peer sends in, when no section that
    /// only receives is free.
    pub send_in_sendrecv: bool,
    /// As the answerer, reject sections that the peer stopped to send in, so that it can recycle their
    /// places. Only for peers that never send in such a section again: others would lose it for good.
    pub retire_stopped: bool,
}

impl Default for NegotiatorConfig {
    fn default() -> Self {
        Self {
            session_id: 1,
            cname: "roomful".to_owned(),
            codecs: Codec::ALL.to_vec(),
            never_received: Vec::new(),
            congestion: CongestionFeedback::default(),
            line_reuse: LineReuse::default(),
            answer_role: DtlsRole::Client,
            max_message_size: 65_535,
            playout_delay: false,
            publishing: false,
            send_in_sendrecv: false,
            retire_stopped: false,
        }
    }
}

/// A codec that a sending track comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecWish {
    pub codec: Codec,
    /// The publisher's format parameters: they tell H.264's packetization mode and profile, and the
    /// profiles of VP9, AV1 and H.265. Empty matches any.
    pub fmtp: Fmtp,
}

/// A track to send.
#[derive(Clone, Debug)]
pub struct SendSpec {
    pub key: TrackId,
    pub kind: MediaKind,
    /// Stream part of the msid, written as it is: `PA_x|TR_y`.
    pub stream: String,
    /// Track part of the msid.
    pub track: String,
    pub ssrc: u32,
    /// Used when the negotiated formats have retransmission.
    pub rtx_ssrc: Option<u32>,
    /// What it comes in, the best first. For RED: `Red` before `Opus`, and both.
    pub codecs: Vec<CodecWish>,
    pub stereo: bool,
    /// Simulcast layers by rid, in order of preference; empty for one stream. Used by publishers.
    pub rids: Vec<String>,
}

/// How to answer a section that the peer sends in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivePreferences {
    /// Put this codec first.
    pub codec: Option<Codec>,
    /// Answer with the preferred codec alone (when it is offered).
    pub only: bool,
    /// Ask for stereo Opus at up to 510 kbit/s.
    pub stereo: bool,
    /// Let the peer stop sending Opus while it is silent.
    pub dtx: bool,
    /// Put RED before Opus; otherwise RED is left out.
    pub red: bool,
}

impl Default for ReceivePreferences {
    fn default() -> Self {
        Self {
            codec: None,
            only: false,
            stereo: false,
            dtx: true,
            red: true,
        }
    }
}

/// Sends that no section is free for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unplaced {
    pub audio: usize,
    pub video: usize,
}

/// What an offer holds, before it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    pub remote: RemoteTransport,
    pub change: TransportChange,
    /// The sections that the peer wants to send in.
    pub sections: Vec<OfferedSection>,
}

/// A section that the peer wants to send in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedSection {
    pub mid: String,
    pub kind: MediaKind,
    pub msid: Option<Msid>,
    /// Offered and enabled, in the peer's order, without RED.
    pub codecs: Vec<Codec>,
    /// Not receiving on this mid so far.
    pub new: bool,
}

/// A description of ours to send to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDescription {
    pub sdp: String,
    /// Each section that sends, in order: mid and track.
    pub mids: Vec<(String, TrackId)>,
    /// The mid that local candidates belong to: the first of the bundle.
    pub transport_mid: String,
    /// Index of that section.
    pub transport_line: u16,
}

/// An answer of ours, and what is in force with it.
#[derive(Clone, Debug)]
pub struct Answered {
    pub description: LocalDescription,
    pub negotiated: Negotiated,
}

/// What changed by an offer and its answer.
#[derive(Clone, Debug, Default)]
pub struct Negotiated {
    /// The peer's transport; only of answers to our offers, see [`Offered`] for the other way.
    pub remote: Option<(RemoteTransport, TransportChange)>,
    pub receive: Vec<ReceiveChange>,
    pub send: Vec<SendChange>,
    /// The data section, when there is one in use.
    pub data: Option<DataSection>,
    /// Sections that the peer wants to send in and that cannot be received.
    pub rejected: Vec<Rejected>,
}

/// A section refused for what it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub mid: String,
    pub kind: Option<MediaKind>,
    pub msid: Option<Msid>,
    /// For the client and the log.
    pub reason: String,
}

/// A negotiated data channel section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSection {
    pub mid: String,
    /// The peer's SCTP port.
    pub port: u16,
    /// Largest message that the peer takes, in bytes; 0 for any.
    pub max_message_size: u64,
}

/// A change in what the peer sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveChange {
    Started(Box<ReceiveSection>),
    /// Same mid and track, anything else differs (codecs, layers, SSRCs, …).
    Changed(Box<ReceiveSection>),
    Stopped {
        mid: String,
    },
}

/// A section that the peer sends in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveSection {
    pub mid: String,
    pub kind: MediaKind,
    pub msid: Option<Msid>,
    /// Simulcast layers by name, in the order of the peer's `a=simulcast`. Which is the highest is
    /// not told by the order.
    pub rids: Vec<String>,
    /// Streams told by SSRC. With a SIM group there are several, in the order of the group.
    pub ssrcs: Vec<StreamSsrc>,
    /// Negotiated formats, the preferred first.
    pub payloads: Vec<PayloadFormat>,
    /// The peer's ids.
    pub extensions: Vec<(u8, Extension)>,
}

/// A change in what we send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendChange {
    /// Packets may go out (again, when something in it changed).
    Ready(Box<SendSection>),
    /// The peer stopped the section. The track waits for another one.
    Stopped { key: TrackId },
    /// The peer has none of the track's codecs. The track was forgotten.
    Unsupported { key: TrackId },
}

/// A section that we send in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendSection {
    pub key: TrackId,
    pub mid: String,
    /// Negotiated formats with the payload types to send, the track's own codec first.
    pub payloads: Vec<PayloadFormat>,
    /// The ids to write.
    pub extensions: Vec<(u8, Extension)>,
    /// Rids that the peer takes; empty for one stream.
    pub rids: Vec<String>,
}

impl ReceiveSection {
    /// Feedback that the first format allows.
    pub fn feedback(&self) -> Feedback {
        self.payloads
            .first()
            .map(|payload| payload.feedback)
            .unwrap_or_default()
    }

    pub fn extension(&self, extension: Extension) -> Option<u8> {
        id_of(&self.extensions, extension)
    }
}

impl SendSection {
    pub fn extension(&self, extension: Extension) -> Option<u8> {
        id_of(&self.extensions, extension)
    }

    /// The format to send a codec with.
    pub fn payload(&self, codec: Codec) -> Option<&PayloadFormat> {
        self.payloads.iter().find(|payload| payload.codec == codec)
    }
}

fn id_of(extensions: &[(u8, Extension)], wanted: Extension) -> Option<u8> {
    extensions
        .iter()
        .find(|(_, extension)| *extension == wanted)
        .map(|(id, _)| *id)
}
