//! Codecs as descriptions name them: rtpmap, fmtp, rtcp-fb.

use std::fmt;

use crate::api::MediaKind;

/// A codec that we forward. Retransmission (rtx) is a property of a [`PayloadFormat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    Opus,
    Red,
    Pcmu,
    Pcma,
    Vp8,
    Vp9,
    H264,
    H265,
    Av1,
}

impl Codec {
    pub const ALL: [Self; 9] = [
        Self::Opus,
        Self::Red,
        Self::Pcmu,
        Self::Pcma,
        Self::Vp8,
        Self::Vp9,
        Self::H264,
        Self::H265,
        Self::Av1,
    ];

    /// Lower-case MIME type: "video/vp8".
    pub fn mime(self) -> &'static str {
        match self {
            Self::Opus => "audio/opus",
            Self::Red => "audio/red",
            Self::Pcmu => "audio/pcmu",
            Self::Pcma => "audio/pcma",
            Self::Vp8 => "video/vp8",
            Self::Vp9 => "video/vp9",
            Self::H264 => "video/h264",
            Self::H265 => "video/h265",
            Self::Av1 => "video/av1",
        }
    }

    /// Takes a MIME type in any case.
    pub fn from_mime(mime: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.mime().eq_ignore_ascii_case(mime))
    }

    pub fn kind(self) -> MediaKind {
        match self {
            Self::Opus | Self::Red | Self::Pcmu | Self::Pcma => MediaKind::Audio,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::H265 | Self::Av1 => MediaKind::Video,
        }
    }

    /// Hertz.
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Opus | Self::Red => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
            _ => 90_000,
        }
    }

    /// The name in rtpmap.
    pub(super) fn encoding_name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Red => "red",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Av1 => "AV1",
        }
    }
}

/// Format parameters, kept in the order they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fmtp(String);

/// The profile of an H.264 `profile-level-id`, its level aside (RFC 6184 §8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
}

/// Which feedback messages a payload format allows (`a=rtcp-fb`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    pub nack: bool,
    /// `nack pli`.
    pub pli: bool,
    /// `ccm fir`.
    pub fir: bool,
    pub transport_cc: bool,
    /// `goog-remb`.
    pub remb: bool,
}

/// A payload type and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadFormat {
    pub payload_type: u8,
    pub codec: Codec,
    /// Hertz.
    pub clock_rate: u32,
    /// 1 unless told.
    pub channels: u8,
    pub fmtp: Fmtp,
    pub feedback: Feedback,
    /// The payload type that resends this one (RFC 4588).
    pub rtx: Option<u8>,
}

impl Fmtp {
    /// Takes the value of `a=fmtp` without the payload type.
    pub fn new(value: &str) -> Self {
        Self(value.trim().to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(';').filter_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            Some((name.trim(), value.trim()))
        })
    }

    /// The value of a parameter. Names are case-insensitive.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Sets a parameter, in its place when it is there.
    pub fn set(&mut self, name: &str, value: &str) {
        if self.get(name).is_some() {
            let parameters: Vec<String> = self
                .0
                .split(';')
                .map(|parameter| match parameter.split_once('=') {
                    Some((n, _)) if n.trim().eq_ignore_ascii_case(name) => format!("{n}={value}"),
                    _ => parameter.to_owned(),
                })
                .collect();
            self.0 = parameters.join(";");
        } else {
            if !self.0.is_empty() {
                self.0.push(';');
            }
            self.0.push_str(name);
            self.0.push('=');
            self.0.push_str(value);
        }
    }

    /// H.264 packetization mode (0 when absent).
    pub fn packetization_mode(&self) -> u8 {
        self.get("packetization-mode")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0)
    }

    /// H.264 profile. Absent means Baseline (RFC 6184 §8.1); `None` is one that we don't know.
    pub fn h264_profile(&self) -> Option<H264Profile> {
        let Some(id) = self.get("profile-level-id") else {
            return Some(H264Profile::Baseline);
        };
        if id.len() != 6 {
            return None;
        }
        let bits = u32::from_str_radix(id, 16).ok()?;
        let (profile, constraints) = ((bits >> 16) as u8, (bits >> 8) as u8);
        // constraint_set1 on Baseline, or constraint_set0 on Main or Extended, is Constrained Baseline.
        Some(match profile {
            0x42 if constraints & 0x40 != 0 => H264Profile::ConstrainedBaseline,
            0x42 => H264Profile::Baseline,
            0x4d if constraints & 0x80 != 0 => H264Profile::ConstrainedBaseline,
            0x4d => H264Profile::Main,
            0x58 if constraints & 0xc0 == 0xc0 => H264Profile::ConstrainedBaseline,
            0x58 if constraints & 0x80 != 0 => H264Profile::Baseline,
            0x64 if constraints & 0x0c == 0x0c => H264Profile::ConstrainedHigh,
            0x64 => H264Profile::High,
            _ => return None,
        })
    }

    /// VP9 `profile-id` or H.265 `profile-id`, AV1 `profile`, with the default of each codec.
    pub fn profile(&self, codec: Codec) -> u8 {
        let (name, default) = match codec {
            Codec::H265 => ("profile-id", 1),
            Codec::Av1 => ("profile", 0),
            _ => ("profile-id", 0),
        };
        self.get(name)
            .and_then(|v| v.parse().ok())
            .unwrap_or(default)
    }
}

impl fmt::Display for Fmtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Feedback {
    /// The messages that either allows.
    pub fn union(self, other: Self) -> Self {
        Self {
            nack: self.nack || other.nack,
            pli: self.pli || other.pli,
            fir: self.fir || other.fir,
            transport_cc: self.transport_cc || other.transport_cc,
            remb: self.remb || other.remb,
        }
    }

    /// The messages that both allow.
    pub fn intersect(self, other: Self) -> Self {
        Self {
            nack: self.nack && other.nack,
            pli: self.pli && other.pli,
            fir: self.fir && other.fir,
            transport_cc: self.transport_cc && other.transport_cc,
            remb: self.remb && other.remb,
        }
    }
}
