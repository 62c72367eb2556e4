//! AV1 payloads (RTP Payload Format for AV1, section 4): OBUs without sizes, behind an aggregation header.

use bytes::Bytes;

use crate::codec::CodecError;

const TEMPORAL_DELIMITER: u8 = 2;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;
const HAS_EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;

/// Whether the aggregation header says that a coded video sequence begins, and not within an OBU.
pub(super) fn begins_sequence(payload: &[u8]) -> bool {
    payload.first().is_some_and(|header| header & 0x88 == 0x08)
}

fn kind(header: u8) -> u8 {
    header >> 3 & 0x0F
}

/// A number in LEB128 and the bytes it takes.
fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

fn write_leb128(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The OBUs of a temporal unit that are sent, without their sizes.
fn elements(unit: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut elements = Vec::new();
    let mut rest = unit;
    while let Some(&header) = rest.first() {
        let before_size = 1 + usize::from(header & HAS_EXTENSION != 0);
        let (size, size_bytes) = if header & HAS_SIZE != 0 {
            leb128(rest.get(before_size..)?)?
        } else {
            (rest.len().checked_sub(before_size)?, 0)
        };
        let start = before_size + size_bytes;
        let body = rest.get(start..start.checked_add(size)?)?;
        if !matches!(kind(header), TEMPORAL_DELIMITER | TILE_LIST | PADDING) {
            let mut element = vec![header & !HAS_SIZE];
            element.extend_from_slice(rest.get(1..before_size)?);
            element.extend_from_slice(body);
            elements.push(element);
        }
        rest = rest.get(start + size..)?;
    }
    Some(elements)
}

/// Cuts a temporal unit; nothing when it is malformed.
pub(super) fn cut(unit: &[u8], size: usize, key: bool) -> Vec<Bytes> {
    let mut packets = Packets {
        done: Vec::new(),
        open: vec![u8::from(key) << 3],
        size,
    };
    for element in elements(unit).unwrap_or_default() {
        packets.add(&element);
    }
    if packets.open.len() > 1 {
        packets.done.push(packets.open.into());
    }
    packets.done
}

struct Packets {
    done: Vec<Bytes>,
    /// Begins with its aggregation header; each element has its length in front (W = 0).
    open: Vec<u8>,
    size: usize,
}

impl Packets {
    fn add(&mut self, mut element: &[u8]) {
        loop {
            // A length of up to 16,383 bytes takes two.
            let room = self.size.saturating_sub(self.open.len() + 2);
            if element.len() <= room {
                write_leb128(element.len(), &mut self.open);
                self.open.extend_from_slice(element);
                return;
            }
            // Not worth a fragment.
            let piece = if room < 16 { 0 } else { room };
            let (now, later) = element.split_at(piece);
            let mut closed = std::mem::replace(&mut self.open, vec![0]);
            if piece > 0 {
                write_leb128(now.len(), &mut closed);
                closed.extend_from_slice(now);
                // Y here, Z there.
                if let Some(header) = closed.first_mut() {
                    *header |= 0x40;
                }
                self.open = vec![0x80];
            }
            self.done.push(closed.into());
            element = later;
        }
    }
}

/// A temporal unit, its delimiter first, of the payloads of one picture.
pub(super) fn unite<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, CodecError> {
    let mut unit = vec![TEMPORAL_DELIMITER << 3 | HAS_SIZE, 0];
    let mut open: Option<Vec<u8>> = None;
    for payload in payloads {
        let (&aggregation, mut rest) = payload.split_first().ok_or(CodecError::Empty)?;
        let (continues, continued) = (aggregation & 0x80 != 0, aggregation & 0x40 != 0);
        let count = usize::from(aggregation >> 4 & 3);
        if continues != open.is_some() {
            return Err(CodecError::Malformed);
        }
        let mut index = 0;
        while !rest.is_empty() {
            index += 1;
            let element;
            if count != 0 && index == count {
                (element, rest) = (rest, &[][..]);
            } else {
                let (length, bytes) = leb128(rest).ok_or(CodecError::Malformed)?;
                let after = rest.get(bytes..).unwrap_or_default();
                (element, rest) = after
                    .split_at_checked(length)
                    .ok_or(CodecError::Truncated)?;
            }
            let mut whole = if index == 1 {
                open.take().unwrap_or_default()
            } else {
                Vec::new()
            };
            whole.extend_from_slice(element);
            if rest.is_empty() && continued {
                open = Some(whole);
            } else {
                add_sized(&whole, &mut unit)?;
            }
        }
    }
    if open.is_some() {
        return Err(CodecError::Truncated);
    }
    Ok(unit)
}

fn add_sized(element: &[u8], unit: &mut Vec<u8>) -> Result<(), CodecError> {
    let Some(&header) = element.first() else {
        return Ok(());
    };
    if header & HAS_SIZE != 0 {
        unit.extend_from_slice(element);
        return Ok(());
    }
    let before_size = 1 + usize::from(header & HAS_EXTENSION != 0);
    let (head, body) = element
        .split_at_checked(before_size)
        .ok_or(CodecError::Truncated)?;
    unit.push(header | HAS_SIZE);
    unit.extend_from_slice(head.get(1..).unwrap_or_default());
    write_leb128(body.len(), unit);
    unit.extend_from_slice(body);
    Ok(())
}
