//! VP9 payload descriptor (RFC 9628), flexible and non-flexible mode.

use super::{CodecError, Detail, Meta, Resolution};

/// The parsed payload descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Bytes of the descriptor in the payload.
    pub len: u16,
    /// The picture refers to earlier pictures (P bit).
    pub inter_picture: bool,
    pub flexible: bool,
    /// First packet of a spatial layer's frame (B bit).
    pub start_of_frame: bool,
    /// Last packet of a spatial layer's frame (E bit).
    pub end_of_frame: bool,
    /// No higher spatial layer of this picture is needed for the next ones (Z bit).
    pub not_reference_for_upper: bool,
    pub picture_id: Option<u16>,
    /// Width on the wire: 0, 7 or 15.
    pub picture_id_bits: u8,
    pub layers: Option<Layers>,
    /// Non-flexible mode with layers only.
    pub tl0_picture_index: Option<u8>,
    /// Number of spatial layers from the scalability structure, when this packet has one.
    pub spatial_layers: Option<u8>,
    /// Size of the highest spatial layer from the scalability structure.
    pub resolution: Option<Resolution>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    pub temporal: u8,
    /// From this frame on the receiver may switch up to its temporal layer (U bit).
    pub switching_up: bool,
    pub spatial: u8,
    /// Depends on the layer below of the same picture (D bit).
    pub inter_layer: bool,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn next(&mut self) -> Result<u8, CodecError> {
        let byte = self
            .bytes
            .get(self.at)
            .copied()
            .ok_or(CodecError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn next_u16(&mut self) -> Result<u16, CodecError> {
        Ok(u16::from(self.next()?) << 8 | u16::from(self.next()?))
    }
}

impl Descriptor {
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<Self, CodecError> {
        let mut cursor = Cursor {
            bytes: payload,
            at: 0,
        };
        let first = cursor.next()?;
        let mut descriptor = Self {
            len: 0,
            inter_picture: first & 0x40 != 0,
            flexible: first & 0x10 != 0,
            start_of_frame: first & 0x08 != 0,
            end_of_frame: first & 0x04 != 0,
            not_reference_for_upper: first & 0x01 != 0,
            picture_id: None,
            picture_id_bits: 0,
            layers: None,
            tl0_picture_index: None,
            spatial_layers: None,
            resolution: None,
        };
        if first & 0x80 != 0 {
            let high = cursor.next()?;
            if high & 0x80 != 0 {
                descriptor.picture_id =
                    Some(u16::from(high & 0x7F) << 8 | u16::from(cursor.next()?));
                descriptor.picture_id_bits = 15;
            } else {
                descriptor.picture_id = Some(u16::from(high));
                descriptor.picture_id_bits = 7;
            }
        }
        if first & 0x20 != 0 {
            let byte = cursor.next()?;
            descriptor.layers = Some(Layers {
                temporal: byte >> 5,
                switching_up: byte & 0x10 != 0,
                spatial: byte >> 1 & 7,
                inter_layer: byte & 1 != 0,
            });
            if !descriptor.flexible {
                descriptor.tl0_picture_index = Some(cursor.next()?);
            }
        }
        if descriptor.flexible && descriptor.inter_picture {
            // At most three references; the last has its N bit clear.
            let mut references = 1;
            while cursor.next()? & 1 != 0 {
                references += 1;
                if references > 3 {
                    return Err(CodecError::Malformed);
                }
            }
        }
        if first & 0x02 != 0 {
            descriptor.parse_structure(&mut cursor)?;
        }
        // A descriptor with nothing after it carries no picture.
        if cursor.at >= payload.len() {
            return Err(CodecError::Truncated);
        }
        descriptor.len = cursor.at as u16;
        Ok(descriptor)
    }

    fn parse_structure(&mut self, cursor: &mut Cursor<'_>) -> Result<(), CodecError> {
        let first = cursor.next()?;
        let layers = (first >> 5) + 1;
        self.spatial_layers = Some(layers);
        if first & 0x10 != 0 {
            for _ in 0..layers {
                self.resolution = Some(Resolution {
                    width: cursor.next_u16()?,
                    height: cursor.next_u16()?,
                });
            }
        }
        if first & 0x08 != 0 {
            for _ in 0..cursor.next()? {
                let references = cursor.next()? >> 2 & 3;
                for _ in 0..references {
                    cursor.next()?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn meta(self, marker: bool) -> Meta {
        let layers = self.layers.unwrap_or(Layers {
            temporal: 0,
            switching_up: false,
            spatial: 0,
            inter_layer: false,
        });
        let key_picture = !self.inter_picture;
        Meta {
            keyframe: key_picture && self.start_of_frame && layers.spatial == 0,
            start_of_frame: self.start_of_frame,
            end_of_frame: self.end_of_frame,
            marker,
            temporal: layers.temporal,
            spatial: layers.spatial,
            temporal_switch: key_picture || layers.switching_up || layers.temporal == 0,
            discardable: false,
            resolution: self.resolution,
            frame_number: None,
            detail: Detail::Vp9(self),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]
mod tests {
    use super::super::CodecKind;
    use super::*;

    fn meta(payload: &[u8]) -> (Meta, Descriptor) {
        let meta = Meta::parse(CodecKind::Vp9, payload, false).unwrap();
        let Detail::Vp9(descriptor) = meta.detail else {
            panic!()
        };
        (meta, descriptor)
    }

    #[test]
    fn key_picture_with_structure_in_flexible_mode() {
        let bytes = [
            0b1011_1010,
            0x81,
            0x02,
            0b000_0_000_0, // picture 0x102, layer 0/0
            0b001_1_1_000,
            1,
            64,
            0,
            180,
            2,
            128,
            1,
            104, // two layers: 320×180, 640×360
            1,
            0b000_0_01_00,
            1, // one picture in the group with one reference
            b'f',
        ];
        let (meta, descriptor) = meta(&bytes);
        assert!(meta.keyframe && meta.start_of_frame && !meta.end_of_frame && meta.temporal_switch);
        assert_eq!(
            (descriptor.picture_id, descriptor.picture_id_bits),
            (Some(0x102), 15)
        );
        assert_eq!(
            (descriptor.spatial_layers, descriptor.tl0_picture_index),
            (Some(2), None)
        );
        assert_eq!(
            meta.resolution,
            Some(Resolution {
                width: 640,
                height: 360
            })
        );
        assert_eq!(usize::from(descriptor.len), bytes.len() - 1);
    }

    #[test]
    fn non_flexible_layers_have_tl0_index() {
        let (meta, descriptor) = meta(&[0b1110_0100, 0x05, 0b010_1_001_1, 0x77, b'f']);
        assert!(!meta.keyframe && meta.end_of_frame && meta.temporal_switch);
        assert_eq!((meta.temporal, meta.spatial), (2, 1));
        assert_eq!(
            (descriptor.picture_id, descriptor.picture_id_bits),
            (Some(5), 7)
        );
        assert_eq!(descriptor.tl0_picture_index, Some(0x77));
        assert!(descriptor.layers.unwrap().inter_layer);
    }

    #[test]
    fn upper_layer_of_a_key_picture_is_no_key_frame() {
        let (meta, descriptor) = meta(&[0b1010_1000, 0x05, 0b000_0_001_1, 0x77, b'f']);
        assert!(!meta.keyframe && !descriptor.inter_picture && meta.spatial == 1);
    }

    #[test]
    fn references_are_three_at_most() {
        assert_eq!(meta(&[0b0101_1000, 3, 3, 2, b'f']).1.len, 4);
        assert_eq!(
            Descriptor::parse(&[0b0101_1000, 3, 3, 3, 2, b'f']),
            Err(CodecError::Malformed)
        );
    }

    #[test]
    fn truncated_structure_is_refused() {
        let bytes = [
            0b0000_1010,
            0b001_1_1_000,
            1,
            64,
            0,
            180,
            2,
            128,
            1,
            104,
            1,
            0b000_0_01_00,
            1,
        ];
        for len in 1..=bytes.len() {
            assert_eq!(
                Descriptor::parse(&bytes[..len]),
                Err(CodecError::Truncated),
                "{len}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>, marker: bool) {
            if let Ok(meta) = Meta::parse(CodecKind::Vp9, &bytes, marker) {
                let Detail::Vp9(descriptor) = meta.detail else { unreachable!() };
                proptest::prop_assert!(usize::from(descriptor.len) < bytes.len());
            }
        }
    }
}
