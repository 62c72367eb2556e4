//! Encoded video frames to RTP payloads and back. Where [`codec`](crate::codec) reads what forwarding needs,
//! this takes payloads apart and puts them together, for ends that encode and decode.
//!
//! The form of a frame is the one that FFmpeg's codecs take and give: VP8 and VP9 as they are, H.264 as an
//! Annex B byte stream, AV1 as OBUs with sizes.

mod assembler;
mod av1;
mod h264;
mod packetizer;

pub use assembler::{Assembler, Part};
pub use packetizer::Packetizer;

use crate::codec::{CodecError, CodecKind, vp8, vp9};

/// A whole encoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub codec: CodecKind,
    /// RTP time, 90 kHz.
    pub timestamp: u32,
    /// Decoding can begin here.
    pub key: bool,
    pub data: Vec<u8>,
}

/// Whether frames of a codec can be packetised and assembled.
#[must_use]
pub fn is_supported(codec: CodecKind) -> bool {
    matches!(
        codec,
        CodecKind::Vp8 | CodecKind::Vp9 | CodecKind::H264 | CodecKind::Av1
    )
}

/// An access unit as a receiver puts it together: start codes of four bytes, no delimiters.
pub(crate) fn normalised_h264(frame: &[u8]) -> Vec<u8> {
    h264::normalised(frame)
}

/// Whether a payload is certainly the first of a frame that needs none before it.
fn begins_sequence(codec: CodecKind, payload: &[u8]) -> bool {
    match codec {
        CodecKind::H264 => h264::begins_sequence(payload),
        CodecKind::Av1 => av1::begins_sequence(payload),
        _ => false,
    }
}

/// Puts the payloads of one frame together.
fn unite<'a>(
    codec: CodecKind,
    payloads: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, CodecError> {
    match codec {
        CodecKind::H264 => h264::unite(payloads),
        CodecKind::Av1 => av1::unite(payloads),
        _ => {
            let mut frame = Vec::new();
            for payload in payloads {
                let descriptor = match codec {
                    CodecKind::Vp8 => usize::from(vp8::Descriptor::parse(payload)?.len),
                    CodecKind::Vp9 => usize::from(vp9::Descriptor::parse(payload)?.len),
                    _ => 0,
                };
                frame.extend_from_slice(payload.get(descriptor..).unwrap_or_default());
            }
            Ok(frame)
        }
    }
}

#[cfg(test)]
mod tests;
