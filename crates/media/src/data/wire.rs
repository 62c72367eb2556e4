//! A walker over the fields of a protobuf message, without knowing its schema.
//!
//! It never allocates, is linear in the message and accepts only what every client's decoder reads the
//! same way: a tag above 32 bits, which some decoders truncate into another field, is an error.

use std::ops::Range;

/// Deepest nesting of (deprecated) groups that is walked over.
const MAX_GROUP_DEPTH: usize = 16;

/// The message is not well-formed protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf")]
pub struct Malformed;

/// The value of a field, by wire type. Fixed-size numbers and groups are only ever passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Opaque,
}

impl<'a> Value<'a> {
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn varint(self) -> Option<u64> {
        match self {
            Value::Varint(value) => Some(value),
            _ => None,
        }
    }
}

/// One field of a message: its number, value and the bytes it occupies, tag included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
    pub range: Range<usize>,
}

/// Iterates over the fields of `message` in wire order; ends after the first error.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { message, at: 0 }
}

pub struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let start = self.at;
        let field = read_field(self.message, &mut self.at);
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field.map(|(number, value)| Field {
            number,
            value,
            range: start..self.at,
        }))
    }
}

fn read_field<'a>(message: &'a [u8], at: &mut usize) -> Result<(u32, Value<'a>), Malformed> {
    let (number, wire_type) = read_tag(message, at)?;
    let value = match wire_type {
        3 => {
            skip_group(message, at, number)?;
            Value::Opaque
        }
        _ => read_scalar(message, at, wire_type)?,
    };
    Ok((number, value))
}

fn read_scalar<'a>(
    message: &'a [u8],
    at: &mut usize,
    wire_type: u32,
) -> Result<Value<'a>, Malformed> {
    Ok(match wire_type {
        0 => Value::Varint(read_varint(message, at)?),
        1 => {
            take(message, at, 8)?;
            Value::Opaque
        }
        2 => {
            let len = usize::try_from(read_varint(message, at)?).map_err(|_| Malformed)?;
            Value::Bytes(take(message, at, len)?)
        }
        5 => {
            take(message, at, 4)?;
            Value::Opaque
        }
        _ => return Err(Malformed),
    })
}

/// Moves past a group's end tag; nested groups must close in order.
fn skip_group(message: &[u8], at: &mut usize, number: u32) -> Result<(), Malformed> {
    let mut open = [0u32; MAX_GROUP_DEPTH];
    open[0] = number;
    let mut depth = 1;
    while depth > 0 {
        let (number, wire_type) = read_tag(message, at)?;
        match wire_type {
            3 => {
                *open.get_mut(depth).ok_or(Malformed)? = number;
                depth += 1;
            }
            4 => {
                depth -= 1;
                if open.get(depth) != Some(&number) {
                    return Err(Malformed);
                }
            }
            _ => {
                read_scalar(message, at, wire_type)?;
            }
        }
    }
    Ok(())
}

fn read_tag(message: &[u8], at: &mut usize) -> Result<(u32, u32), Malformed> {
    let tag = u32::try_from(read_varint(message, at)?).map_err(|_| Malformed)?;
    match tag >> 3 {
        0 => Err(Malformed),
        number => Ok((number, tag & 7)),
    }
}

fn read_varint(message: &[u8], at: &mut usize) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = *message.get(*at).ok_or(Malformed)?;
        *at += 1;
        // The tenth byte has room for one bit; the rest is cut off, as decoders do.
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn take<'a>(message: &'a [u8], at: &mut usize, len: usize) -> Result<&'a [u8], Malformed> {
    let end = at.checked_add(len).ok_or(Malformed)?;
    let bytes = message.get(*at..end).ok_or(Malformed)?;
    *at = end;
    Ok(bytes)
}

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a varint field; zero, the default, is left out.
pub fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_varint(out, u64::from(number) << 3);
        put_varint(out, value);
    }
}

/// Appends a length-delimited field, also when it is empty.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a string field; the empty string, the default, is left out.
pub fn put_string(out: &mut Vec<u8>, number: u32, value: &str) {
    if !value.is_empty() {
        put_bytes(out, number, value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_wire_type_is_walked_over() {
        let mut message = Vec::new();
        put_number(&mut message, 1, 300);
        message.extend_from_slice(&[0x11, 1, 2, 3, 4, 5, 6, 7, 8]);
        put_bytes(&mut message, 3, b"abc");
        message.extend_from_slice(&[0x23, 0x08, 0x01, 0x2b, 0x2c, 0x24]); // group 4 {1: 1, group 5 {}}
        message.extend_from_slice(&[0x35, 1, 2, 3, 4]);
        let walked: Vec<_> = fields(&message).map(|f| f.unwrap()).collect();
        assert_eq!(
            walked.iter().map(|f| f.number).collect::<Vec<_>>(),
            [1, 2, 3, 4, 6]
        );
        assert_eq!(walked[0].value, Value::Varint(300));
        assert_eq!(walked[2].value, Value::Bytes(b"abc"));
        assert_eq!(walked[3].value, Value::Opaque);
        assert_eq!(walked.last().map(|f| f.range.end), Some(message.len()));
    }

    #[test]
    fn malformed_messages_end_in_one_error() {
        for bad in [
            &[0x80][..],   // truncated tag
            &[0x08, 0x80], // truncated varint
            &[
                0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ], // eleven bytes
            &[0x0a, 0x05, 1, 2], // length beyond the end
            &[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ], // length near 2^64
            &[0x09, 1, 2, 3],
            &[0x0d, 1, 2, 3],
            &[0x00, 0x00],                               // field number zero
            &[0x0b, 0x08, 0x01],                         // group without end
            &[0x0b, 0x14],                               // group closed by another
            &[0x0c],                                     // end without start
            &[0x0e, 0x00],                               // wire type 6
            &[0xa2, 0x80, 0x80, 0x80, 0x10, 0x01, b'x'], // tag of 33 bits: field 4 to a truncating decoder
        ] {
            let walked: Vec<_> = fields(bad).collect();
            assert_eq!(walked.iter().filter(|f| f.is_err()).count(), 1, "{bad:?}");
            assert!(walked.last().is_some_and(|f| f.is_err()), "{bad:?}");
        }
    }

    #[test]
    fn groups_nest_only_so_deep() {
        let mut message = vec![0x0b; 17];
        message.extend(vec![0x0c; 17]);
        assert!(fields(&message).any(|f| f.is_err()));
        let mut message = vec![0x0b; 16];
        message.extend(vec![0x0c; 16]);
        assert!(fields(&message).all(|f| f.is_ok()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_without_gaps(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut at = 0;
            for field in fields(&message) {
                let Ok(field) = field else { return Ok(()) };
                prop_assert_eq!(field.range.start, at);
                prop_assert!(field.range.end > at);
                at = field.range.end;
            }
            prop_assert_eq!(at, message.len());
        }
    }
}
