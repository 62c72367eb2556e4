//! What of a frame stays readable to servers, and how the rest is kept from being taken for something else.
//!
//! ```text
//! clear bytes | AES-GCM of the rest, with the clear bytes authenticated | IV (12) | 12 | index of the key
//! ```
//!
//! In H.264 everything behind the clear bytes is escaped as a NAL unit's payload is, for it looks like one.

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use crate::codec::CodecKind;

const TAG_LEN: usize = 16;
const TRAILER_LEN: usize = 2;

/// What a frame is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Audio,
    Vp8 {
        key: bool,
    },
    Vp9,
    /// An Annex B byte stream.
    H264,
}

/// A frame that isn't encrypted, or not by this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOpened;

/// A sealed frame, taken apart.
pub(super) struct Sealed {
    clear: Vec<u8>,
    iv: [u8; NONCE_LEN],
    /// Ends in the tag.
    secret: Vec<u8>,
    pub(super) key_index: u8,
}

impl Form {
    /// `None` for what can't be encrypted, AV1 above all: its packets say what is in them.
    #[must_use]
    pub fn of(codec: CodecKind, key: bool) -> Option<Self> {
        match codec {
            CodecKind::Opus => Some(Self::Audio),
            CodecKind::Vp8 => Some(Self::Vp8 { key }),
            CodecKind::Vp9 => Some(Self::Vp9),
            CodecKind::H264 => Some(Self::H264),
            _ => None,
        }
    }

    pub(super) fn seal(
        self,
        frame: &[u8],
        key: &LessSafeKey,
        key_index: u8,
        iv: [u8; NONCE_LEN],
    ) -> Option<Vec<u8>> {
        let frame = self.normalised(frame);
        let (clear, secret) = frame.split_at_checked(self.clear_len(&frame))?;
        let mut sealed = secret.to_vec();
        let nonce = Nonce::assume_unique_for_key(iv);
        key.seal_in_place_append_tag(nonce, Aad::from(clear), &mut sealed)
            .ok()?;
        sealed.extend_from_slice(&iv);
        sealed.extend_from_slice(&[NONCE_LEN as u8, key_index]);
        let mut out = clear.to_vec();
        if self == Self::H264 {
            escape(&sealed, &mut out);
        } else {
            out.append(&mut sealed);
        }
        Some(out)
    }

    pub(super) fn take_apart(self, frame: &[u8]) -> Option<Sealed> {
        let (clear, rest) = frame.split_at_checked(self.clear_len(frame))?;
        let rest = if self == Self::H264 {
            unescaped(rest)
        } else {
            rest.to_vec()
        };
        let (rest, &[iv_len, key_index]) = rest.split_last_chunk::<TRAILER_LEN>()?;
        let (secret, iv) = rest.split_last_chunk::<NONCE_LEN>()?;
        (usize::from(iv_len) == NONCE_LEN && secret.len() >= TAG_LEN).then(|| Sealed {
            clear: clear.to_vec(),
            iv: *iv,
            secret: secret.to_vec(),
            key_index,
        })
    }

    fn clear_len(self, frame: &[u8]) -> usize {
        match self {
            Self::Audio => 1,
            Self::Vp8 { key: true } => 10,
            Self::Vp8 { key: false } => 3,
            Self::Vp9 => 0,
            Self::H264 => first_slice(frame).map_or(0, |at| at + 2),
        }
    }

    /// What a receiver puts together again: H.264 with start codes of four bytes, and without delimiters.
    fn normalised(self, frame: &[u8]) -> Vec<u8> {
        if self == Self::H264 {
            crate::frame::normalised_h264(frame)
        } else {
            frame.to_vec()
        }
    }
}

impl Sealed {
    pub(super) fn open(&self, key: &LessSafeKey) -> Result<Vec<u8>, NotOpened> {
        let mut secret = self.secret.clone();
        let nonce = Nonce::assume_unique_for_key(self.iv);
        let opened = key
            .open_in_place(nonce, Aad::from(&self.clear), &mut secret)
            .map_err(|_| NotOpened)?;
        Ok([&self.clear, &*opened].concat())
    }
}

/// Where the first coded slice begins, at its header.
fn first_slice(stream: &[u8]) -> Option<usize> {
    const SLICE: u8 = 1;
    const IDR_SLICE: u8 = 5;
    stream
        .windows(4)
        .position(|bytes| {
            matches!(bytes, [0, 0, 1, header] if matches!(header & 0x1F, SLICE | IDR_SLICE))
        })
        .map(|at| at + 3)
        .filter(|at| at + 2 <= stream.len())
}

/// Puts a 3 between two zeros and anything that would make a start code of them (ITU-T H.264, 7.4.1).
fn escape(payload: &[u8], into: &mut Vec<u8>) {
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte <= 3 {
            into.push(3);
            zeros = 0;
        }
        into.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
}

fn unescaped(payload: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(payload.len());
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        plain.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_escaped_is_the_same_again() {
        for payload in [
            &[0, 0, 0, 0, 0, 0][..],
            &[0, 0, 1, 0, 0, 3, 0, 0, 2],
            &[0, 0, 4],
            &[1, 0, 0],
            &[],
        ] {
            let mut escaped = Vec::new();
            escape(payload, &mut escaped);
            assert!(!escaped.windows(3).any(|it| matches!(it, [0, 0, 0..=2])));
            assert_eq!(unescaped(&escaped), payload);
        }
    }

    #[test]
    fn slices_are_found_behind_parameter_sets() {
        let stream = [
            0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65, 9, 9,
        ];
        assert_eq!(first_slice(&stream), Some(15));
        assert_eq!(first_slice(&[0, 0, 1, 0x65]), None);
        assert_eq!(first_slice(&[0, 0, 1, 0x67, 1, 2]), None);
    }
}
