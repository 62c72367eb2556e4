//! H.265 payloads (RFC 7798): single NAL units, aggregation packets and fragmentation units. Without DONL
//! fields, as WebRTC uses it.

use super::{CodecError, Detail, Meta};

const FIRST_IRAP: u8 = 16;
const LAST_IRAP: u8 = 23;
const FIRST_NON_VCL: u8 = 32;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const DELIMITER: u8 = 35;
const PREFIX_SEI: u8 = 39;
const AGGREGATION: u8 = 48;
const FRAGMENTATION: u8 = 49;

/// What lies in a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Begins a slice of a picture that a decoder can start from (IRAP).
    pub random_access: bool,
    pub vps: bool,
    pub sps: bool,
    pub pps: bool,
    /// Begins a picture: its first slice, or what comes before it.
    pub starts_picture: bool,
    /// Only slices that no picture of the same temporal layer refers to.
    pub non_reference: bool,
    /// Allows switching up to its temporal layer (TSA and STSA).
    pub temporal_switch: bool,
    /// Layer of a scalable stream, 0 in WebRTC.
    pub layer: u8,
    pub temporal: u8,
}

impl Units {
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<Self, CodecError> {
        if payload.is_empty() {
            return Err(CodecError::Empty);
        }
        let (&header, rest) = payload
            .split_first_chunk::<2>()
            .ok_or(CodecError::Truncated)?;
        let (kind, layer, temporal) = split_header(header)?;
        let mut units = Self {
            layer,
            temporal,
            ..Self::default()
        };
        match kind {
            AGGREGATION => {
                let mut rest = rest;
                while !rest.is_empty() {
                    let (len, after) = rest.split_first_chunk().ok_or(CodecError::Truncated)?;
                    let len = usize::from(u16::from_be_bytes(*len));
                    let (unit, after) = after.split_at_checked(len).ok_or(CodecError::Truncated)?;
                    let (&header, body) =
                        unit.split_first_chunk::<2>().ok_or(CodecError::Malformed)?;
                    units.add(split_header(header)?.0, body);
                    rest = after;
                }
            }
            FRAGMENTATION => {
                let (&fragment, body) = rest.split_first().ok_or(CodecError::Truncated)?;
                let kind = fragment & 0x3F;
                if fragment & 0x80 != 0 {
                    units.add(kind, body);
                } else {
                    units.note_kind(kind);
                }
            }
            kind => units.add(kind, rest),
        }
        Ok(units)
    }

    fn add(&mut self, kind: u8, body: &[u8]) {
        // `first_slice_segment_in_pic_flag` is the first bit of a slice.
        let first_slice = body.first().is_some_and(|byte| byte & 0x80 != 0);
        match kind {
            FIRST_IRAP..=LAST_IRAP => {
                self.random_access = true;
                self.starts_picture |= first_slice;
            }
            0..FIRST_NON_VCL => self.starts_picture |= first_slice,
            VPS => self.vps = true,
            SPS => self.sps = true,
            PPS => self.pps = true,
            _ => {}
        }
        self.starts_picture |= matches!(kind, VPS..=DELIMITER | PREFIX_SEI);
        self.note_kind(kind);
    }

    fn note_kind(&mut self, kind: u8) {
        // Even numbers below 16 are the sub-layer non-reference pictures; 2 to 5 are TSA and STSA.
        self.non_reference = kind < FIRST_IRAP && kind.is_multiple_of(2);
        self.temporal_switch |= (2..=5).contains(&kind);
    }

    pub(super) fn meta(self, marker: bool) -> Meta {
        let keyframe = self.random_access || self.vps || self.sps;
        Meta {
            keyframe,
            start_of_frame: self.starts_picture,
            end_of_frame: marker,
            marker,
            temporal: self.temporal,
            spatial: self.layer,
            temporal_switch: keyframe || self.temporal_switch || self.temporal == 0,
            // Higher temporal layers may still refer to it, so it is not safe to say.
            discardable: false,
            resolution: None,
            frame_number: None,
            detail: Detail::H265(self),
        }
    }
}

/// Type, layer and temporal id. The latter is sent plus one and cannot be 0.
fn split_header(header: [u8; 2]) -> Result<(u8, u8, u8), CodecError> {
    let word = u16::from_be_bytes(header);
    let temporal = (word as u8 & 7)
        .checked_sub(1)
        .ok_or(CodecError::Malformed)?;
    Ok(((word >> 9 & 0x3F) as u8, (word >> 3 & 0x3F) as u8, temporal))
}

#[cfg(test)]
mod tests {
    use super::super::CodecKind;
    use super::*;

    fn parse(payload: &[u8]) -> Meta {
        Meta::parse(CodecKind::H265, payload, true).unwrap()
    }

    #[test]
    fn random_access_and_parameter_sets_are_key() {
        // IDR_W_RADL (19), CRA (21), VPS, SPS; PPS and TRAIL_R (1) are not.
        for (kind, key) in [
            (19, true),
            (21, true),
            (32, true),
            (33, true),
            (34, false),
            (1, false),
        ] {
            assert_eq!(parse(&[kind << 1, 1, 0x80]).keyframe, key, "{kind}");
        }
        assert!(
            parse(&[19 << 1, 1, 0x80]).start_of_frame && !parse(&[19 << 1, 1, 0x00]).start_of_frame
        );
    }

    #[test]
    fn layers_come_from_the_header() {
        // TSA_R (3) of temporal layer 2.
        let meta = parse(&[3 << 1, 3, 0x80]);
        assert_eq!(
            (meta.temporal, meta.spatial, meta.temporal_switch),
            (2, 0, true)
        );
        assert!(!parse(&[1 << 1, 3, 0x80]).temporal_switch);
        assert_eq!(Units::parse(&[2, 0, 0x80]), Err(CodecError::Malformed));
    }

    #[test]
    fn aggregates_are_looked_into() {
        let meta = parse(&[
            48 << 1,
            1,
            0,
            3,
            32 << 1,
            1,
            0,
            0,
            3,
            33 << 1,
            1,
            0,
            0,
            3,
            19 << 1,
            1,
            0x80,
        ]);
        let Detail::H265(units) = meta.detail else {
            panic!()
        };
        assert!(units.vps && units.sps && units.random_access && meta.keyframe);
        for malformed in [
            &[48 << 1, 1, 0][..],
            &[48 << 1, 1, 0, 9, 2, 1],
            &[48 << 1, 1, 0, 1, 2],
            &[2],
        ] {
            assert!(Units::parse(malformed).is_err());
        }
    }

    #[test]
    fn only_the_first_fragment_is_key() {
        assert!(parse(&[49 << 1, 1, 0x80 | 19, 0x80]).keyframe);
        assert!(
            !parse(&[49 << 1, 1, 19, 0x80]).keyframe && !parse(&[49 << 1, 1, 0x40 | 19]).keyframe
        );
        assert_eq!(Units::parse(&[49 << 1, 1]), Err(CodecError::Truncated));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            let _ = Meta::parse(CodecKind::H265, &bytes, false);
        }
    }
}
