//! Frames into payloads.

use bytes::Bytes;

use super::{av1, h264};
use crate::codec::CodecKind;

const PICTURE_IDS: u16 = 0x7FFF;

/// Cuts the frames of one stream into payloads of at most `size` bytes.
#[derive(Debug)]
pub struct Packetizer {
    codec: CodecKind,
    size: usize,
    /// 15 bits, counts frames of VP8 and VP9.
    picture_id: u16,
}

impl Packetizer {
    /// `picture_id` is where its frames are counted from; random.
    #[must_use]
    pub fn new(codec: CodecKind, size: usize, picture_id: u16) -> Self {
        Self {
            codec,
            size: size.max(100),
            picture_id: picture_id & PICTURE_IDS,
        }
    }

    /// The payloads of a frame, in order; the last gets the marker bit. None for a frame that holds nothing,
    /// or is not of the codec.
    pub fn packetize(&mut self, frame: &[u8], key: bool) -> Vec<Bytes> {
        if frame.is_empty() {
            return Vec::new();
        }
        match self.codec {
            CodecKind::Vp8 => {
                let id = self.next_picture();
                // X and S bits (RFC 7741 section 4.2), then the I bit.
                self.cut(frame, |first, _| {
                    [if first { 0x90 } else { 0x80 }, 0x80, id[0], id[1]].to_vec()
                })
            }
            CodecKind::Vp9 => {
                let id = self.next_picture();
                // I bit, P on pictures that refer to others, B and E (RFC 9628 section 4.2).
                let flags = 0x80 | if key { 0 } else { 0x40 };
                self.cut(frame, |first, last| {
                    let bounds = u8::from(first) << 3 | u8::from(last) << 2;
                    [flags | bounds, id[0], id[1]].to_vec()
                })
            }
            CodecKind::H264 => h264::cut(frame, self.size),
            CodecKind::Av1 => av1::cut(frame, self.size, key),
            _ => Vec::new(),
        }
    }

    fn next_picture(&mut self) -> [u8; 2] {
        self.picture_id = (self.picture_id + 1) & PICTURE_IDS;
        (self.picture_id | 0x8000).to_be_bytes()
    }

    /// Pieces of about one size, each behind its descriptor.
    fn cut(&self, frame: &[u8], descriptor: impl Fn(bool, bool) -> Vec<u8>) -> Vec<Bytes> {
        let room = self.size - descriptor(true, true).len();
        let count = frame.len().div_ceil(room);
        let piece = frame.len().div_ceil(count);
        let pieces = frame.chunks(piece).enumerate();
        pieces
            .map(|(index, chunk)| {
                let mut payload = descriptor(index == 0, (index + 1) * piece >= frame.len());
                payload.extend_from_slice(chunk);
                payload.into()
            })
            .collect()
    }
}
