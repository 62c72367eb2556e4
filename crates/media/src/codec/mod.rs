//! What the payloads of each codec tell: key frames, layers and frame bounds, and what must be rewritten
//! when streams are spliced.
//!
//! A payload is parsed once, on arrival, into a small [`Meta`] that is kept with the packet. Encoded
//! media itself is never decoded.

pub mod av1;
mod bits;
pub mod dependency;
pub mod h264;
pub mod h265;
pub mod opus;
pub mod red;
pub mod vp8;
pub mod vp9;

/// A codec or payload format of an RTP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodecKind {
    Opus,
    Red,
    Pcmu,
    Pcma,
    G722,
    Vp8,
    Vp9,
    H264,
    H265,
    Av1,
    Rtx,
    Ulpfec,
    Flexfec,
    TelephoneEvent,
    ComfortNoise,
    Unknown,
}

impl CodecKind {
    /// From a MIME type ("video/VP8") or a bare encoding name ("VP8"), in any case.
    pub fn from_mime(mime: &str) -> Self {
        let name = mime.rsplit_once('/').map_or(mime, |(_, name)| name);
        const NAMES: [(&str, CodecKind); 17] = [
            ("opus", CodecKind::Opus),
            ("red", CodecKind::Red),
            ("pcmu", CodecKind::Pcmu),
            ("pcma", CodecKind::Pcma),
            ("g722", CodecKind::G722),
            ("vp8", CodecKind::Vp8),
            ("vp9", CodecKind::Vp9),
            ("h264", CodecKind::H264),
            ("h265", CodecKind::H265),
            ("hevc", CodecKind::H265),
            ("av1", CodecKind::Av1),
            ("rtx", CodecKind::Rtx),
            ("ulpfec", CodecKind::Ulpfec),
            ("flexfec-03", CodecKind::Flexfec),
            ("flexfec", CodecKind::Flexfec),
            ("telephone-event", CodecKind::TelephoneEvent),
            ("cn", CodecKind::ComfortNoise),
        ];
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(Self::Unknown, |(_, kind)| *kind)
    }

    /// In lower case: "vp8"; empty for what has no name of its own.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Red => "red",
            Self::Pcmu => "pcmu",
            Self::Pcma => "pcma",
            Self::G722 => "g722",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::H264 => "h264",
            Self::H265 => "h265",
            Self::Av1 => "av1",
            _ => "",
        }
    }

    /// The usual RTP clock in Hz; the SDP's rtpmap has the last word.
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Opus | Self::Red => 48_000,
            // G.722 is sampled at 16 kHz and still counts at 8 (RFC 3551 section 4.5.2).
            Self::Pcmu | Self::Pcma | Self::G722 | Self::TelephoneEvent | Self::ComfortNoise => {
                8_000
            }
            _ => 90_000,
        }
    }

    pub fn is_video(self) -> bool {
        matches!(
            self,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::H265 | Self::Av1
        )
    }
}

/// Why a payload cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("empty payload")]
    Empty,
    #[error("shorter than its descriptor says")]
    Truncated,
    #[error("descriptor contradicts its format")]
    Malformed,
    /// A dependency descriptor that refers to a structure not seen.
    #[error("no dependency structure yet")]
    NoStructure,
}

/// Size of a picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub width: u16,
    pub height: u16,
}

/// What one packet's payload tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The packet begins something that a decoder can start from (the packet with the parameter sets or
    /// the start of a key picture, of the lowest spatial layer). Always true for audio.
    pub keyframe: bool,
    /// The packet may be the first of a frame (of a spatial layer's frame for VP9 and AV1).
    pub start_of_frame: bool,
    /// The packet is the last of a frame (of a spatial layer's frame for VP9 and AV1).
    pub end_of_frame: bool,
    /// The marker bit: last packet of the picture with all its layers.
    pub marker: bool,
    /// Temporal layer, 0 where the codec or stream has none.
    pub temporal: u8,
    /// Spatial layer inside this stream (SVC), 0 where the codec or stream has none.
    pub spatial: u8,
    /// From this frame on a receiver may take the frame's temporal layer.
    pub temporal_switch: bool,
    /// The frame is not needed by any other frame.
    pub discardable: bool,
    /// On key frames, where it is cheap to know.
    pub resolution: Option<Resolution>,
    /// From a dependency descriptor.
    pub frame_number: Option<u16>,
    pub detail: Detail,
}

/// What rewriting and layer choice need of one codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    None,
    Vp8(vp8::Descriptor),
    Vp9(vp9::Descriptor),
    H264(h264::Units),
    H265(h265::Units),
    Av1(av1::Aggregation),
    /// AV1 (or another codec) with a dependency descriptor.
    Dependency(dependency::Frame),
}

impl Meta {
    /// Parses a payload (without padding). Audio and unknown codecs need no more than to be there.
    #[inline]
    pub fn parse(codec: CodecKind, payload: &[u8], marker: bool) -> Result<Self, CodecError> {
        if payload.is_empty() {
            return Err(CodecError::Empty);
        }
        match codec {
            CodecKind::Vp8 => vp8::Descriptor::parse(payload).map(|d| d.meta(payload, marker)),
            CodecKind::Vp9 => vp9::Descriptor::parse(payload).map(|d| d.meta(marker)),
            CodecKind::H264 => h264::Units::parse(payload).map(|units| units.meta(marker)),
            CodecKind::H265 => h265::Units::parse(payload).map(|units| units.meta(marker)),
            CodecKind::Av1 => av1::Aggregation::parse(payload).map(|header| header.meta(marker)),
            _ => Ok(Self::opaque(marker)),
        }
    }

    /// For a payload nothing is known of.
    pub fn opaque(marker: bool) -> Self {
        Self {
            keyframe: true,
            start_of_frame: true,
            end_of_frame: true,
            marker,
            temporal: 0,
            spatial: 0,
            temporal_switch: true,
            discardable: false,
            resolution: None,
            frame_number: None,
            detail: Detail::None,
        }
    }

    /// Adds what the dependency descriptor tells of frames and layers. A codec whose payload tells as much
    /// by itself has the word, as its payload is what gets rewritten.
    pub fn with_dependency(self, frame: dependency::Frame) -> Self {
        let told = Self {
            frame_number: Some(frame.frame_number),
            resolution: self.resolution.or(frame.resolution),
            ..self
        };
        match self.detail {
            Detail::Vp8(_) | Detail::Vp9(_) => return told,
            Detail::H264(_) | Detail::H265(_) => {
                return Self {
                    temporal: frame.temporal,
                    temporal_switch: frame.is_switch(),
                    discardable: frame.is_discardable(),
                    ..told
                };
            }
            _ => {}
        }
        Self {
            keyframe: frame.start_of_frame && frame.has_structure && frame.spatial == 0,
            start_of_frame: frame.start_of_frame,
            end_of_frame: frame.end_of_frame,
            temporal: frame.temporal,
            spatial: frame.spatial,
            temporal_switch: frame.is_switch(),
            discardable: frame.is_discardable(),
            resolution: frame.resolution.or(self.resolution),
            detail: Detail::Dependency(frame),
            ..told
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_known_by_mime_and_name() {
        assert_eq!(CodecKind::from_mime("video/VP8"), CodecKind::Vp8);
        assert_eq!(CodecKind::from_mime("H264"), CodecKind::H264);
        assert_eq!(CodecKind::from_mime("audio/opus").clock_rate(), 48_000);
        assert_eq!(CodecKind::from_mime("audio/PCMU").clock_rate(), 8_000);
        assert_eq!(CodecKind::from_mime("video/flexfec-03"), CodecKind::Flexfec);
        assert_eq!(CodecKind::from_mime("audio/"), CodecKind::Unknown);
        assert!(CodecKind::from_mime("video/av1").is_video() && !CodecKind::Rtx.is_video());
    }

    #[test]
    fn empty_payloads_are_refused_for_every_codec() {
        for codec in [
            CodecKind::Opus,
            CodecKind::Vp8,
            CodecKind::Vp9,
            CodecKind::H264,
            CodecKind::H265,
            CodecKind::Av1,
        ] {
            assert_eq!(Meta::parse(codec, &[], true), Err(CodecError::Empty));
        }
    }

    #[test]
    fn dependency_descriptor_has_the_last_word_on_layers() {
        let meta = Meta::parse(CodecKind::Av1, &[0x10, 0x32, 0], false).unwrap();
        let mut reader = dependency::DependencyReader::default();
        assert!(reader.read(&[0x80, 0, 1]).is_err());
        // One template, one target that can be switched to, no chains.
        let frame = reader.read(&[0x80, 0, 1, 0x80, 0x00, 0x38, 0x00]).unwrap();
        let meta = meta.with_dependency(frame);
        assert!(meta.keyframe && meta.temporal_switch && meta.start_of_frame && !meta.end_of_frame);
        assert_eq!(meta.detail, Detail::Dependency(frame));
    }

    #[test]
    fn meta_stays_small() {
        assert!(size_of::<Meta>() <= 64, "{}", size_of::<Meta>());
    }
}
