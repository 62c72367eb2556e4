//! H.264 payloads (RFC 6184): single NAL units, STAP-A and FU-A.

use super::bits::BitReader;
use super::{CodecError, Detail, Meta, Resolution};

const SLICE: u8 = 1;
const IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// What lies in a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Begins a slice of an IDR picture.
    pub idr: bool,
    /// Holds a sequence parameter set.
    pub sps: bool,
    /// Holds a picture parameter set.
    pub pps: bool,
    /// Begins a picture: its first slice, or what comes before it.
    pub starts_picture: bool,
    /// Only slices that no other picture refers to.
    pub non_reference: bool,
    /// From the sequence parameter set.
    pub resolution: Option<Resolution>,
}

impl Units {
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<Self, CodecError> {
        let mut units = Self::default();
        let (&first, rest) = payload.split_first().ok_or(CodecError::Empty)?;
        match first & 0x1F {
            0 => return Err(CodecError::Malformed),
            STAP_A => {
                let mut rest = rest;
                while !rest.is_empty() {
                    let (len, after) = rest.split_first_chunk().ok_or(CodecError::Truncated)?;
                    let len = usize::from(u16::from_be_bytes(*len));
                    let (unit, after) = after.split_at_checked(len).ok_or(CodecError::Truncated)?;
                    let (&header, body) = unit.split_first().ok_or(CodecError::Malformed)?;
                    units.add(header & 0x1F, body);
                    rest = after;
                }
            }
            FU_A => {
                let (&fragment, body) = rest.split_first().ok_or(CodecError::Truncated)?;
                if fragment & 0x80 != 0 {
                    units.add(fragment & 0x1F, body);
                }
                units.non_reference = first & 0x60 == 0;
            }
            kind => {
                units.add(kind, rest);
                units.non_reference = kind == SLICE && first & 0x60 == 0;
            }
        }
        Ok(units)
    }

    fn add(&mut self, kind: u8, body: &[u8]) {
        // `first_mb_in_slice` is 0 exactly when its Exp-Golomb code is a single set bit.
        let first_slice = body.first().is_some_and(|byte| byte & 0x80 != 0);
        match kind {
            SLICE => self.starts_picture |= first_slice,
            IDR => {
                self.idr = true;
                self.starts_picture |= first_slice;
            }
            SPS => {
                self.sps = true;
                self.starts_picture = true;
                self.resolution = resolution(body).ok().flatten();
            }
            PPS => {
                self.pps = true;
                self.starts_picture = true;
            }
            SEI | DELIMITER => self.starts_picture = true,
            _ => {}
        }
    }

    pub(super) fn meta(self, marker: bool) -> Meta {
        Meta {
            keyframe: self.sps || self.idr,
            start_of_frame: self.starts_picture,
            end_of_frame: marker,
            marker,
            temporal: 0,
            spatial: 0,
            temporal_switch: true,
            discardable: self.non_reference,
            resolution: self.resolution,
            frame_number: None,
            detail: Detail::H264(self),
        }
    }
}

/// Longest sequence parameter set that is looked into.
const MAX_SPS_LEN: usize = 128;

/// Size of the picture from a sequence parameter set without its header byte (ITU-T H.264 7.3.2.1.1).
fn resolution(sps: &[u8]) -> Result<Option<Resolution>, CodecError> {
    let mut raw = [0; MAX_SPS_LEN];
    let mut len = 0;
    let mut zeros = 0;
    for &byte in sps {
        // 3 after two zeros is there to prevent a start code.
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        let Some(slot) = raw.get_mut(len) else { break };
        *slot = byte;
        len += 1;
    }
    let mut reader = BitReader::new(raw.get(..len).unwrap_or_default());
    let profile = reader.bits(8)?;
    reader.bits(16)?;
    reader.exp_golomb()?;
    let mut chroma_format = 1;
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        chroma_format = reader.exp_golomb()?;
        if chroma_format == 3 {
            reader.bit()?;
        }
        reader.exp_golomb()?;
        reader.exp_golomb()?;
        reader.bit()?;
        if reader.bit()? {
            for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                if reader.bit()? {
                    skip_scaling_list(&mut reader, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    reader.exp_golomb()?;
    match reader.exp_golomb()? {
        0 => {
            reader.exp_golomb()?;
        }
        1 => {
            reader.bit()?;
            reader.signed_exp_golomb()?;
            reader.signed_exp_golomb()?;
            for _ in 0..reader.exp_golomb()?.min(255) {
                reader.signed_exp_golomb()?;
            }
        }
        _ => {}
    }
    reader.exp_golomb()?;
    reader.bit()?;
    let width = u64::from(reader.exp_golomb()?) + 1;
    let map_height = u64::from(reader.exp_golomb()?) + 1;
    let frame_only = reader.bit()?;
    if !frame_only {
        reader.bit()?;
    }
    reader.bit()?;
    let fields = if frame_only { 1 } else { 2 };
    let (mut width, mut height) = (width * 16, map_height * 16 * fields);
    if reader.bit()? {
        let unit_x = if matches!(chroma_format, 1 | 2) { 2 } else { 1 };
        let unit_y = fields * if chroma_format == 1 { 2 } else { 1 };
        let mut crop = || reader.exp_golomb().map(u64::from);
        let (left, right, top, bottom) = (crop()?, crop()?, crop()?, crop()?);
        width = width.saturating_sub(unit_x * (left + right));
        height = height.saturating_sub(unit_y * (top + bottom));
    }
    let (Ok(width), Ok(height)) = (u16::try_from(width), u16::try_from(height)) else {
        return Ok(None);
    };
    Ok((width > 0 && height > 0).then_some(Resolution { width, height }))
}

fn skip_scaling_list(reader: &mut BitReader<'_>, size: u32) -> Result<(), CodecError> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = (last.wrapping_add(reader.signed_exp_golomb()?)).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::CodecKind;
    use super::*;

    /// Parameter sets of 640×480 constrained baseline and of 1920×1080 high (cropped from 1088).
    const SPS_640: &[u8] = &[
        0x67, 0x42, 0xC0, 0x1E, 0xD9, 0x00, 0xA0, 0x3D, 0xA1, 0x00, 0x00, 0x03, 0x00,
    ];
    const SPS_1080: &[u8] = &[
        0x67, 0x64, 0x00, 0x28, 0xAC, 0xD9, 0x40, 0x78, 0x02, 0x27, 0xE5, 0xC0, 0x44, 0x00, 0x00,
        0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xF0, 0x3C, 0x60, 0xC6, 0x58,
    ];

    fn parse(payload: &[u8]) -> Meta {
        Meta::parse(CodecKind::H264, payload, true).unwrap()
    }

    #[test]
    fn parameter_sets_and_idr_slices_are_key() {
        assert!(parse(SPS_640).keyframe);
        assert_eq!(
            parse(SPS_640).resolution,
            Some(Resolution {
                width: 640,
                height: 480
            })
        );
        assert_eq!(
            parse(SPS_1080).resolution,
            Some(Resolution {
                width: 1_920,
                height: 1_080
            })
        );
        assert!(parse(&[0x65, 0x88]).keyframe && parse(&[0x65, 0x88]).start_of_frame);
        assert!(!parse(&[0x65, 0x40]).start_of_frame);
        assert!(!parse(&[0x68, 0xCE]).keyframe && !parse(&[0x41, 0x9A]).keyframe);
        assert!(parse(&[0x01, 0x9A]).discardable && !parse(&[0x41, 0x9A]).discardable);
    }

    #[test]
    fn aggregates_are_looked_into() {
        let mut stap = vec![0x78, 0, SPS_640.len() as u8];
        stap.extend_from_slice(SPS_640);
        stap.extend_from_slice(&[0, 2, 0x68, 0xCE, 0, 2, 0x65, 0x88]);
        let meta = parse(&stap);
        let Detail::H264(units) = meta.detail else {
            panic!()
        };
        assert!(units.sps && units.pps && units.idr && meta.keyframe);
        assert_eq!(
            meta.resolution,
            Some(Resolution {
                width: 640,
                height: 480
            })
        );
        for malformed in [&[0x78, 0][..], &[0x78, 0, 5, 0x65], &[0x78, 0, 0]] {
            assert!(Units::parse(malformed).is_err());
        }
    }

    #[test]
    fn only_the_first_fragment_of_an_idr_slice_is_key() {
        assert!(parse(&[0x7C, 0x85, 0x88]).keyframe);
        assert!(!parse(&[0x7C, 0x05, 0x88]).keyframe && !parse(&[0x7C, 0x45, 0x88]).keyframe);
        assert!(!parse(&[0x7C, 0x81, 0x9A]).keyframe && parse(&[0x7C, 0x81, 0x9A]).start_of_frame);
        assert_eq!(Units::parse(&[0x7C]), Err(CodecError::Truncated));
        assert_eq!(Units::parse(&[]), Err(CodecError::Empty));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>, sps: Vec<u8>) {
            let _ = Meta::parse(CodecKind::H264, &bytes, false);
            let _ = resolution(&sps);
        }
    }
}
