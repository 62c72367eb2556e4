//! Media as encoders shape it, with a mark in each packet that says what was sent; and what a receiver
//! makes of what arrives.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub const OPUS: &str = "audio/opus";
pub const VP8: &str = "video/vp8";
pub const OPUS_INTERVAL: Duration = Duration::from_millis(20);
pub const VIDEO_INTERVAL: Duration = Duration::from_millis(33);
/// Bytes of payload in a full video packet.
const MTU: usize = 1_100;

/// One resolution of a simulcast track, or the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    pub rid: Option<&'static str>,
    pub width: u16,
    pub height: u16,
    /// Bits a second.
    pub bitrate: u32,
}

pub const SIMULCAST: [Layer; 3] = [
    Layer {
        rid: Some("q"),
        width: 320,
        height: 180,
        bitrate: 160_000,
    },
    Layer {
        rid: Some("h"),
        width: 640,
        height: 360,
        bitrate: 450_000,
    },
    Layer {
        rid: Some("f"),
        width: 1_280,
        height: 720,
        bitrate: 1_700_000,
    },
];

/// One layer's encoder.
#[derive(Clone, Debug)]
pub struct Vp8Encoder {
    pub layer: Layer,
    frame: u32,
    picture_id: u16,
    tl0: u8,
    wants_key: bool,
}

/// A frame's packets: payloads, the last gets the marker.
pub struct VideoFrame {
    pub timestamp: u32,
    pub payloads: Vec<Vec<u8>>,
}

impl Vp8Encoder {
    pub fn new(layer: Layer, picture_id: u16) -> Self {
        Self {
            layer,
            frame: 0,
            picture_id: picture_id & 0x7fff,
            tl0: 0,
            wants_key: true,
        }
    }

    pub fn request_key(&mut self) {
        self.wants_key = true;
    }

    pub fn encode(&mut self) -> VideoFrame {
        let key = std::mem::take(&mut self.wants_key);
        let per_frame = (self.layer.bitrate as usize / 8 / 30).max(40);
        let mut left = if key { per_frame * 3 } else { per_frame };
        let mut payloads = Vec::new();
        while left > 0 {
            let size = left.min(MTU);
            payloads.push(self.packet(key, payloads.is_empty(), size));
            left -= size;
        }
        let frame = VideoFrame {
            timestamp: self.frame.wrapping_mul(2_970),
            payloads,
        };
        self.frame += 1;
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.tl0 = self.tl0.wrapping_add(1);
        frame
    }

    fn packet(&self, key: bool, first: bool, size: usize) -> Vec<u8> {
        let [p0, p1] = (self.picture_id | 0x8000).to_be_bytes();
        // RFC 7741: X, S on the first; then I, L, T; 15-bit picture id, TL0PICIDX, TID 0 with Y.
        let mut out = vec![
            if first { 0x90 } else { 0x80 },
            0xe0,
            p0,
            p1,
            self.tl0,
            0x20,
        ];
        if first {
            out.extend_from_slice(&[if key { 0x10 } else { 0x11 }, 0, 0]);
            if key {
                let ([w0, w1], [h0, h1]) = (
                    self.layer.width.to_le_bytes(),
                    self.layer.height.to_le_bytes(),
                );
                out.extend_from_slice(&[0x9d, 0x01, 0x2a, w0, w1, h0, h1]);
            }
        }
        let [w0, w1] = self.layer.width.to_be_bytes();
        out.extend_from_slice(&[b'M', w0, w1]);
        out.extend_from_slice(&self.frame.to_be_bytes());
        out.resize(out.len().max(size), 0x55);
        out
    }
}

/// An Opus frame with its number in it (20 ms, one channel, CELT).
pub fn opus(number: u32) -> Vec<u8> {
    let mut out = vec![0xe0, b'A'];
    out.extend_from_slice(&number.to_be_bytes());
    out.resize(80, 0xaa);
    out
}

/// A packet as it came to a subscriber's application.
#[derive(Clone, Debug)]
pub struct Heard {
    pub at: Instant,
    pub ssrc: u32,
    pub payload_type: u8,
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Vec<u8>,
}

impl Heard {
    /// The number in an Opus-shaped payload.
    pub fn opus_number(&self) -> Option<u32> {
        match self.payload.get(1..6)? {
            &[b'A', a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
            _ => None,
        }
    }
}

/// A VP8 descriptor and the mark behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vp8Packet {
    start: bool,
    key: bool,
    picture_id: Option<u16>,
    tl0: Option<u8>,
    width: u16,
    frame: u32,
}

fn read_vp8(payload: &[u8]) -> Option<Vp8Packet> {
    let first = *payload.first()?;
    let mut at = 1;
    let (mut picture_id, mut tl0) = (None, None);
    if first & 0x80 != 0 {
        let flags = *payload.get(at)?;
        at += 1;
        if flags & 0x80 != 0 {
            let high = *payload.get(at)?;
            at += 1;
            picture_id = Some(if high & 0x80 != 0 {
                let low = *payload.get(at)?;
                at += 1;
                u16::from_be_bytes([high & 0x7f, low])
            } else {
                high.into()
            });
        }
        if flags & 0x40 != 0 {
            tl0 = Some(*payload.get(at)?);
            at += 1;
        }
        at += usize::from(flags & 0x30 != 0);
    }
    let start = first & 0x10 != 0;
    let key = start && payload.get(at)? & 1 == 0;
    at += match (start, key) {
        (true, true) => 10,
        (true, false) => 3,
        (false, _) => 0,
    };
    match *payload.get(at..at + 7)? {
        [b'M', w0, w1, a, b, c, d] => Some(Vp8Packet {
            start,
            key,
            picture_id,
            tl0,
            width: u16::from_be_bytes([w0, w1]),
            frame: u32::from_be_bytes([a, b, c, d]),
        }),
        _ => None,
    }
}

/// A whole frame as a decoder gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it was whole.
    pub at: Instant,
    pub key: bool,
    pub width: u16,
    /// The encoder's own count.
    pub number: u32,
    pub timestamp: u32,
}

/// What a decoder sees: whole frames in order, and what would have stopped it.
#[derive(Clone, Debug, Default)]
pub struct Video {
    pub frames: Vec<Frame>,
    /// Sequence numbers that never came, between the first and the last.
    pub missing: u64,
    /// Breaks of the rules a decoder lives by, in words.
    pub faults: Vec<String>,
}

/// Puts a track's packets together as a receiver with a patient jitter buffer does.
pub fn watch(heard: &[Heard]) -> Video {
    let mut video = Video::default();
    let by_sequence: BTreeMap<u64, &Heard> = heard.iter().map(|h| (h.sequence, h)).collect();
    let (Some(&first), Some(&last)) = (by_sequence.keys().next(), by_sequence.keys().next_back())
    else {
        return video;
    };
    video.missing = last - first + 1 - by_sequence.len() as u64;
    let mut before: Option<(Frame, Option<u16>)> = None;
    // Packets of the frame being put together, without a gap so far.
    let mut whole: Option<(Vp8Packet, Instant, u32)> = None;
    let mut expected = first;
    for (&sequence, packet) in &by_sequence {
        let gap = sequence != expected;
        expected = sequence + 1;
        let Some(vp8) = read_vp8(&packet.payload) else {
            // Padding carries no frame, and must not be inside one.
            if !packet.payload.is_empty() {
                video
                    .faults
                    .push(format!("packet {sequence} is no VP8 of ours"));
            }
            continue;
        };
        whole = match whole {
            _ if vp8.start => Some((vp8, packet.at, packet.timestamp)),
            Some((start, at, timestamp)) if !gap => {
                if (vp8.picture_id, vp8.width, vp8.frame)
                    != (start.picture_id, start.width, start.frame)
                    || timestamp != packet.timestamp
                {
                    video
                        .faults
                        .push(format!("packet {sequence} mixes two frames"));
                }
                Some((start, at.max(packet.at), timestamp))
            }
            _ => None,
        };
        let Some((start, at, timestamp)) = whole.filter(|_| packet.marker) else {
            continue;
        };
        whole = None;
        let frame = Frame {
            at,
            key: start.key,
            width: start.width,
            number: start.frame,
            timestamp,
        };
        if let Some((earlier, picture_id)) = before {
            let step = timestamp.wrapping_sub(earlier.timestamp);
            if step == 0 || step > 90_000 * 30 {
                video.faults.push(format!(
                    "frame at packet {sequence}: timestamp moves by {step}"
                ));
            }
            if earlier.width != frame.width && !frame.key {
                video.faults.push(format!(
                    "frame at packet {sequence}: {} to {} wide without a key frame",
                    earlier.width, frame.width
                ));
            }
            if let (Some(earlier_id), Some(id)) = (picture_id, start.picture_id) {
                let step = id.wrapping_sub(earlier_id) & 0x7fff;
                if step == 0 || step > 1_000 {
                    video.faults.push(format!(
                        "frame at packet {sequence}: picture id moves by {step}"
                    ));
                }
            }
        } else if !frame.key {
            video
                .faults
                .push("the first whole frame is no key frame".into());
        }
        before = Some((frame, start.picture_id));
        video.frames.push(frame);
    }
    video
}

/// Numbers of the Opus frames that came, in order of sequence, each once.
pub fn listen(heard: &[Heard]) -> Vec<u32> {
    let by_sequence: BTreeMap<u64, &Heard> = heard.iter().map(|h| (h.sequence, h)).collect();
    by_sequence
        .values()
        .filter_map(|h| h.opus_number())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(frames: u32) -> Vec<Heard> {
        let mut encoder = Vp8Encoder::new(SIMULCAST[1], 0x7ffe);
        let mut heard = Vec::new();
        for _ in 0..frames {
            let frame = encoder.encode();
            let count = frame.payloads.len();
            for (n, payload) in frame.payloads.into_iter().enumerate() {
                heard.push(Heard {
                    at: Instant::now(),
                    ssrc: 1,
                    payload_type: 96,
                    sequence: 65_534 + heard.len() as u64,
                    timestamp: frame.timestamp,
                    marker: n + 1 == count,
                    payload,
                });
            }
        }
        heard
    }

    #[test]
    fn a_clean_stream_is_watched_without_a_fault() {
        let video = watch(&sent(10));
        assert_eq!((video.frames.len(), video.missing), (10, 0));
        assert!(video.faults.is_empty(), "{:?}", video.faults);
        assert!(video.frames[0].key && !video.frames[1].key);
    }

    #[test]
    fn a_watcher_notices_what_is_missing_or_wrong() {
        let mut lost = sent(10);
        lost.remove(4);
        let video = watch(&lost);
        assert_eq!((video.frames.len(), video.missing), (9, 1));

        let headless: Vec<_> = sent(10).split_off(6);
        assert!(!watch(&headless).faults.is_empty());

        let mut jumps = sent(10);
        jumps.last_mut().unwrap().timestamp = 5;
        assert!(!watch(&jumps).faults.is_empty());
    }
}
