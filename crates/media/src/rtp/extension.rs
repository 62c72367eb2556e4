//! Names of RTP header extensions and the values that the server reads or writes.

/// A header extension by its URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtensionKind {
    Mid,
    Rid,
    RepairedRid,
    AudioLevel,
    MixerAudioLevel,
    AbsSendTime,
    TransportCc,
    AbsCaptureTime,
    TransmissionOffset,
    VideoOrientation,
    DependencyDescriptor,
    GenericFrameDescriptor,
    PlayoutDelay,
    FrameMarking,
    VideoContentType,
    VideoTiming,
    VideoLayersAllocation,
    VideoFrameTrackingId,
    ColorSpace,
    EncryptedExtensions,
    Unknown,
}

const URIS: [(ExtensionKind, &str); 20] = [
    (ExtensionKind::Mid, "urn:ietf:params:rtp-hdrext:sdes:mid"),
    (
        ExtensionKind::Rid,
        "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    ),
    (
        ExtensionKind::RepairedRid,
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    ),
    (
        ExtensionKind::AudioLevel,
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    ),
    (
        ExtensionKind::MixerAudioLevel,
        "urn:ietf:params:rtp-hdrext:csrc-audio-level",
    ),
    (
        ExtensionKind::AbsSendTime,
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    ),
    (
        ExtensionKind::TransportCc,
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    ),
    (
        ExtensionKind::AbsCaptureTime,
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
    ),
    (
        ExtensionKind::TransmissionOffset,
        "urn:ietf:params:rtp-hdrext:toffset",
    ),
    (
        ExtensionKind::VideoOrientation,
        "urn:3gpp:video-orientation",
    ),
    (
        ExtensionKind::DependencyDescriptor,
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
    ),
    (
        ExtensionKind::GenericFrameDescriptor,
        "http://www.webrtc.org/experiments/rtp-hdrext/generic-frame-descriptor-00",
    ),
    (
        ExtensionKind::PlayoutDelay,
        "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    ),
    (
        ExtensionKind::FrameMarking,
        "urn:ietf:params:rtp-hdrext:framemarking",
    ),
    (
        ExtensionKind::VideoContentType,
        "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type",
    ),
    (
        ExtensionKind::VideoTiming,
        "http://www.webrtc.org/experiments/rtp-hdrext/video-timing",
    ),
    (
        ExtensionKind::VideoLayersAllocation,
        "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00",
    ),
    (
        ExtensionKind::VideoFrameTrackingId,
        "http://www.webrtc.org/experiments/rtp-hdrext/video-frame-tracking-id",
    ),
    (
        ExtensionKind::ColorSpace,
        "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
    ),
    (
        ExtensionKind::EncryptedExtensions,
        "urn:ietf:params:rtp-hdrext:encrypt",
    ),
];

impl ExtensionKind {
    pub fn from_uri(uri: &str) -> Self {
        // Frame marking is also seen under its draft's name.
        if uri == "http://tools.ietf.org/html/draft-ietf-avtext-framemarking-07" {
            return Self::FrameMarking;
        }
        URIS.iter()
            .find(|(_, known)| *known == uri)
            .map_or(Self::Unknown, |(kind, _)| *kind)
    }

    /// `None` for [`Self::Unknown`].
    pub fn uri(self) -> Option<&'static str> {
        URIS.iter()
            .find(|(kind, _)| *kind == self)
            .map(|(_, uri)| *uri)
    }
}

/// Level of the audio in a packet (RFC 6464).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    pub voice: bool,
    /// In −dBov: 0 is loudest, 127 is silence.
    pub level: u8,
}

impl AudioLevel {
    pub fn parse(value: &[u8]) -> Option<Self> {
        let first = *value.first()?;
        Some(Self {
            voice: first & 0x80 != 0,
            level: first & 0x7F,
        })
    }

    pub fn to_bytes(self) -> [u8; 1] {
        [(self.level & 0x7F) | if self.voice { 0x80 } else { 0 }]
    }
}

/// Seconds modulo 64 in 6.18 fixed point, as sent on the wire in 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsSendTime(pub u32);

impl AbsSendTime {
    /// From any clock that counts microseconds: only differences matter to the receiver.
    pub fn from_micros(micros: u64) -> Self {
        let fraction = (u128::from(micros) << 18) / 1_000_000;
        Self((fraction & 0xFF_FFFF) as u32)
    }

    pub fn parse(value: &[u8]) -> Option<Self> {
        let &[a, b, c] = value.first_chunk()?;
        Some(Self(u32::from_be_bytes([0, a, b, c])))
    }

    pub fn to_bytes(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }

    /// Time since `earlier` in microseconds, on the circle of 64 s.
    pub fn micros_since(self, earlier: Self) -> i64 {
        let ticks = self.0.wrapping_sub(earlier.0) << 8;
        ((i64::from(ticks as i32) >> 8) * 1_000_000) >> 18
    }
}

/// The transport-wide sequence number.
pub fn parse_transport_sequence(value: &[u8]) -> Option<u16> {
    value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Limits the receiver should keep its playout delay in, in units of 10 ms (0..=4095).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutDelay {
    pub min: u16,
    pub max: u16,
}

impl PlayoutDelay {
    pub fn parse(value: &[u8]) -> Option<Self> {
        let &[a, b, c] = value.first_chunk()?;
        Some(Self {
            min: u16::from(a) << 4 | u16::from(b) >> 4,
            max: u16::from(b & 0x0F) << 8 | u16::from(c),
        })
    }

    /// Values above 4095 are cut to it.
    pub fn to_bytes(self) -> [u8; 3] {
        let (min, max) = (self.min.min(4095), self.max.min(4095));
        [
            (min >> 4) as u8,
            (min << 4) as u8 | (max >> 8) as u8,
            max as u8,
        ]
    }
}

/// When the frame was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsCaptureTime {
    /// NTP time of the capturer's clock, 32.32 fixed point.
    pub ntp: u64,
    /// Estimated offset of the capturer's clock to the sender's, 32.32 fixed point.
    pub clock_offset: Option<i64>,
}

impl AbsCaptureTime {
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (ntp, rest) = value.split_first_chunk()?;
        Some(Self {
            ntp: u64::from_be_bytes(*ntp),
            clock_offset: rest.first_chunk().map(|bytes| i64::from_be_bytes(*bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_uri_maps_there_and_back() {
        for (kind, uri) in URIS {
            assert_eq!(ExtensionKind::from_uri(uri), kind);
            assert_eq!(kind.uri(), Some(uri));
        }
        assert_eq!(ExtensionKind::from_uri("urn:x"), ExtensionKind::Unknown);
        assert_eq!(ExtensionKind::Unknown.uri(), None);
    }

    #[test]
    fn values_round_trip() {
        let level = AudioLevel {
            voice: true,
            level: 35,
        };
        assert_eq!(AudioLevel::parse(&level.to_bytes()), Some(level));
        let delay = PlayoutDelay {
            min: 0x123,
            max: 0xABC,
        };
        assert_eq!(delay.to_bytes(), [0x12, 0x3A, 0xBC]);
        assert_eq!(PlayoutDelay::parse(&delay.to_bytes()), Some(delay));
        assert_eq!(parse_transport_sequence(&[1, 2]), Some(258));
        for empty in [
            AudioLevel::parse(&[]).is_none(),
            AbsSendTime::parse(&[1, 2]).is_none(),
        ] {
            assert!(empty);
        }
    }

    #[test]
    fn send_time_differences_cross_the_wrap() {
        let before = AbsSendTime::from_micros(63_999_000);
        let after = AbsSendTime::from_micros(64_002_000);
        assert!((after.micros_since(before) - 3_000).abs() <= 4);
        assert!((before.micros_since(after) + 3_000).abs() <= 4);
        assert_eq!(AbsSendTime::from_micros(1_000_000).0, 1 << 18);
        assert_eq!(AbsSendTime::parse(&after.to_bytes()), Some(after));
    }

    #[test]
    fn capture_time_offset_is_optional() {
        let mut value = [0u8; 16];
        value[0] = 1;
        value[15] = 9;
        assert_eq!(
            AbsCaptureTime::parse(&value[..8]).unwrap().clock_offset,
            None
        );
        assert_eq!(AbsCaptureTime::parse(&value).unwrap().clock_offset, Some(9));
        assert_eq!(AbsCaptureTime::parse(&value[..7]), None);
    }
}
