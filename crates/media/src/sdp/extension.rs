//! RTP header extensions (RFC 8285).

use super::Direction;

/// A header extension that we know by its URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Extension {
    Mid,
    Rid,
    RepairedRid,
    AudioLevel,
    AbsCaptureTime,
    AbsSendTime,
    TransportCc,
    FrameMarking,
    DependencyDescriptor,
    PlayoutDelay,
    VideoOrientation,
}

impl Extension {
    pub const ALL: [Self; 11] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::AudioLevel,
        Self::AbsCaptureTime,
        Self::AbsSendTime,
        Self::TransportCc,
        Self::FrameMarking,
        Self::DependencyDescriptor,
        Self::PlayoutDelay,
        Self::VideoOrientation,
    ];

    pub fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Self::FrameMarking => "urn:ietf:params:rtp-hdrext:framemarking",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Self::VideoOrientation => "urn:3gpp:video-orientation",
        }
    }

    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|extension| extension.uri() == uri)
    }

    /// The id in our own offers. All below 15, so that one-byte headers do.
    pub(super) fn own_id(self) -> u8 {
        match self {
            Self::Mid => 1,
            Self::Rid => 2,
            Self::RepairedRid => 3,
            Self::AudioLevel => 4,
            Self::AbsCaptureTime => 5,
            Self::AbsSendTime => 6,
            Self::TransportCc => 7,
            Self::DependencyDescriptor => 8,
            Self::PlayoutDelay => 9,
            Self::FrameMarking => 10,
            Self::VideoOrientation => 11,
        }
    }
}

/// One `a=extmap` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionMap {
    /// 1..=255.
    pub id: u8,
    pub extension: Extension,
    pub direction: Direction,
}
