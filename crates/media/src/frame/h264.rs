//! H.264 payloads (RFC 6184, packetization-mode 1): single NAL units, STAP-A and FU-A.

use bytes::Bytes;

use crate::codec::CodecError;

const START_CODE: [u8; 4] = [0, 0, 0, 1];
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const SEQUENCE: u8 = 7;
const DELIMITER: u8 = 9;

/// The NAL units of an Annex B byte stream.
fn units(stream: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    let mut start = None;
    let mut at = 0;
    while at + 3 <= stream.len() {
        if stream.get(at..at + 3) == Some(&[0, 0, 1]) {
            units.extend(start.and_then(|start| stream.get(start..at)));
            start = Some(at + 3);
            at += 3;
        } else {
            at += 1;
        }
    }
    // Zeros before a start code belong to that. Those of the last unit may be of an encrypted frame.
    for unit in &mut units {
        let end = unit.iter().rposition(|byte| *byte != 0);
        *unit = unit.get(..end.map_or(0, |end| end + 1)).unwrap_or_default();
    }
    units.extend(start.and_then(|start| stream.get(start..)));
    units.retain(|unit| !unit.is_empty());
    units
}

/// Without delimiters, which tell nothing that timestamps don't.
fn told(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    units(frame)
        .into_iter()
        .filter(|unit| kind(unit) != DELIMITER)
}

/// What is put together again of a frame's payloads.
pub(super) fn normalised(frame: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(frame.len() + START_CODE.len());
    for unit in told(frame) {
        normal.extend_from_slice(&START_CODE);
        normal.extend_from_slice(unit);
    }
    normal
}

fn kind(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |header| header & 0x1F)
}

/// Cuts an access unit. Small units that follow one another share a payload.
pub(super) fn cut(frame: &[u8], size: usize) -> Vec<Bytes> {
    let mut payloads = Vec::new();
    let mut together: Vec<&[u8]> = Vec::new();
    let mut length = 1;
    for unit in told(frame) {
        if length + 2 + unit.len() > size {
            payloads.extend(aggregate(&together));
            together.clear();
            length = 1;
        }
        if unit.len() > size {
            fragment(unit, size, &mut payloads);
        } else {
            length += 2 + unit.len();
            together.push(unit);
        }
    }
    payloads.extend(aggregate(&together));
    payloads
}

fn aggregate(units: &[&[u8]]) -> Option<Bytes> {
    let [_, _, ..] = units else {
        return units.first().map(|unit| Bytes::copy_from_slice(unit));
    };
    let header = |unit: &&[u8]| unit.first().copied().unwrap_or_default();
    let importance = units
        .iter()
        .map(|unit| header(unit) & 0x60)
        .max()
        .unwrap_or(0);
    let forbidden = units
        .iter()
        .fold(0, |bits, unit| bits | header(unit) & 0x80);
    let mut payload = vec![forbidden | importance | STAP_A];
    for unit in units {
        payload.extend_from_slice(&(unit.len() as u16).to_be_bytes());
        payload.extend_from_slice(unit);
    }
    Some(payload.into())
}

fn fragment(unit: &[u8], size: usize, payloads: &mut Vec<Bytes>) {
    let Some((&header, body)) = unit.split_first() else {
        return;
    };
    let count = body.len().div_ceil(size - 2);
    let piece = body.len().div_ceil(count);
    for (index, chunk) in body.chunks(piece).enumerate() {
        let last = (index + 1) * piece >= body.len();
        let bounds = u8::from(index == 0) << 7 | u8::from(last) << 6;
        let mut payload = vec![header & 0xE0 | FU_A, bounds | header & 0x1F];
        payload.extend_from_slice(chunk);
        payloads.push(payload.into());
    }
}

/// Whether a payload begins with a sequence parameter set or a delimiter, before which nothing is.
pub(super) fn begins_sequence(payload: &[u8]) -> bool {
    let first = match kind(payload) {
        // After the size of the first unit.
        STAP_A => payload.get(3..).map_or(0, kind),
        other => other,
    };
    matches!(first, SEQUENCE | DELIMITER)
}

/// An Annex B byte stream of the payloads of one access unit. Unknown kinds of payload are left out.
pub(super) fn unite<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, CodecError> {
    let mut frame = Vec::new();
    let mut add = |unit: &[u8]| {
        frame.extend_from_slice(&START_CODE);
        frame.extend_from_slice(unit);
    };
    let mut fragmented: Option<Vec<u8>> = None;
    for payload in payloads {
        match kind(payload) {
            1..STAP_A => add(payload),
            STAP_A => {
                let mut rest = payload.get(1..).unwrap_or_default();
                while let Some((length, after)) = rest.split_first_chunk() {
                    let length = usize::from(u16::from_be_bytes(*length));
                    let (unit, after) = after
                        .split_at_checked(length)
                        .ok_or(CodecError::Truncated)?;
                    add(unit);
                    rest = after;
                }
            }
            FU_A => {
                let [indicator, bounds, piece @ ..] = payload else {
                    return Err(CodecError::Truncated);
                };
                if bounds & 0x80 != 0 {
                    fragmented = Some(vec![indicator & 0xE0 | bounds & 0x1F]);
                }
                // The beginning of this one is lost.
                let Some(unit) = &mut fragmented else {
                    return Err(CodecError::Malformed);
                };
                unit.extend_from_slice(piece);
                if bounds & 0x40 != 0
                    && let Some(unit) = fragmented.take()
                {
                    add(&unit);
                }
            }
            _ => {}
        }
    }
    Ok(frame)
}
