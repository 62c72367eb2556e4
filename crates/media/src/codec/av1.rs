//! AV1 payloads: the aggregation header and the first OBU (RTP Payload Format for AV1, section 4.4).

use super::{CodecError, Detail, Meta};

const SEQUENCE_HEADER: u8 = 1;

/// What lies in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregation {
    /// The first OBU began in an earlier packet (Z bit).
    pub continues: bool,
    /// The last OBU goes on in the next packet (Y bit).
    pub continued: bool,
    /// First packet of a coded video sequence (N bit): a decoder can start here.
    pub new_sequence: bool,
    /// The first OBU is a sequence header.
    pub sequence_header: bool,
    /// From the extension header of the first OBU, when it begins here.
    pub temporal: u8,
    pub spatial: u8,
}

impl Aggregation {
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<Self, CodecError> {
        let (&first, rest) = payload.split_first().ok_or(CodecError::Empty)?;
        let mut header = Self {
            continues: first & 0x80 != 0,
            continued: first & 0x40 != 0,
            new_sequence: first & 0x08 != 0,
            sequence_header: false,
            temporal: 0,
            spatial: 0,
        };
        if header.continues && header.new_sequence {
            return Err(CodecError::Malformed);
        }
        if header.continues {
            return if rest.is_empty() {
                Err(CodecError::Truncated)
            } else {
                Ok(header)
            };
        }
        // With W = 1 the only element has no length in front of it.
        let element = if first >> 4 & 3 == 1 {
            rest
        } else {
            first_element(rest)?
        };
        let (&obu, after) = element.split_first().ok_or(CodecError::Truncated)?;
        header.sequence_header = obu >> 3 & 0x0F == SEQUENCE_HEADER;
        if obu & 0x04 != 0 {
            let &extension = after.first().ok_or(CodecError::Truncated)?;
            header.temporal = extension >> 5;
            header.spatial = extension >> 3 & 3;
        }
        Ok(header)
    }

    pub(super) fn meta(self, marker: bool) -> Meta {
        let keyframe = self.new_sequence || self.sequence_header;
        Meta {
            keyframe,
            start_of_frame: !self.continues,
            end_of_frame: marker,
            marker,
            temporal: self.temporal,
            spatial: self.spatial,
            temporal_switch: keyframe || self.temporal == 0,
            discardable: false,
            resolution: None,
            frame_number: None,
            detail: Detail::Av1(self),
        }
    }
}

/// The OBU element after its length in LEB128. It may end beyond the packet only if it is cut, which the
/// format does not allow.
fn first_element(bytes: &[u8]) -> Result<&[u8], CodecError> {
    let mut len = 0usize;
    for (at, &byte) in bytes.iter().enumerate().take(4) {
        len |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1..at + 1 + len).ok_or(CodecError::Truncated);
        }
    }
    Err(CodecError::Malformed)
}

#[cfg(test)]
#[expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]
mod tests {
    use super::super::CodecKind;
    use super::*;

    fn parse(payload: &[u8]) -> Meta {
        Meta::parse(CodecKind::Av1, payload, true).unwrap()
    }

    #[test]
    fn new_sequence_is_key() {
        let meta = parse(&[0x18, 0x0A, 0x0B]);
        let Detail::Av1(header) = meta.detail else {
            panic!()
        };
        assert!(meta.keyframe && header.new_sequence && header.sequence_header);
        // A sequence header without the N bit, behind a length.
        assert!(parse(&[0x20, 0x02, 0x0A, 0x0B, 0x32]).keyframe);
        assert!(!parse(&[0x10, 0x32, 0x00]).keyframe);
    }

    #[test]
    fn layers_come_from_the_extension_header() {
        let meta = parse(&[0x10, 0x36, 0b010_01_000, 0]);
        assert_eq!((meta.temporal, meta.spatial), (2, 1));
    }

    #[test]
    fn continuations_tell_nothing_of_the_frame() {
        let meta = parse(&[0x90, 0x0A]);
        assert!(!meta.keyframe && !meta.start_of_frame);
        assert_eq!(Aggregation::parse(&[0x98, 1]), Err(CodecError::Malformed));
    }

    #[test]
    fn lengths_must_fit() {
        for malformed in [
            &[][..],
            &[0x10],
            &[0x80],
            &[0x10, 0x36],
            &[0x20, 5, 1],
            &[0x20, 0],
            &[0x20, 0xFF],
        ] {
            assert!(Aggregation::parse(malformed).is_err(), "{malformed:?}");
        }
        assert_eq!(
            Aggregation::parse(&[0x20, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
            Err(CodecError::Malformed)
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            let _ = Meta::parse(CodecKind::Av1, &bytes, false);
        }
    }
}
