//! Payloads into frames, in order and without holes.
//!
//! A missing packet is waited for, as it is asked for again. When it does not come, frames are left out until
//! one that decoding can begin with; when such a one is there already, the wait ends at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Frame, begins_sequence, unite};
use crate::codec::CodecKind;
use crate::track::packet::MediaPacket;

/// What one stream may keep.
const MOST_PACKETS: usize = 4_096;
const MOST_BYTES: usize = 8 << 20;
/// How long a missing packet is waited for.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// Between two wishes for a key frame.
pub(super) const WISH_INTERVAL: Duration = Duration::from_millis(500);

/// One packet of a stream.
#[derive(Clone, Debug)]
pub struct Part {
    /// Extended.
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    /// Certainly the first of its frame.
    pub start: bool,
    /// Belongs to a frame that decoding can begin with.
    pub key: bool,
    /// Empty for padding.
    pub payload: Bytes,
}

impl From<&MediaPacket> for Part {
    fn from(packet: &MediaPacket) -> Self {
        let certain = matches!(packet.codec, CodecKind::Vp8 | CodecKind::Vp9);
        Self {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            start: certain && packet.meta.start_of_frame && packet.meta.spatial == 0,
            key: packet.meta.keyframe,
            payload: packet.payload_bytes(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Assembler {
    codec: CodecKind,
    pub(super) parts: BTreeMap<u64, Part>,
    pub(super) bytes: usize,
    /// Number of the first packet that has not been dealt with; `None` before the first key frame.
    next: Option<u64>,
    /// The number after the last frame that was dealt with.
    dealt: Option<u64>,
    /// Since when something is missing.
    missing: Option<Instant>,
    wished: Option<Instant>,
    /// Frames that were left out or could not be put together.
    dropped: u64,
}

impl Assembler {
    #[must_use]
    pub fn new(codec: CodecKind) -> Self {
        Self {
            codec,
            parts: BTreeMap::new(),
            bytes: 0,
            next: None,
            dealt: None,
            missing: None,
            wished: None,
            dropped: 0,
        }
    }

    /// Frames that were left out.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes a packet; then [`Self::poll`].
    pub fn insert(&mut self, part: Part) {
        if self.next.is_some_and(|next| part.sequence < next)
            || self.parts.contains_key(&part.sequence)
        {
            return;
        }
        self.bytes += part.payload.len();
        self.parts.insert(part.sequence, part);
        while self.parts.len() > MOST_PACKETS || self.bytes > MOST_BYTES {
            let Some((first, part)) = self.parts.pop_first() else {
                break;
            };
            self.bytes -= part.payload.len();
            // What it belonged to can no longer be had.
            if self.next.is_some_and(|next| next <= first) {
                self.lose();
            }
        }
    }

    /// The next frame, if it is complete.
    pub fn poll(&mut self, now: Instant) -> Option<Frame> {
        loop {
            if let Some(next) = self.next {
                let next = self.skip_padding(next);
                self.next = Some(next);
                if let Some(end) = self.end_of_frame(next) {
                    self.missing = None;
                    match self.take(next, end) {
                        Some(frame) => return Some(frame),
                        None => {
                            self.lose();
                            continue;
                        }
                    }
                }
                if self.parts.is_empty() {
                    self.missing = None;
                    return None;
                }
            }
            if let Some((start, end)) = self.next_key() {
                self.forget_before(start);
                self.next = Some(start);
                self.missing = None;
                match self.take(start, end) {
                    Some(frame) => return Some(frame),
                    None => {
                        self.lose();
                        continue;
                    }
                }
            }
            if !self.is_hole() {
                self.missing = None;
                return None;
            }
            let since = *self.missing.get_or_insert(now);
            if now.saturating_duration_since(since) >= PATIENCE {
                self.lose();
            }
            return None;
        }
    }

    /// When [`Self::poll`] may find something without another packet.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.missing.map(|since| since + PATIENCE)
    }

    /// Whether to ask for a key frame now.
    pub fn wants_key(&mut self, now: Instant) -> bool {
        let due = self
            .wished
            .is_none_or(|at| now.saturating_duration_since(at) >= WISH_INTERVAL);
        let wants = self.next.is_none() && due;
        if wants {
            self.wished = Some(now);
        }
        wants
    }

    /// A packet that is not the next one came: something between is missing.
    fn is_hole(&self) -> bool {
        let Some(next) = self.next else { return false };
        let mut numbers = (next..).zip(self.parts.keys());
        numbers.any(|(expected, sequence)| *sequence != expected)
    }

    fn lose(&mut self) {
        self.next = None;
        self.missing = None;
        self.dropped += 1;
    }

    fn forget_before(&mut self, start: u64) {
        let kept = self.parts.split_off(&start);
        let gone = std::mem::replace(&mut self.parts, kept);
        self.bytes -= gone.values().map(|part| part.payload.len()).sum::<usize>();
    }

    fn skip_padding(&mut self, mut next: u64) -> u64 {
        while self
            .parts
            .get(&next)
            .is_some_and(|part| part.payload.is_empty())
        {
            self.parts.remove(&next);
            next += 1;
        }
        next
    }

    /// Number of the last packet of the frame that begins at `start`, when all of it is there.
    fn end_of_frame(&self, start: u64) -> Option<u64> {
        let timestamp = self.parts.get(&start)?.timestamp;
        let mut last = start;
        for (sequence, part) in self.parts.range(start..) {
            if *sequence > last + 1 {
                return None;
            }
            // A frame whose marker was not set ends where the next begins.
            if part.timestamp != timestamp {
                return (*sequence == last + 1).then_some(last);
            }
            last = *sequence;
            if part.marker {
                return Some(last);
            }
        }
        None
    }

    /// The newest whole frame that decoding can begin with.
    fn next_key(&self) -> Option<(u64, u64)> {
        let mut seen = u64::MAX;
        let mut incomplete = None;
        for (sequence, part) in self.parts.iter().rev() {
            if !part.key || part.payload.is_empty() || *sequence >= seen {
                continue;
            }
            // Looked through already: no other beginning makes it whole.
            if incomplete == Some(part.timestamp) {
                continue;
            }
            let mut start = *sequence;
            while !self.parts.get(&start).is_some_and(|it| it.start)
                && let Some(before) = start.checked_sub(1).and_then(|it| self.parts.get(&it))
                && before.timestamp == part.timestamp
                && !before.payload.is_empty()
            {
                start -= 1;
            }
            seen = start;
            if self.begins_frame(start)
                && let Some(end) = self.end_of_frame(start)
            {
                return Some((start, end));
            }
            incomplete = Some(part.timestamp);
        }
        None
    }

    /// Whether nothing of its frame lies before that packet, as far as can be told.
    fn begins_frame(&self, sequence: u64) -> bool {
        let Some(part) = self.parts.get(&sequence) else {
            return false;
        };
        let before = sequence.checked_sub(1).and_then(|it| self.parts.get(&it));
        part.start
            || self.dealt == Some(sequence)
            || begins_sequence(self.codec, &part.payload)
            || before.is_some_and(|it| it.timestamp != part.timestamp || it.payload.is_empty())
    }

    fn take(&mut self, start: u64, end: u64) -> Option<Frame> {
        let later = self.parts.split_off(&(end + 1));
        let parts = std::mem::replace(&mut self.parts, later);
        let parts: Vec<Part> = parts
            .into_values()
            .filter(|part| part.sequence >= start)
            .collect();
        self.bytes = self.parts.values().map(|part| part.payload.len()).sum();
        self.next = Some(end + 1);
        self.dealt = self.next;
        let payloads = parts
            .iter()
            .map(|part| part.payload.as_ref())
            .filter(|payload| !payload.is_empty());
        let data = unite(self.codec, payloads).ok()?;
        Some(Frame {
            codec: self.codec,
            timestamp: parts.first()?.timestamp,
            key: parts.iter().any(|part| part.key),
            data,
        })
    }
}
