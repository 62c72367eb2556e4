//! The one queue through which everything of a transport leaves.
//!
//! Packets wait as descriptions (a shared packet and what to rewrite in it) and are written at release:
//! that is when the transport-wide number and the send time are known. Video leaves by two to four packets
//! of a frame, brought to one size by RTP padding, because segmentation offload needs segments of one size
//! and a datagram sent alone costs the kernel more than everything before it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::outgoing::{Labels, Mid, Outgoing, SectionId, SendExtensions, Stamp};
use super::twcc::SendLedger;
use crate::rtp::header::append_padding;
use crate::track::clock::WallClock;

/// Packets of a frame that leave together.
pub const GROUP: usize = 4;
/// Larger differences in size are not worth the padding.
const LONGEST_PADDING: usize = 48;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    Audio,
    /// Sent again on request.
    Resend,
    Video,
}

#[derive(Clone, Copy, Debug)]
pub struct SendQueueConfig {
    /// How long the first packets of a frame wait for company.
    pub hold: Duration,
    /// Between two releases of one frame.
    pub gap: Duration,
    /// Bytes that may wait. What comes beyond is refused, but for video of sections with less than their
    /// equal share.
    pub budget: usize,
    /// Bytes a second, when an estimate is known.
    pub rate: Option<u64>,
}

impl Default for SendQueueConfig {
    fn default() -> Self {
        Self {
            hold: Duration::from_millis(1),
            gap: Duration::from_millis(1),
            budget: 4 << 20,
            rate: None,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    outgoing: Outgoing,
    since: Instant,
    /// Last of its frame: no company is to be waited for.
    complete: bool,
}

#[derive(Debug)]
struct Section {
    labels: Labels,
    /// Video.
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// The last group and the next one keep the gap, also when they come in different turns.
    not_before: Option<Instant>,
    sent: Sent,
}

/// What left of a section: its packets, and those that were sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub packets: u64,
    /// Of payloads.
    pub bytes: u64,
    /// Of RTP headers with their extensions.
    pub header_bytes: u64,
    /// Of all these, what was sent again.
    pub resent_packets: u64,
    pub resent_bytes: u64,
}

impl Section {
    /// When its next group may leave.
    fn due(&self, now: Instant, hold: Duration) -> Option<Instant> {
        let front = self.waiting.front()?;
        let ready = if self.group_is_ready() {
            now
        } else {
            front.since + hold
        };
        Some(self.not_before.map_or(ready, |at| ready.max(at)))
    }

    /// Whether the group at the front has all the company it can get.
    fn group_is_ready(&self) -> bool {
        let mut packets = self.waiting.iter();
        let Some(front) = packets.next() else {
            return false;
        };
        if front.complete {
            return true;
        }
        for (count, waiting) in (2..).zip(packets) {
            if !waiting.is_of_frame(&front.outgoing) || waiting.complete || count == GROUP {
                return true;
            }
        }
        false
    }

    fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
        self.not_before = None;
    }
}

impl Waiting {
    fn is_of_frame(&self, of: &Outgoing) -> bool {
        (self.outgoing.ssrc, self.outgoing.timestamp) == (of.ssrc, of.timestamp)
    }
}

/// See the module.
#[derive(Debug)]
pub struct SendQueue {
    config: SendQueueConfig,
    clock: WallClock,
    sections: slab::Slab<Section>,
    audio: VecDeque<Outgoing>,
    resend: VecDeque<Outgoing>,
    /// Sections with video that waits, each once: they take turns, so that one that floods holds up none.
    turns: VecDeque<u32>,
    bytes: usize,
    /// Of video.
    video_bytes: usize,
    /// The earliest next release of paced packets.
    next: Option<Instant>,
    ledger: SendLedger,
}

/// A packet that [`SendQueue::release`] wrote and that is to be sealed: it ends the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where it begins.
    pub start: usize,
    /// Length of its RTP header.
    pub header: usize,
    /// It was sealed before with the same number, and is the same to the last byte.
    pub repeated: bool,
}

/// What [`SendQueue::release`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    pub packets: u32,
    /// RTP bytes before the seal.
    pub bytes: usize,
}

impl SendQueue {
    #[must_use]
    pub fn new(config: SendQueueConfig, clock: WallClock) -> Self {
        Self {
            config,
            clock,
            sections: slab::Slab::new(),
            audio: VecDeque::new(),
            resend: VecDeque::new(),
            turns: VecDeque::new(),
            bytes: 0,
            video_bytes: 0,
            next: None,
            ledger: SendLedger::default(),
        }
    }

    /// Makes a section known by its extension ids and mid.
    pub fn add_section(&mut self, extensions: SendExtensions, mid: &str) -> SectionId {
        let section = Section {
            labels: Labels {
                ids: extensions,
                mid: Mid::new(mid).unwrap_or_default(),
                rid: Mid::default(),
            },
            waiting: VecDeque::new(),
            bytes: 0,
            not_before: None,
            sent: Sent::default(),
        };
        SectionId(self.sections.insert(section) as u32)
    }

    /// A renegotiation changed what a section may send. Whether anything did change: then what was sent
    /// before cannot be sent again as it was.
    pub fn set_section(
        &mut self,
        section: SectionId,
        extensions: SendExtensions,
        mid: &str,
    ) -> bool {
        let Some(section) = self.sections.get_mut(section.0 as usize) else {
            return false;
        };
        let labels = Labels {
            ids: extensions,
            mid: Mid::new(mid).unwrap_or_default(),
            rid: section.labels.rid,
        };
        std::mem::replace(&mut section.labels, labels) != labels
    }

    /// The section is one layer of a simulcast: its packets name it as long as they name their section.
    pub fn set_rid(&mut self, section: SectionId, rid: &str) {
        if let Some(section) = self.sections.get_mut(section.0 as usize) {
            section.labels.rid = Mid::new(rid).unwrap_or_default();
        }
    }

    /// Drops all that waits.
    pub fn clear(&mut self) {
        self.audio.clear();
        self.resend.clear();
        self.turns.clear();
        self.sections
            .iter_mut()
            .for_each(|(_, section)| section.clear());
        self.bytes = 0;
        self.video_bytes = 0;
        self.next = None;
    }

    /// Forgets a section and what waits for it.
    pub fn remove_section(&mut self, section: SectionId) {
        let Some(removed) = self.sections.try_remove(section.0 as usize) else {
            return;
        };
        self.turns.retain(|waiting| *waiting != section.0);
        self.audio.retain(|waiting| waiting.section != section);
        self.resend.retain(|waiting| waiting.section != section);
        self.video_bytes = self.video_bytes.saturating_sub(removed.bytes);
        let queues = self.audio.iter().chain(&self.resend);
        self.bytes = queues.map(Outgoing::size).sum::<usize>() + self.video_bytes;
    }

    /// Queues a packet, unless the budget is spent: then the packet is lost as on a full link.
    /// Returns whether it was queued.
    pub fn push(&mut self, now: Instant, priority: Priority, outgoing: Outgoing) -> bool {
        let size = outgoing.size();
        match priority {
            // Audio is small and always passes: it is what people notice first.
            Priority::Audio => self.audio.push_back(outgoing),
            Priority::Resend => {
                if self.bytes - self.video_bytes + size > self.config.budget {
                    return false;
                }
                self.resend.push_back(outgoing);
            }
            Priority::Video => {
                let id = outgoing.section.0;
                let Some(section) = self.sections.get_mut(id as usize) else {
                    return false;
                };
                let first = section.waiting.is_empty();
                let share = self.config.budget / (self.turns.len() + usize::from(first));
                if self.bytes + size > self.config.budget && section.bytes + size > share {
                    return false;
                }
                if first {
                    self.turns.push_back(id);
                }
                section.bytes += size;
                self.video_bytes += size;
                let complete = outgoing.marker;
                section.waiting.push_back(Waiting {
                    outgoing,
                    since: now,
                    complete,
                });
            }
        }
        self.bytes += size;
        true
    }

    /// What left of a section so far.
    #[must_use]
    pub fn sent(&self, section: SectionId) -> Sent {
        let section = self.sections.get(section.0 as usize);
        section.map(|section| section.sent).unwrap_or_default()
    }

    /// Bytes that wait.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.bytes
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.audio.is_empty() && self.resend.is_empty() && self.turns.is_empty()
    }

    /// What the path is estimated to take, in bytes a second; `None` leaves only the gap between releases.
    pub fn set_rate(&mut self, rate: Option<u64>) {
        self.config.rate = rate;
    }

    /// The record of what was sent, for transport-wide feedback.
    pub fn ledger(&mut self) -> &mut SendLedger {
        &mut self.ledger
    }

    /// When [`Self::release`] has something to do next.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if !self.audio.is_empty() {
            return Some(now);
        }
        let open = self.next.unwrap_or(now);
        if !self.resend.is_empty() {
            return Some(open);
        }
        let sections = self.turns.iter();
        let due = sections
            .filter_map(|id| self.sections.get(*id as usize)?.due(now, self.config.hold))
            .min()?;
        Some(due.max(open))
    }

    /// Writes what is due to the end of `buffer`, packet after packet. `seal` encrypts each in place and
    /// appends its tag.
    pub fn release(
        &mut self,
        now: Instant,
        buffer: &mut Vec<u8>,
        mut seal: impl FnMut(&mut Vec<u8>, Written),
    ) -> Released {
        let mut released = Released::default();
        while let Some(outgoing) = self.audio.pop_front() {
            self.bytes = self.bytes.saturating_sub(outgoing.size());
            released.add(self.write(now, &outgoing, Manner::default(), buffer, &mut seal));
        }
        if self.next.is_some_and(|next| now < next) {
            return released;
        }
        self.next = None;
        while self.next.is_none()
            && let Some(outgoing) = self.resend.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(outgoing.size());
            let manner = Manner {
                repeated: outgoing.original_sequence.is_none(),
                ..Manner::default()
            };
            let size = self.write(now, &outgoing, manner, buffer, &mut seal);
            released.add(size);
            if self.config.rate.is_some() {
                self.charge(now, size);
            }
        }
        // Frames of different tracks may leave in one release, a second group of the same only after the gap.
        for _ in 0..self.turns.len() {
            if self.next.is_some() {
                break;
            }
            let Some(id) = self.turns.pop_front() else {
                break;
            };
            let section = self.sections.get(id as usize);
            let due = section.and_then(|section| section.due(now, self.config.hold));
            if due.is_some_and(|due| due <= now) {
                let size = self.release_group(now, id, buffer, &mut seal, &mut released);
                if self.config.rate.is_some() {
                    self.charge(now, size);
                }
            }
            if self
                .sections
                .get(id as usize)
                .is_some_and(|section| !section.waiting.is_empty())
            {
                self.turns.push_back(id);
            }
        }
        if self.is_empty() {
            self.bytes = 0;
        }
        released
    }

    fn release_group(
        &mut self,
        now: Instant,
        section: u32,
        buffer: &mut Vec<u8>,
        seal: &mut impl FnMut(&mut Vec<u8>, Written),
        released: &mut Released,
    ) -> usize {
        let Some(section) = self.sections.get_mut(section as usize) else {
            return 0;
        };
        let mut group: [Option<Outgoing>; GROUP] = Default::default();
        let (mut filled, mut bytes) = (0, 0);
        while filled < GROUP
            && let Some(front) = section.waiting.front()
            && group[0].as_ref().is_none_or(|of| front.is_of_frame(of))
            && let Some(waiting) = section.waiting.pop_front()
        {
            bytes += waiting.outgoing.size();
            group[filled] = Some(waiting.outgoing);
            filled += 1;
            if waiting.complete {
                break;
            }
        }
        section.bytes = section.bytes.saturating_sub(bytes);
        let goes_on = filled == GROUP || !section.waiting.is_empty();
        section.not_before = goes_on.then_some(now + self.config.gap);
        self.video_bytes = self.video_bytes.saturating_sub(bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        let repeatable = group[0]
            .as_ref()
            .is_some_and(|outgoing| self.is_repeatable(outgoing.section));
        let full = |outgoing: &Outgoing| self.header_size(outgoing) + outgoing.size();
        let sizes: [usize; GROUP] =
            std::array::from_fn(|index| group[index].as_ref().map_or(0, full));
        let longest = sizes.iter().copied().max().unwrap_or(0);
        let mut total = 0;
        for (index, outgoing) in group.iter().enumerate() {
            let Some(outgoing) = outgoing else { break };
            // Only the last segment of a batch may be shorter, and others may follow this group: the
            // last one is padded too when it is nearly full.
            let short = longest - sizes[index];
            let padding = if short <= LONGEST_PADDING && !repeatable {
                short as u8
            } else {
                0
            };
            let manner = Manner {
                padding,
                repeated: false,
            };
            let size = self.write(now, outgoing, manner, buffer, seal);
            released.add(size);
            total += size;
        }
        total
    }

    fn charge(&mut self, now: Instant, bytes: usize) {
        if let Some(rate) = self.config.rate.filter(|rate| *rate > 0) {
            self.next = Some(now + Duration::from_nanos(bytes as u64 * 1_000_000_000 / rate));
        }
    }

    fn is_repeatable(&self, section: SectionId) -> bool {
        self.sections
            .get(section.0 as usize)
            .is_some_and(|section| section.labels.repeatable())
    }

    /// Bytes of the extension block this packet will have, in order to bring a group to one size.
    fn header_size(&self, outgoing: &Outgoing) -> usize {
        let Some(section) = self.sections.get(outgoing.section.0 as usize) else {
            return 0;
        };
        outgoing.block(&section.labels)
    }

    /// Appends one packet to the buffer and has it sealed. Returns its size before the seal.
    fn write(
        &mut self,
        now: Instant,
        outgoing: &Outgoing,
        manner: Manner,
        buffer: &mut Vec<u8>,
        seal: &mut impl FnMut(&mut Vec<u8>, Written),
    ) -> usize {
        let Some(section) = self.sections.get_mut(outgoing.section.0 as usize) else {
            return 0;
        };
        let start = buffer.len();
        let sequence = section
            .labels
            .numbered()
            .then(|| self.ledger.next_sequence());
        let stamp = Stamp {
            micros: self.clock.micros(now),
            sequence: sequence.unwrap_or_default(),
        };
        let header = outgoing.write(&section.labels, stamp, buffer);
        append_padding(buffer, start, manner.padding);
        let size = buffer.len() - start;
        let again = manner.repeated || outgoing.original_sequence.is_some();
        section.sent.add(header, size - header, again);
        if let Some(sequence) = sequence {
            self.ledger.sent(now, sequence, size as u16);
        }
        let repeated = manner.repeated;
        seal(
            buffer,
            Written {
                start,
                header,
                repeated,
            },
        );
        size
    }
}

/// How a packet is written, beside what it holds.
#[derive(Clone, Copy, Default)]
struct Manner {
    padding: u8,
    /// See [`Written::repeated`].
    repeated: bool,
}

impl Sent {
    fn add(&mut self, header: usize, payload: usize, again: bool) {
        self.packets += 1;
        self.bytes += payload as u64;
        self.header_bytes += header as u64;
        self.resent_packets += u64::from(again);
        self.resent_bytes += if again { payload as u64 } else { 0 };
    }
}

impl Released {
    fn add(&mut self, size: usize) {
        self.packets += 1;
        self.bytes += size;
    }
}

#[cfg(test)]
mod tests;
