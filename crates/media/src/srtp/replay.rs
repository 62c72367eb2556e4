//! Packet indices: the roll-over counter and the window of indices seen (RFC 3711 section 3.3).

/// Indices of RTP packets behind the highest that can still be told apart.
pub(super) const RTP_WINDOW: u64 = 1_024;
const WORDS: usize = (RTP_WINDOW / 64) as usize;

/// Indices seen of an RTP stream.
#[derive(Clone, Debug)]
pub(super) struct RtpWindow {
    highest: u64,
    /// Bit `index % RTP_WINDOW` for the indices from `highest` down.
    seen: [u64; WORDS],
}

impl RtpWindow {
    /// A window that has seen `first` only.
    pub(super) fn new(first: u64) -> Self {
        let mut window = Self {
            highest: first,
            seen: [0; WORDS],
        };
        window.set(first, true);
        window
    }

    /// The 48-bit index nearest to the highest, for a sequence number (RFC 3711 appendix A). Below the
    /// first cycle there is nothing: such a number belongs to the first.
    #[inline]
    pub(super) fn index(&self, sequence: u16) -> u64 {
        let ahead = u64::from(sequence.wrapping_sub(self.highest as u16));
        if ahead < 0x8000 {
            return self.highest + ahead;
        }
        self.highest
            .checked_sub(0x1_0000 - ahead)
            .unwrap_or(u64::from(sequence))
    }

    /// Whether the index is neither seen nor too old.
    #[inline]
    pub(super) fn is_fresh(&self, index: u64) -> bool {
        index > self.highest || (self.highest - index < RTP_WINDOW && !self.get(index))
    }

    /// The index of a sequence number that is in the window and was seen.
    pub(super) fn seen(&self, sequence: u16) -> Option<u64> {
        let index = self.index(sequence);
        let remembered = index <= self.highest && self.highest - index < RTP_WINDOW;
        (remembered && self.get(index)).then_some(index)
    }

    #[inline]
    pub(super) fn insert(&mut self, index: u64) {
        if index > self.highest {
            if index - self.highest >= RTP_WINDOW {
                self.seen = [0; WORDS];
            } else {
                for skipped in self.highest + 1..index {
                    self.set(skipped, false);
                }
            }
            self.highest = index;
        }
        self.set(index, true);
    }

    #[inline]
    fn get(&self, index: u64) -> bool {
        self.seen[(index / 64) as usize % WORDS] >> (index % 64) & 1 == 1
    }

    #[inline]
    fn set(&mut self, index: u64, value: bool) {
        let word = &mut self.seen[(index / 64) as usize % WORDS];
        *word = *word & !(1 << (index % 64)) | u64::from(value) << (index % 64);
    }
}

/// Indices seen of an RTCP source, 128 behind the highest.
#[derive(Clone, Copy, Debug)]
pub(super) struct RtcpWindow {
    highest: u32,
    /// Bit 0 is the highest.
    seen: u128,
}

impl RtcpWindow {
    pub(super) fn new(first: u32) -> Self {
        Self {
            highest: first,
            seen: 1,
        }
    }

    pub(super) fn is_fresh(&self, index: u32) -> bool {
        if index > self.highest {
            return true;
        }
        let behind = self.highest - index;
        behind < u128::BITS && self.seen >> behind & 1 == 0
    }

    pub(super) fn insert(&mut self, index: u32) {
        if index > self.highest {
            self.seen = self.seen.checked_shl(index - self.highest).unwrap_or(0);
            self.highest = index;
        }
        self.seen |= 1u128.checked_shl(self.highest - index).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_is_fresh_once_inside_the_window() {
        let mut window = RtpWindow::new(5_000);
        for index in [5_001, 5_010, 5_003, 4_500, 6_000, 5_999] {
            assert!(window.is_fresh(index), "{index}");
            window.insert(index);
            assert!(!window.is_fresh(index), "{index}");
        }
        assert!(window.is_fresh(6_000 - 1_023));
        assert!(!window.is_fresh(6_000 - 1_024));
        window.insert(100_000);
        assert!(window.is_fresh(99_999) && !window.is_fresh(6_001));
    }

    #[test]
    fn index_follows_the_roll_over_both_ways() {
        let mut window = RtpWindow::new(65_530);
        assert_eq!(window.index(4), 65_540);
        window.insert(65_540);
        assert_eq!(window.index(65_533), 65_533);
        assert_eq!(window.index(65_535), 65_535);
        // Nothing lies below the first cycle.
        assert_eq!(RtpWindow::new(3).index(65_000), 65_000);
        assert_eq!(RtpWindow::new(0x8000).index(0), 0);
    }

    #[test]
    fn rtcp_window_spans_128() {
        let mut window = RtcpWindow::new(1_000);
        assert!(!window.is_fresh(1_000) && window.is_fresh(873) && !window.is_fresh(872));
        window.insert(873);
        assert!(!window.is_fresh(873));
        window.insert(1_001);
        assert!(!window.is_fresh(1_000) && !window.is_fresh(873) && window.is_fresh(999));
        window.insert(5_000);
        assert!(window.is_fresh(4_999) && !window.is_fresh(1_001));
    }

    proptest::proptest! {
        #[test]
        fn windows_agree_with_a_set(start in 2_000u64..3_000, steps in proptest::collection::vec(-1_500i64..1_500, 1..300)) {
            let mut window = RtpWindow::new(start);
            let mut small = RtcpWindow::new(start as u32);
            let mut highest = start;
            let mut seen = std::collections::HashSet::from([start]);
            for step in steps {
                let index = highest.saturating_add_signed(step);
                let fresh = !seen.contains(&index);
                let in_window = index + RTP_WINDOW > highest;
                proptest::prop_assert_eq!(window.is_fresh(index), fresh && in_window);
                if fresh && in_window {
                    window.insert(index);
                }
                let in_small = index + 128 > highest;
                if in_small {
                    proptest::prop_assert_eq!(small.is_fresh(index as u32), fresh);
                    small.insert(index as u32);
                } else {
                    proptest::prop_assert!(!small.is_fresh(index as u32));
                }
                if in_window {
                    seen.insert(index);
                }
                highest = highest.max(index);
            }
        }
    }
}
