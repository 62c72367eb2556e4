//! Outgoing numbers of a subscription: continuous over layer switches and over packets left out.

use std::collections::VecDeque;

/// Changes of the offset remembered for packets that come late.
const MOST_RANGES: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Range {
    /// First incoming number it holds for.
    start: u64,
    /// Outgoing minus incoming number.
    sequence: u16,
    /// Outgoing minus incoming picture id.
    picture: u16,
}

/// Incoming to outgoing numbers of the stream that is being forwarded. Only its packets may touch it.
#[derive(Debug)]
pub(super) struct SequenceMap {
    ranges: VecDeque<Range>,
    /// Highest incoming number seen.
    highest: u64,
    /// Highest outgoing number given.
    last: u16,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) sequence: u16,
    /// Outgoing minus incoming picture id, modulo its width.
    pub(super) picture_offset: u16,
    /// It is the highest so far.
    pub(super) newest: bool,
}

impl SequenceMap {
    /// The first packet gets `first`.
    pub(super) fn new(first: u16) -> Self {
        Self {
            ranges: VecDeque::new(),
            highest: 0,
            last: first.wrapping_sub(1),
        }
    }

    /// From the incoming number `start` on another stream is forwarded.
    pub(super) fn switch(&mut self, start: u64, picture_offset: u16) {
        self.ranges.clear();
        let next = self.last.wrapping_add(1);
        self.ranges.push_back(Range {
            start,
            sequence: next.wrapping_sub(start as u16),
            picture: picture_offset,
        });
        self.highest = start.wrapping_sub(1);
    }

    /// Number of a packet that is forwarded; `None` for one from before the stream's start.
    pub(super) fn forward(&mut self, sequence: u64) -> Option<Mapped> {
        if sequence > self.highest {
            let range = self.ranges.back()?;
            self.highest = sequence;
            self.last = (sequence as u16).wrapping_add(range.sequence);
            return Some(Mapped {
                sequence: self.last,
                picture_offset: range.picture,
                newest: true,
            });
        }
        let range = self
            .ranges
            .iter()
            .rev()
            .find(|range| range.start <= sequence)?;
        Some(Mapped {
            sequence: (sequence as u16).wrapping_add(range.sequence),
            picture_offset: range.picture,
            newest: false,
        })
    }

    /// A packet is left out: those after it move up. `picture`: it begins a picture that is left out.
    /// False for a late one: a number was set aside for it already, and a hole stays unless it is used.
    pub(super) fn leave_out(&mut self, sequence: u64, picture: bool) -> bool {
        if sequence <= self.highest {
            return false;
        }
        let Some(back) = self.ranges.back().copied() else {
            return true;
        };
        self.highest = sequence;
        let next = Range {
            start: sequence + 1,
            sequence: back.sequence.wrapping_sub(1),
            picture: back.picture.wrapping_sub(u16::from(picture)),
        };
        if back.start == sequence && self.ranges.len() > 1 {
            self.ranges.pop_back();
        }
        if self.ranges.len() >= MOST_RANGES {
            self.ranges.pop_front();
        }
        self.ranges.push_back(next);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(map: &mut SequenceMap, sequence: u64) -> Option<u16> {
        map.forward(sequence).map(|mapped| mapped.sequence)
    }

    #[test]
    fn packets_left_out_leave_no_hole() {
        let mut map = SequenceMap::new(100);
        map.switch(7000, 0);
        assert_eq!(forward(&mut map, 7000), Some(100));
        map.leave_out(7001, true);
        map.leave_out(7002, false);
        assert_eq!(forward(&mut map, 7003), Some(101));
        map.leave_out(7004, true);
        assert_eq!(
            map.forward(7005),
            Some(Mapped {
                sequence: 102,
                picture_offset: 65_534,
                newest: true
            })
        );
    }

    #[test]
    fn late_packets_get_the_number_set_aside_for_them() {
        let mut map = SequenceMap::new(100);
        map.switch(70_000, 0);
        assert_eq!(forward(&mut map, 70_000), Some(100));
        map.leave_out(70_002, true);
        assert_eq!(forward(&mut map, 70_004), Some(103));
        assert_eq!(forward(&mut map, 70_001), Some(101));
        assert_eq!(forward(&mut map, 70_003), Some(102));
        assert_eq!(forward(&mut map, 69_999), None);
    }

    #[test]
    fn a_switch_goes_on_with_the_next_number() {
        let mut map = SequenceMap::new(32_000);
        map.switch(5, 0);
        forward(&mut map, 5);
        forward(&mut map, 6);
        map.leave_out(7, true);
        map.switch(900_000, 3);
        assert_eq!(forward(&mut map, 900_000), Some(32_002));
        assert_eq!(forward(&mut map, 6), None);
    }

    #[test]
    fn numbers_wrap_and_memory_is_bounded() {
        let mut map = SequenceMap::new(65_530);
        map.switch(1, 0);
        let mut expected = 65_530u16;
        for sequence in 1..200_000u64 {
            if sequence % 3 == 0 {
                map.leave_out(sequence, true);
            } else {
                assert_eq!(forward(&mut map, sequence), Some(expected));
                expected = expected.wrapping_add(1);
            }
        }
        assert!(map.ranges.len() <= MOST_RANGES);
    }
}
