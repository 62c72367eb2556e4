//! Numbers that wrap on the wire, made to rise for ever.

/// Extends 16-bit sequence numbers to 64 bits. The first number lands in cycle 1, so packets that were
/// sent before it and arrive later have a number too; the low 16 bits are always those on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct SequenceExtender {
    highest: Option<u64>,
}

impl SequenceExtender {
    /// The extended number nearest to the highest one seen. Moves the highest forward.
    #[inline]
    pub fn extend(&mut self, sequence: u16) -> u64 {
        let extended = self.peek(sequence);
        self.highest = Some(
            self.highest
                .map_or(extended, |highest| highest.max(extended)),
        );
        extended
    }

    /// As [`Self::extend`], without moving anything.
    #[inline]
    pub fn peek(&self, sequence: u16) -> u64 {
        nearest(self.highest, u64::from(sequence), 16)
    }

    /// The highest extended number seen.
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// Extends 32-bit RTP timestamps to 64 bits, as [`SequenceExtender`] does.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimestampExtender {
    highest: Option<u64>,
}

impl TimestampExtender {
    #[inline]
    pub fn extend(&mut self, timestamp: u32) -> u64 {
        let extended = self.peek(timestamp);
        self.highest = Some(
            self.highest
                .map_or(extended, |highest| highest.max(extended)),
        );
        extended
    }

    #[inline]
    pub fn peek(&self, timestamp: u32) -> u64 {
        nearest(self.highest, u64::from(timestamp), 32)
    }

    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

#[inline]
fn nearest(highest: Option<u64>, value: u64, bits: u32) -> u64 {
    let span = 1u64 << bits;
    let Some(highest) = highest else {
        return span + value;
    };
    let ahead = value.wrapping_sub(highest) & (span - 1);
    if ahead < span / 2 {
        highest + ahead
    } else {
        highest - (span - ahead)
    }
}

/// Whether `a` is later than `b`, half the circle ahead at most.
#[inline]
pub fn newer_sequence(a: u16, b: u16) -> bool {
    a != b && a.wrapping_sub(b) < 0x8000
}

/// Whether `a` is later than `b`, half the circle ahead at most.
#[inline]
pub fn newer_timestamp(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 0x8000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_and_reorders() {
        let mut extender = SequenceExtender::default();
        assert_eq!(extender.extend(65_534), 65_536 + 65_534);
        assert_eq!(extender.extend(1), 2 * 65_536 + 1);
        assert_eq!(extender.extend(65_535), 65_536 + 65_535);
        assert_eq!(extender.extend(0), 2 * 65_536);
        assert_eq!(extender.highest(), Some(2 * 65_536 + 1));
    }

    #[test]
    fn packet_sent_before_the_first_seen_has_a_lower_number() {
        let mut extender = SequenceExtender::default();
        let first = extender.extend(0);
        assert_eq!(extender.extend(65_535), first - 1);
        assert_eq!(extender.highest(), Some(first));
    }

    #[test]
    fn timestamps_wrap() {
        let mut extender = TimestampExtender::default();
        let first = extender.extend(u32::MAX - 10);
        assert_eq!(extender.extend(949), first + 960);
        assert_eq!(extender.peek(u32::MAX - 970), first - 960);
    }

    #[test]
    fn order_is_that_of_the_circle() {
        assert!(newer_sequence(0, 65_535));
        assert!(!newer_sequence(65_535, 0));
        assert!(!newer_sequence(7, 7));
        assert!(newer_timestamp(5, u32::MAX));
    }

    proptest::proptest! {
        #[test]
        fn low_bits_stay_those_of_the_wire(values: Vec<u16>) {
            let mut extender = SequenceExtender::default();
            for value in values {
                proptest::prop_assert_eq!(extender.extend(value) as u16, value);
            }
        }
    }
}
