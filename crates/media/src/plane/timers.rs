//! Deadlines of everything in a plane, in one heap.
//!
//! Entries are never removed: an owner takes one that fires too early as a reason to look and arm again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::api::{ParticipantId, RoomId};

/// Whose deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Transport, send queue and feedback of a connection.
    Connection(usize),
    /// Sender report of a subscription.
    Report(usize),
    /// Dynacast of a source.
    Dynacast(usize),
    Speakers(RoomId),
    Quality(RoomId),
    Data(RoomId),
    Liveness(ParticipantId),
}

/// The entries that one owner has in the heap, the earliest last.
///
/// An owner whose deadlines come and go (a send queue, many times a second) adds none while an earlier one is
/// there, so it never has more than a few. Who owns a key tells its entries from those of the key's owner
/// before it.
#[derive(Debug, Default)]
pub(super) struct Armed(Vec<Instant>);

impl Armed {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the owner is looked after at `deadline` or before.
    pub(super) fn covers(&self, deadline: Instant) -> bool {
        self.0.last().is_some_and(|armed| *armed <= deadline)
    }

    /// An entry fired: takes note, and tells whether it is one of this owner's.
    pub(super) fn fired(&mut self, at: Instant) -> bool {
        let known = self.0.iter().rposition(|armed| *armed == at);
        known.map(|index| self.0.remove(index)).is_some()
    }
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64, Timer)>>,
    /// Timers of one instant fire in the order they were armed.
    order: u64,
}

impl Timers {
    pub(super) fn arm(&mut self, at: Instant, timer: Timer) {
        self.order += 1;
        self.heap.push(Reverse((at, self.order, timer)));
    }

    /// Arms a timer of an owner, unless it has an earlier one.
    pub(super) fn arm_owned(&mut self, armed: &mut Armed, at: Instant, timer: Timer) {
        if !armed.covers(at) {
            armed.0.push(at);
            self.arm(at, timer);
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// A timer that is due, and when it was due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((at, _, timer))| (at, timer))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_owner_whose_deadlines_come_and_go_has_few_entries() {
        let start = Instant::now();
        let mut timers = Timers::default();
        let mut armed = Armed::default();
        let mut now = start;
        for _ in 0..10_000 {
            now += Duration::from_millis(10);
            // A distant deadline that moves on, and a near one.
            timers.arm_owned(
                &mut armed,
                now + Duration::from_secs(10),
                Timer::Connection(1),
            );
            timers.arm_owned(
                &mut armed,
                now + Duration::from_millis(1),
                Timer::Connection(1),
            );
            now += Duration::from_millis(1);
            while let Some((at, _)) = timers.pop(now) {
                assert!(armed.fired(at));
            }
        }
        assert!(timers.heap.len() <= 2, "{}", timers.heap.len());
        assert!(!armed.is_empty());
    }

    #[test]
    fn an_entry_of_the_owner_before_is_told_apart() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.arm_owned(&mut Armed::default(), start, Timer::Report(7));
        let mut armed = Armed::default();
        let own = start + Duration::from_millis(1);
        timers.arm_owned(&mut armed, own, Timer::Report(7));
        let (at, _) = timers.pop(own).unwrap();
        assert!(!armed.fired(at) && !armed.is_empty());
        let (at, _) = timers.pop(own).unwrap();
        assert!(armed.fired(at) && armed.is_empty());
    }

    #[test]
    fn fires_in_order_of_time_then_of_arming() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.arm(start + Duration::from_secs(2), Timer::Connection(1));
        timers.arm(start + Duration::from_secs(1), Timer::Connection(3));
        timers.arm(start + Duration::from_secs(1), Timer::Connection(2));
        assert_eq!(timers.pop(start), None);
        let later = start + Duration::from_secs(2);
        let fired: Vec<_> = std::iter::from_fn(|| timers.pop(later))
            .map(|(_, timer)| timer)
            .collect();
        assert_eq!(
            fired,
            [
                Timer::Connection(3),
                Timer::Connection(2),
                Timer::Connection(1)
            ]
        );
    }
}
