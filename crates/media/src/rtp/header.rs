//! The RTP header (RFC 3550 section 5.1) and its extension block (RFC 8285).

use std::ops::Range;

/// Bytes of the fixed part of the header.
pub const FIXED_HEADER_LEN: usize = 12;

const PADDING_BIT: u8 = 0x20;
const EXTENSION_BIT: u8 = 0x10;
const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// The low four bits are the application's and mean nothing to us.
const TWO_BYTE_PROFILE: u16 = 0x1000;

/// Why a datagram is not an RTP packet that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    #[error("shorter than its header says")]
    Truncated,
    #[error("not RTP version 2")]
    Version,
    /// The padding count is zero or larger than what follows the header.
    #[error("padding count does not fit the packet")]
    Padding,
    #[error("header extensions do not fit a header")]
    ExtensionTooLong,
}

/// How the elements of the extension block are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExtensionForm {
    OneByte,
    TwoByte,
    /// No block, or one of an unknown profile.
    None,
}

/// The parsed header of a packet. Refers to the packet by offsets, so it can be kept beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    /// In units of the codec's clock.
    pub timestamp: u32,
    pub ssrc: u32,
    pub csrc_count: u8,
    pub has_padding: bool,
    /// Bytes of padding at the end of the packet, its count included. Always 0 from
    /// [`RtpHeader::parse_clear_part`].
    pub padding_len: u8,
    /// Bytes before the payload: fixed part, CSRCs and extension block.
    pub header_len: u16,
    extension_form: ExtensionForm,
    extension_start: u16,
}

impl RtpHeader {
    /// Parses a decrypted packet, padding included.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let mut header = Self::parse_clear_part(packet)?;
        if header.has_padding {
            let rest = packet.len() - usize::from(header.header_len);
            match packet.last() {
                Some(&count) if count > 0 && usize::from(count) <= rest => {
                    header.padding_len = count
                }
                _ => return Err(RtpError::Padding),
            }
        }
        Ok(header)
    }

    /// Parses what SRTP leaves in the clear. The padding count is part of what is encrypted.
    #[inline]
    pub fn parse_clear_part(packet: &[u8]) -> Result<Self, RtpError> {
        let Some(&[first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]) = packet.first_chunk()
        else {
            return Err(RtpError::Truncated);
        };
        if first >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let csrc_count = first & 0x0F;
        let mut header_len = FIXED_HEADER_LEN + 4 * usize::from(csrc_count);
        let mut extension_form = ExtensionForm::None;
        let mut extension_start = header_len;
        if first & EXTENSION_BIT != 0 {
            let block = packet.get(header_len..).ok_or(RtpError::Truncated)?;
            let Some(&[p0, p1, l0, l1]) = block.first_chunk() else {
                return Err(RtpError::Truncated);
            };
            let profile = u16::from_be_bytes([p0, p1]);
            extension_form = if profile == ONE_BYTE_PROFILE {
                ExtensionForm::OneByte
            } else if profile & 0xFFF0 == TWO_BYTE_PROFILE {
                ExtensionForm::TwoByte
            } else {
                ExtensionForm::None
            };
            extension_start = header_len + 4;
            header_len = extension_start + 4 * usize::from(u16::from_be_bytes([l0, l1]));
        }
        if packet.len() < header_len {
            return Err(RtpError::Truncated);
        }
        // A UDP datagram is below 2^16 bytes; a longer slice with such a header is refused, not cut.
        let (Ok(header_len), Ok(extension_start)) =
            (u16::try_from(header_len), u16::try_from(extension_start))
        else {
            return Err(RtpError::Truncated);
        };
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7F,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
            csrc_count,
            has_padding: first & PADDING_BIT != 0,
            padding_len: 0,
            header_len,
            extension_form,
            extension_start,
        })
    }

    /// Where the payload lies in the packet, without padding. Empty for a padding-only packet.
    #[inline]
    pub fn payload_range(&self, packet_len: usize) -> Range<usize> {
        let start = usize::from(self.header_len);
        start
            ..packet_len
                .saturating_sub(usize::from(self.padding_len))
                .max(start)
    }

    /// The payload without padding.
    #[inline]
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet
            .get(self.payload_range(packet.len()))
            .unwrap_or_default()
    }

    /// The contributing sources, in order.
    pub fn csrcs<'a>(&self, packet: &'a [u8]) -> impl Iterator<Item = u32> + use<'a> {
        let end = FIXED_HEADER_LEN + 4 * usize::from(self.csrc_count);
        let (words, _) = packet
            .get(FIXED_HEADER_LEN..end)
            .unwrap_or_default()
            .as_chunks();
        words.iter().map(|word| u32::from_be_bytes(*word))
    }

    pub fn has_extensions(&self) -> bool {
        self.extension_form != ExtensionForm::None
    }

    /// The header extension elements, in order. A malformed rest of the block ends them.
    #[inline]
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        let block = usize::from(self.extension_start)..usize::from(self.header_len);
        Extensions {
            form: self.extension_form,
            rest: packet.get(block).unwrap_or_default(),
        }
    }

    /// Where the value of an extension lies in the packet, to write it in place at release.
    pub fn extension_range(&self, packet: &[u8], id: u8) -> Option<Range<usize>> {
        let mut elements = self.extensions(packet);
        let (_, value) = elements.find(|(found, _)| *found == id)?;
        let end = usize::from(self.header_len) - elements.rest.len();
        Some(end - value.len()..end)
    }
}

/// See [`RtpHeader::extensions`].
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    form: ExtensionForm,
    rest: &'a [u8],
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            if first == 0 {
                self.rest = rest;
                continue;
            }
            let (id, len, rest) = match self.form {
                // Id 15, and id 0 with a length, end the processing (RFC 8285 section 4.2).
                ExtensionForm::OneByte if (1..15).contains(&(first >> 4)) => {
                    (first >> 4, usize::from(first & 0x0F) + 1, rest)
                }
                ExtensionForm::TwoByte => {
                    let (&len, rest) = rest.split_first()?;
                    (first, usize::from(len), rest)
                }
                _ => return None,
            };
            let (value, rest) = rest.split_at_checked(len)?;
            self.rest = rest;
            return Some((id, value));
        }
    }
}

/// The fields of a header to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderFields {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl HeaderFields {
    /// Appends the header with the extension elements in the order and with the ids given, and returns
    /// its length in bytes. Elements are one-byte when all fit (ids 1 to 14, values of 1 to 16 bytes),
    /// two-byte otherwise; an element with id 0 or more than 255 bytes is an error. At most 15 CSRCs.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        csrcs: &[u32],
        extensions: &[(u8, &[u8])],
    ) -> Result<usize, RtpError> {
        let csrcs = csrcs.get(..15).unwrap_or(csrcs);
        let start = out.len();
        let first = 0x80
            | csrcs.len() as u8
            | if extensions.is_empty() {
                0
            } else {
                EXTENSION_BIT
            };
        let second = (self.payload_type & 0x7F) | if self.marker { 0x80 } else { 0 };
        let mut fixed = [0; FIXED_HEADER_LEN];
        fixed[0] = first;
        fixed[1] = second;
        fixed[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&fixed);
        for csrc in csrcs {
            out.extend_from_slice(&csrc.to_be_bytes());
        }
        if !extensions.is_empty()
            && let Err(error) = write_extensions(out, extensions)
        {
            out.truncate(start);
            return Err(error);
        }
        Ok(out.len() - start)
    }
}

fn write_extensions(out: &mut Vec<u8>, extensions: &[(u8, &[u8])]) -> Result<(), RtpError> {
    let one_byte = extensions
        .iter()
        .all(|(id, value)| (1..=14).contains(id) && (1..=16).contains(&value.len()));
    let profile = if one_byte {
        ONE_BYTE_PROFILE
    } else {
        TWO_BYTE_PROFILE
    };
    out.extend_from_slice(&profile.to_be_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0, 0]);
    let block = out.len();
    for (id, value) in extensions {
        if one_byte {
            out.push(id << 4 | (value.len() - 1) as u8);
        } else {
            let len = u8::try_from(value.len()).map_err(|_| RtpError::ExtensionTooLong)?;
            if *id == 0 {
                return Err(RtpError::ExtensionTooLong);
            }
            out.extend_from_slice(&[*id, len]);
        }
        out.extend_from_slice(value);
    }
    let words = (out.len() - block).div_ceil(4);
    out.resize(block + 4 * words, 0);
    let words = u16::try_from(words).map_err(|_| RtpError::ExtensionTooLong)?;
    if let Some(length) = out.get_mut(length_at..block) {
        length.copy_from_slice(&words.to_be_bytes());
    }
    Ok(())
}

/// Appends `count` bytes of padding to the packet that begins at `start` and sets its P bit. Nothing is
/// done for 0.
pub fn append_padding(packets: &mut Vec<u8>, start: usize, count: u8) {
    if count == 0 {
        return;
    }
    if let Some(first) = packets.get_mut(start) {
        *first |= PADDING_BIT;
        packets.resize(packets.len() + usize::from(count) - 1, 0);
        packets.push(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: HeaderFields = HeaderFields {
        marker: true,
        payload_type: 96,
        sequence: 0xFFFE,
        timestamp: 0x1234_5678,
        ssrc: 0xDEAD_BEEF,
    };

    fn packet(extensions: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        FIELDS.write(&mut out, &[], extensions).unwrap();
        out.extend_from_slice(payload);
        out
    }

    fn elements(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let header = RtpHeader::parse(packet).unwrap();
        header
            .extensions(packet)
            .map(|(id, value)| (id, value.to_vec()))
            .collect()
    }

    #[test]
    fn written_header_reads_back() {
        let mut out = vec![0xAA];
        let len = FIELDS.write(&mut out, &[1, 2], &[]).unwrap();
        assert_eq!(len, 20);
        let header = RtpHeader::parse(&out[1..]).unwrap();
        assert!(header.marker && !header.has_padding && !header.has_extensions());
        assert_eq!((header.payload_type, header.sequence), (96, 0xFFFE));
        assert_eq!((header.timestamp, header.ssrc), (0x1234_5678, 0xDEAD_BEEF));
        assert_eq!(header.csrcs(&out[1..]).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(header.payload(&out[1..]), b"");
    }

    #[test]
    fn one_byte_extensions_keep_order_and_ids() {
        let packet = packet(&[(9, b"abc"), (1, b"x"), (14, &[7; 16])], b"payload");
        assert_eq!(&packet[12..14], [0xBE, 0xDE]);
        assert_eq!(
            elements(&packet),
            [(9, b"abc".to_vec()), (1, b"x".to_vec()), (14, vec![7; 16])]
        );
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(header.payload(&packet), b"payload");
        assert_eq!(&packet[header.extension_range(&packet, 1).unwrap()], b"x");
        assert_eq!(header.extension_range(&packet, 2), None);
    }

    #[test]
    fn two_byte_extensions_reach_id_255_and_empty_values() {
        let long = [5; 255];
        let packet = packet(&[(255, &long), (3, b""), (15, b"q")], b"p");
        assert_eq!(&packet[12..14], [0x10, 0x00]);
        assert_eq!(
            elements(&packet),
            [(255, long.to_vec()), (3, vec![]), (15, b"q".to_vec())]
        );
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(&packet[header.extension_range(&packet, 15).unwrap()], b"q");
    }

    #[test]
    fn extension_that_cannot_be_written_leaves_the_buffer_as_it_was() {
        let mut out = vec![1];
        assert_eq!(
            FIELDS.write(&mut out, &[], &[(1, &[0; 256])]),
            Err(RtpError::ExtensionTooLong)
        );
        assert_eq!(
            FIELDS.write(&mut out, &[], &[(0, &[0])]),
            Err(RtpError::ExtensionTooLong)
        );
        assert_eq!(out, [1]);
    }

    #[test]
    fn malformed_elements_end_the_list() {
        let mut bytes = packet(&[(1, b"ab"), (2, b"cd")], b"");
        // The second element claims 16 bytes.
        bytes[19] = 0x2F;
        assert_eq!(elements(&bytes), [(1, b"ab".to_vec())]);
        for stop in [0xF0, 0x03] {
            bytes[19] = stop;
            assert_eq!(elements(&bytes), [(1, b"ab".to_vec())]);
        }
        // A profile nobody knows has no elements, and its block is still skipped.
        bytes[12..14].copy_from_slice(&[0x12, 0x34]);
        assert_eq!(elements(&bytes), []);
    }

    #[test]
    fn blocks_longer_than_the_packet_are_refused() {
        let bytes = packet(&[(1, b"ab")], b"");
        for len in 0..bytes.len() {
            assert_eq!(
                RtpHeader::parse(&bytes[..len]),
                Err(RtpError::Truncated),
                "{len}"
            );
        }
        let mut huge = bytes.clone();
        huge[14..16].copy_from_slice(&[0xFF, 0xFF]);
        assert_eq!(RtpHeader::parse(&huge), Err(RtpError::Truncated));
        huge.resize(300_000, 0);
        assert_eq!(RtpHeader::parse(&huge), Err(RtpError::Truncated));
        let mut other = bytes;
        other[0] &= 0x3F;
        assert_eq!(RtpHeader::parse(&other), Err(RtpError::Version));
    }

    #[test]
    fn padding_must_fit_the_payload() {
        for (payload_len, last, fits) in [
            (1, 0u8, false),
            (12, 0, false),
            (1, 1, true),
            (12, 12, true),
            (12, 13, false),
            (1, 200, false),
            (12, 200, false),
            (12, 255, false),
            (255, 255, true),
        ] {
            let mut bytes = packet(&[], &vec![9; payload_len]);
            bytes[0] |= PADDING_BIT;
            *bytes.last_mut().unwrap() = last;
            let parsed = RtpHeader::parse(&bytes);
            if fits {
                let header = parsed.unwrap();
                assert_eq!(
                    header.payload(&bytes).len(),
                    payload_len - usize::from(last)
                );
            } else {
                assert_eq!(
                    parsed,
                    Err(RtpError::Padding),
                    "{payload_len} bytes, count {last}"
                );
            }
        }
        // The padding bit with nothing after the header.
        for last in [0, 200, 255] {
            let mut bytes = packet(&[], b"");
            bytes[0] |= PADDING_BIT;
            bytes[11] = last;
            assert_eq!(RtpHeader::parse(&bytes), Err(RtpError::Padding));
        }
    }

    #[test]
    fn appended_padding_reads_back_as_padding() {
        let mut out = b"before".to_vec();
        let start = out.len();
        FIELDS.write(&mut out, &[], &[]).unwrap();
        out.extend_from_slice(b"media");
        append_padding(&mut out, start, 0);
        assert_eq!(RtpHeader::parse(&out[start..]).unwrap().padding_len, 0);
        append_padding(&mut out, start, 1);
        append_padding(&mut out, start + 100, 7);
        let header = RtpHeader::parse(&out[start..]).unwrap();
        assert_eq!(header.padding_len, 1);
        assert_eq!(header.payload(&out[start..]), b"media");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(mut bytes: Vec<u8>, versioned: bool) {
            if versioned && let Some(first) = bytes.first_mut() {
                *first = *first & 0x3F | 0x80;
            }
            if let Ok(header) = RtpHeader::parse(&bytes) {
                let _ = header.payload(&bytes);
                proptest::prop_assert_eq!(header.csrcs(&bytes).count(), usize::from(header.csrc_count));
                for (id, value) in header.extensions(&bytes) {
                    let range = header.extension_range(&bytes, id).unwrap();
                    proptest::prop_assert!(range.end <= usize::from(header.header_len));
                    let _ = value;
                }
            }
        }

        #[test]
        fn any_extension_list_reads_back(
            values in proptest::collection::vec((1u8..=255, proptest::collection::vec(0u8.., 0..40)), 0..12),
        ) {
            let list: Vec<(u8, &[u8])> = values.iter().map(|(id, value)| (*id, value.as_slice())).collect();
            let bytes = packet(&list, b"payload");
            proptest::prop_assert_eq!(elements(&bytes), values);
        }
    }
}
