//! A session description with the attributes WebRTC gives a meaning to.

use super::{
    ExtensionMap, Fingerprint, IceCredentials, Msid, PayloadFormat, Rid, SdpError, Setup,
    Simulcast, SsrcGroup, SsrcInfo,
};
use crate::api::MediaKind;

/// Direction of a section or extension, as its writer sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub fn new(send: bool, recv: bool) -> Self {
        match (send, recv) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same, as the other side sees it.
    pub fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    pub(super) fn parse(value: &str) -> Option<Self> {
        Some(match value {
            "sendrecv" => Self::SendRecv,
            "sendonly" => Self::SendOnly,
            "recvonly" => Self::RecvOnly,
            "inactive" => Self::Inactive,
            _ => return None,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// A whole description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub session_id: String,
    pub version: u64,
    /// Mids of the first BUNDLE group, `None` when there is no such group.
    pub bundle: Option<Vec<String>>,
    pub ice_lite: bool,
    pub extmap_allow_mixed: bool,
    pub sections: Vec<Section>,
}

/// One m-line and what belongs to it. Session-level defaults are folded in by the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub mid: String,
    /// 0 means rejected or stopped, unless `bundle_only`.
    pub port: u16,
    pub bundle_only: bool,
    /// "UDP/TLS/RTP/SAVPF".
    pub proto: String,
    pub ice: Option<IceCredentials>,
    pub fingerprints: Vec<Fingerprint>,
    pub setup: Option<Setup>,
    /// `candidate:…` without `a=`.
    pub candidates: Vec<String>,
    pub end_of_candidates: bool,
    pub media: SectionMedia,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionMedia {
    Media(Box<MediaMedia>),
    Data(DataMedia),
    /// Of no use to us: always rejected. The media type and formats go back as they came.
    Other {
        media: String,
        formats: String,
    },
}

/// What audio and video sections hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaMedia {
    pub kind: MediaKind,
    pub direction: Direction,
    /// The format list of the m-line as it came: rejected sections repeat it.
    pub formats: String,
    /// The formats that we know, in the order of the m-line.
    pub payloads: Vec<PayloadFormat>,
    pub extensions: Vec<ExtensionMap>,
    pub rtcp_mux: bool,
    pub rtcp_rsize: bool,
    pub extmap_allow_mixed: bool,
    pub msid: Option<Msid>,
    pub ssrcs: Vec<SsrcInfo>,
    pub ssrc_groups: Vec<SsrcGroup>,
    pub rids: Vec<Rid>,
    pub simulcast: Option<Simulcast>,
}

/// What a data channel section holds (RFC 8841).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataMedia {
    pub sctp_port: u16,
    /// Bytes, 0 for any size; 65,536 when not told.
    pub max_message_size: u64,
    /// Written as `DTLS/SCTP` with `a=sctpmap`, the form before RFC 8841.
    pub draft: bool,
}

impl Section {
    /// Rejected or stopped.
    pub fn is_rejected(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }

    pub fn media(&self) -> Option<&MediaMedia> {
        match &self.media {
            SectionMedia::Media(media) => Some(media),
            _ => None,
        }
    }
}

impl Description {
    /// Parses a description. Line endings may be LF, CRLF or mixed.
    ///
    /// # Errors
    /// Names what is wrong or which limit is passed. Attributes that we don't know are skipped.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        super::parse::description(text)
    }

    pub fn section(&self, mid: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.mid == mid)
    }
}
