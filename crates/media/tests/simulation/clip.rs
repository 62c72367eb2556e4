//! Clients by their codecs and the numbers they give them, and media of any codec that says in each packet
//! what was sent.

use std::time::Duration;

use str0m::format::{Codec, FormatParams, PayloadParams};
use str0m::media::{Frequency, MediaKind, Pt};
use str0m::{Rtc, RtcConfig};

use crate::media::Heard;

/// A payload format that a client has; retransmission of video is one number above.
#[derive(Clone, Copy, Debug)]
pub struct Format(pub Codec, pub u8, pub &'static str);

/// All of the simulation that is not about codecs.
pub const PLAIN: &[Format] = &[
    Format(Codec::Opus, 111, "minptime=10;useinbandfec=1"),
    Format(Codec::Vp8, 96, ""),
];

pub const CHROMIUM: &[Format] = &[
    Format(Codec::Opus, 111, "minptime=10;useinbandfec=1"),
    Format(Codec::PCMU, 0, ""),
    Format(Codec::PCMA, 8, ""),
    Format(Codec::Vp8, 96, ""),
    Format(
        Codec::H264,
        103,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
    ),
    Format(
        Codec::H264,
        107,
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f",
    ),
    Format(
        Codec::H264,
        109,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
    Format(
        Codec::H264,
        115,
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f",
    ),
    Format(
        Codec::H264,
        117,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
    ),
    Format(
        Codec::H264,
        119,
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=4d001f",
    ),
    Format(
        Codec::H265,
        49,
        "level-id=180;profile-id=1;tier-flag=0;tx-mode=SRST",
    ),
];

pub const FIREFOX: &[Format] = &[
    Format(
        Codec::Opus,
        109,
        "maxplaybackrate=48000;stereo=1;useinbandfec=1",
    ),
    Format(Codec::PCMU, 0, ""),
    Format(Codec::PCMA, 8, ""),
    Format(Codec::Vp8, 120, ""),
    Format(
        Codec::H264,
        126,
        "profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1",
    ),
    Format(
        Codec::H264,
        97,
        "profile-level-id=42e01f;level-asymmetry-allowed=1",
    ),
    Format(
        Codec::H264,
        105,
        "profile-level-id=42001f;level-asymmetry-allowed=1;packetization-mode=1",
    ),
    Format(
        Codec::H264,
        103,
        "profile-level-id=42001f;level-asymmetry-allowed=1",
    ),
];

/// Firefox where it may send no more than single NAL units.
pub const UNFRAGMENTED: &[Format] = &[
    Format(
        Codec::Opus,
        109,
        "maxplaybackrate=48000;stereo=1;useinbandfec=1",
    ),
    Format(
        Codec::H264,
        97,
        "profile-level-id=42e01f;level-asymmetry-allowed=1",
    ),
];

/// Nothing as others number it, static payload types neither.
pub const CONTRARY: &[Format] = &[
    Format(Codec::Opus, 96, ""),
    Format(Codec::PCMU, 98, ""),
    Format(Codec::PCMA, 99, ""),
    Format(Codec::Vp8, 111, ""),
    Format(
        Codec::H264,
        123,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
    Format(
        Codec::H265,
        101,
        "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST",
    ),
];

/// A client with these formats only.
pub fn config(formats: &[Format]) -> RtcConfig {
    let mut config = Rtc::builder().clear_codecs();
    for &Format(codec, number, fmtp) in formats {
        let (clock, channels) = match codec {
            Codec::Opus => (Frequency::FORTY_EIGHT_KHZ, Some(2)),
            Codec::PCMU | Codec::PCMA => (Frequency::EIGHT_KHZ, None),
            _ => (Frequency::NINETY_KHZ, None),
        };
        let rtx = codec.is_video().then(|| Pt::from(number + 1));
        let params = FormatParams::parse_line(fmtp);
        config
            .codec_config()
            .add_config(number.into(), rtx, codec, clock, channels, params);
    }
    config
}

pub const INTERVAL: Duration = Duration::from_millis(20);
/// Bytes at the end of each packet that say what it is.
const MARK: usize = 8;
/// Real, of 640 × 480, as a resolution is read of it.
const H264_SPS: &[u8] = &[
    0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40, 0x50, 0x1e, 0xd0, 0x0f, 0x08, 0x84, 0x6a,
];

/// A source of one codec, its packets shaped as that codec's.
#[derive(Clone, Debug)]
pub struct Clip {
    pub codec: Codec,
    number: u32,
    wants_key: bool,
}

impl Clip {
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            number: 0,
            wants_key: true,
        }
    }

    pub fn kind(&self) -> MediaKind {
        if self.codec.is_video() {
            MediaKind::Video
        } else {
            MediaKind::Audio
        }
    }

    /// Ticks from frame to frame.
    pub fn step(&self) -> u32 {
        match self.codec {
            Codec::PCMU | Codec::PCMA => 160,
            Codec::Opus => 960,
            _ => 1_800,
        }
    }

    pub fn request_key(&mut self) {
        self.wants_key = true;
    }

    /// The packets of the next frame as the negotiated format allows them.
    pub fn frame(&mut self, format: &PayloadParams) -> Vec<Vec<u8>> {
        let key = std::mem::take(&mut self.wants_key);
        let fragments = format.spec().format.packetization_mode == Some(1);
        let heads: Vec<Vec<u8>> = match self.codec {
            Codec::H264 => h264(key, fragments),
            Codec::H265 => h265(key),
            _ => vec![vec![0xe0; 80]],
        };
        let last = heads.len() - 1;
        let packets = heads.into_iter().enumerate().map(|(n, mut packet)| {
            packet.extend_from_slice(&[b'M', (n == 0).into(), (n == last).into(), key.into()]);
            packet.extend_from_slice(&self.number.to_be_bytes());
            packet
        });
        let packets = packets.collect();
        self.number += 1;
        packets
    }
}

/// RFC 6184: parameter sets before an IDR picture of two slices; each slice in two fragments or whole.
fn h264(key: bool, fragments: bool) -> Vec<Vec<u8>> {
    let slice = if key { 0x65 } else { 0x41 };
    let pps = [0x68, 0xce, 0x3c, 0x80];
    let mut packets = Vec::new();
    match (key, fragments) {
        (false, _) => {}
        (true, false) => packets.extend([H264_SPS.to_vec(), pps.to_vec()]),
        (true, true) => {
            // The mark is inside the last unit, as nothing may follow it.
            let pps_len = (pps.len() + MARK) as u8;
            let parts = [
                &[0x78, 0, H264_SPS.len() as u8],
                H264_SPS,
                &[0, pps_len],
                &pps,
            ];
            packets.push(parts.concat());
        }
    }
    // `first_mb_in_slice` is 0 in the first of them only.
    for first in [0x88, 0x48] {
        if fragments {
            let start = vec![slice & 0x60 | 28, slice & 0x1f | 0x80, first, 0x84, 0x21];
            packets.extend([
                start,
                vec![slice & 0x60 | 28, slice & 0x1f | 0x40, 0x55, 0x55],
            ]);
        } else {
            packets.push(vec![slice, first, 0x84, 0x21]);
        }
    }
    packets
}

/// RFC 7798: parameter sets in one packet, then a slice of an IDR or a trailing picture in fragments.
fn h265(key: bool) -> Vec<Vec<u8>> {
    const { assert!(MARK == 8) };
    let mut packets = Vec::new();
    if key {
        packets.push(vec![
            48 << 1,
            1,
            0,
            3,
            32 << 1,
            1,
            0x0c,
            0,
            3,
            33 << 1,
            1,
            0x01,
            0,
            11,
            34 << 1,
            1,
            0xc1,
        ]);
    }
    let slice = if key { 19 } else { 1 };
    packets.push(vec![49 << 1, 1, slice | 0x80, 0xaf, 0x55]);
    packets.push(vec![49 << 1, 1, slice | 0x40, 0x55, 0x55]);
    packets
}

/// What a packet says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub first: bool,
    pub last: bool,
    pub key: bool,
    pub number: u32,
}

impl Heard {
    /// The mark of a [`Clip`]'s packet.
    pub fn mark(&self) -> Option<Mark> {
        match *self.payload.last_chunk::<MARK>()? {
            [b'M', first, last, key, a, b, c, d] => Some(Mark {
                first: first == 1,
                last: last == 1,
                key: key == 1,
                number: u32::from_be_bytes([a, b, c, d]),
            }),
            _ => None,
        }
    }
}
