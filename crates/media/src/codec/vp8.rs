//! VP8 payload descriptor (RFC 7741) and its rewriting.

use super::{CodecError, Detail, Meta, Resolution};

/// Bytes that [`Descriptor::rewrite`] appends at most before the rest of the payload.
pub const MAX_DESCRIPTOR_LEN: usize = 6;

/// The parsed payload descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Bytes of the descriptor in the payload.
    pub len: u8,
    pub non_reference: bool,
    /// Start of a partition (S bit).
    pub partition_start: bool,
    pub partition: u8,
    /// 7 or 15 bits, see `picture_id_bits`.
    pub picture_id: Option<u16>,
    /// Width on the wire: 0, 7 or 15.
    pub picture_id_bits: u8,
    pub tl0_picture_index: Option<u8>,
    /// Temporal layer, 0..=3, and the layer sync (Y) bit.
    pub temporal: Option<(u8, bool)>,
    /// 5 bits.
    pub key_index: Option<u8>,
}

/// The values that replace those of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// 15 bits; written wide whatever width the source has.
    pub picture_id: u16,
    pub tl0_picture_index: u8,
    /// 5 bits.
    pub key_index: u8,
}

impl Descriptor {
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<Self, CodecError> {
        let mut at = 0;
        let mut next = || {
            let byte = payload.get(at).copied().ok_or(CodecError::Truncated);
            at += 1;
            byte
        };
        let first = next()?;
        let mut descriptor = Self {
            len: 1,
            non_reference: first & 0x20 != 0,
            partition_start: first & 0x10 != 0,
            partition: first & 0x07,
            picture_id: None,
            picture_id_bits: 0,
            tl0_picture_index: None,
            temporal: None,
            key_index: None,
        };
        if first & 0x80 != 0 {
            let present = next()?;
            if present & 0x80 != 0 {
                let high = next()?;
                if high & 0x80 != 0 {
                    descriptor.picture_id = Some(u16::from(high & 0x7F) << 8 | u16::from(next()?));
                    descriptor.picture_id_bits = 15;
                } else {
                    descriptor.picture_id = Some(u16::from(high));
                    descriptor.picture_id_bits = 7;
                }
            }
            if present & 0x40 != 0 {
                descriptor.tl0_picture_index = Some(next()?);
            }
            if present & 0x30 != 0 {
                let byte = next()?;
                if present & 0x20 != 0 {
                    descriptor.temporal = Some((byte >> 6, byte & 0x20 != 0));
                }
                if present & 0x10 != 0 {
                    descriptor.key_index = Some(byte & 0x1F);
                }
            }
        }
        // A descriptor with nothing after it carries no picture.
        if at >= payload.len() {
            return Err(CodecError::Truncated);
        }
        descriptor.len = at as u8;
        Ok(descriptor)
    }

    /// First packet of a frame.
    pub fn start_of_frame(&self) -> bool {
        self.partition_start && self.partition == 0
    }

    pub(super) fn meta(self, payload: &[u8], marker: bool) -> Meta {
        let frame = payload.get(usize::from(self.len)..).unwrap_or_default();
        // The P bit of the frame tag is clear on key frames (RFC 6386 section 9.1).
        let keyframe = self.start_of_frame() && frame.first().is_some_and(|tag| tag & 1 == 0);
        let (temporal, sync) = self.temporal.unwrap_or((0, false));
        Meta {
            keyframe,
            start_of_frame: self.start_of_frame(),
            end_of_frame: marker,
            marker,
            temporal,
            spatial: 0,
            temporal_switch: keyframe || sync || temporal == 0,
            discardable: self.non_reference,
            resolution: if keyframe { resolution(frame) } else { None },
            frame_number: None,
            detail: Detail::Vp8(self),
        }
    }

    /// Appends the payload with the fields that the source has replaced, and returns the length of the
    /// new descriptor. Fields that the source lacks stay away. `payload` is the one that was parsed.
    pub fn rewrite(&self, out: &mut Vec<u8>, payload: &[u8], new: Rewrite) -> usize {
        let start = out.len();
        let first = payload.first().copied().unwrap_or_default();
        out.push(first);
        if first & 0x80 != 0 {
            out.push(payload.get(1).copied().unwrap_or_default());
            if self.picture_id.is_some() {
                out.extend_from_slice(&(new.picture_id | 0x8000).to_be_bytes());
            }
            if self.tl0_picture_index.is_some() {
                out.push(new.tl0_picture_index);
            }
            if self.temporal.is_some() || self.key_index.is_some() {
                let (temporal, sync) = self.temporal.unwrap_or_default();
                let key_index = if self.key_index.is_some() {
                    new.key_index & 0x1F
                } else {
                    0
                };
                out.push(temporal << 6 | u8::from(sync) << 5 | key_index);
            }
        }
        let len = out.len() - start;
        out.extend_from_slice(payload.get(usize::from(self.len)..).unwrap_or_default());
        len
    }
}

/// Of a key frame: start code and 14 bits each of width and height (RFC 6386 section 9.1).
fn resolution(frame: &[u8]) -> Option<Resolution> {
    let &[_, _, _, 0x9D, 0x01, 0x2A, w0, w1, h0, h1] = frame.first_chunk()? else {
        return None;
    };
    Some(Resolution {
        width: u16::from_le_bytes([w0, w1]) & 0x3FFF,
        height: u16::from_le_bytes([h0, h1]) & 0x3FFF,
    })
}

#[cfg(test)]
#[expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]
mod tests {
    use super::super::CodecKind;
    use super::*;

    const KEY_FRAME: [u8; 10] = [0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0x68, 0x41];

    fn payload(descriptor: &[u8], frame: &[u8]) -> Vec<u8> {
        [descriptor, frame].concat()
    }

    fn meta(payload: &[u8]) -> (Meta, Descriptor) {
        let meta = Meta::parse(CodecKind::Vp8, payload, false).unwrap();
        let Detail::Vp8(descriptor) = meta.detail else {
            panic!()
        };
        (meta, descriptor)
    }

    #[test]
    fn full_descriptor_and_key_frame() {
        let bytes = payload(&[0x90, 0xF0, 0x92, 0x34, 0x56, 0b10_1_00111], &KEY_FRAME);
        let (meta, descriptor) = meta(&bytes);
        assert!(meta.keyframe && meta.start_of_frame && meta.temporal_switch && !meta.discardable);
        assert_eq!(meta.temporal, 2);
        // 640 × 360: the upper bits are the scale.
        assert_eq!(
            meta.resolution,
            Some(Resolution {
                width: 640,
                height: 360
            })
        );
        assert_eq!(
            (descriptor.picture_id, descriptor.picture_id_bits),
            (Some(0x1234), 15)
        );
        assert_eq!(
            (descriptor.tl0_picture_index, descriptor.key_index),
            (Some(0x56), Some(7))
        );
        assert_eq!((descriptor.temporal, descriptor.len), (Some((2, true)), 6));
    }

    #[test]
    fn continuation_and_delta_frames_are_no_key_frames() {
        for (first, tag) in [(0x00, 0x10), (0x11, 0x10), (0x10, 0x11)] {
            assert!(!meta(&payload(&[first], &[tag, 0, 0])).0.keyframe);
        }
        assert!(meta(&payload(&[0x30], &[1])).0.discardable);
    }

    #[test]
    fn truncated_descriptors_are_refused() {
        let bytes = payload(&[0x90, 0xF0, 0x92, 0x34, 0x56, 0xA7], &[]);
        assert_eq!(
            Meta::parse(CodecKind::Vp8, &[], false),
            Err(CodecError::Empty)
        );
        for len in 1..=bytes.len() {
            assert_eq!(
                Descriptor::parse(&bytes[..len]),
                Err(CodecError::Truncated),
                "{len}"
            );
        }
    }

    const NEW: Rewrite = Rewrite {
        picture_id: 0x7ABC,
        tl0_picture_index: 200,
        key_index: 9,
    };

    #[test]
    fn seven_bit_picture_id_is_widened() {
        let bytes = payload(&[0x90, 0xE0, 0x7F, 0x01, 0x40], b"frame");
        let (_, descriptor) = meta(&bytes);
        assert_eq!(descriptor.picture_id_bits, 7);
        let mut out = Vec::new();
        assert_eq!(descriptor.rewrite(&mut out, &bytes, NEW), 6);
        let (_, rewritten) = meta(&out);
        assert_eq!(
            (rewritten.picture_id, rewritten.picture_id_bits),
            (Some(0x7ABC), 15)
        );
        assert_eq!(
            (rewritten.tl0_picture_index, rewritten.key_index),
            (Some(200), None)
        );
        assert_eq!(rewritten.temporal, Some((1, false)));
        assert_eq!(&out[6..], b"frame");
    }

    #[test]
    fn absent_fields_stay_absent() {
        for descriptor in [
            &[0x10][..],
            &[0x80, 0x00],
            &[0x80, 0x10, 0x03],
            &[0x80, 0x20, 0x60],
        ] {
            let bytes = payload(descriptor, b"frame");
            let (_, source) = meta(&bytes);
            let mut out = Vec::new();
            assert_eq!(source.rewrite(&mut out, &bytes, NEW), descriptor.len());
            let (_, rewritten) = meta(&out);
            let want = Descriptor {
                key_index: source.key_index.map(|_| 9),
                ..source
            };
            assert_eq!(rewritten, want);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>, marker: bool) {
            if let Ok(descriptor) = Descriptor::parse(&bytes) {
                let _ = descriptor.meta(&bytes, marker);
                let mut out = Vec::new();
                let len = descriptor.rewrite(&mut out, &bytes, NEW);
                proptest::prop_assert!(len <= MAX_DESCRIPTOR_LEN);
                proptest::prop_assert_eq!(&out[len..], &bytes[usize::from(descriptor.len)..]);
            }
        }
    }
}
