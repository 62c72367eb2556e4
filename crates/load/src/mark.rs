//! The mark at the end of each payload, by which a receiver knows what it got and how old it is.
//!
//! It stands at the end because servers rewrite VP8's payload descriptor, at the front, and may change its length.

use std::sync::OnceLock;
use std::time::Instant;

/// Bytes of a mark.
pub(crate) const LEN: usize = 14;
const MAGIC: [u8; 3] = *b"RLG";
const KEY_FRAME: u8 = 1;

/// What a payload's mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Number of the track, or of the sender of messages.
    pub(crate) track: u16,
    /// The packet belongs to a key frame.
    pub(crate) key: bool,
    /// When it was sent, by [`nanos`].
    pub(crate) sent: u64,
}

impl Mark {
    /// Appends the mark to a payload.
    pub(crate) fn append(self, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&MAGIC);
        payload.push(if self.key { KEY_FRAME } else { 0 });
        payload.extend_from_slice(&self.track.to_be_bytes());
        payload.extend_from_slice(&self.sent.to_be_bytes());
    }

    /// The mark at the end of a payload, if there is one: padding and silence made by a server have none.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let [m0, m1, m2, flags, t0, t1, sent @ ..] = payload.last_chunk::<LEN>()?;
        ([*m0, *m1, *m2] == MAGIC).then(|| Self {
            track: u16::from_be_bytes([*t0, *t1]),
            key: flags & KEY_FRAME != 0,
            sent: u64::from_be_bytes(*sent),
        })
    }
}

/// Nanoseconds on the clock of marks, which starts with the first use.
pub(crate) fn nanos(now: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(|| now);
    now.saturating_duration_since(*start).as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_from_the_end_of_a_payload() {
        let mark = Mark {
            track: 513,
            key: true,
            sent: 123_456_789_012,
        };
        let mut payload = vec![0x90, 0xe0, 1, 2];
        mark.append(&mut payload);
        assert_eq!(Mark::read(&payload), Some(mark));
        payload.remove(0);
        assert_eq!(Mark::read(&payload), Some(mark), "whatever is in front");
    }

    #[test]
    fn other_payloads_have_no_mark() {
        assert_eq!(Mark::read(&[0; LEN - 1]), None);
        assert_eq!(Mark::read(&[0; 100]), None);
    }
}
