//! Dynacast: which layers of a codec anybody wants, told to the publisher.
//!
//! A rise is told at once, a fall after a pause: somebody who leaves a grid view often comes back.

use std::time::{Duration, Instant};

/// How long a lower wish must last before it is told.
pub const PAUSE_DELAY: Duration = Duration::from_secs(5);
/// The first answer is due by then, even if nobody ever subscribed.
pub const FIRST_UPDATE: Duration = Duration::from_secs(10);

/// Highest wanted quality: `None` is OFF, else 0 LOW … 2 HIGH.
pub type Wanted = Option<u8>;

/// What one codec of one track is wanted in. Wishes are counted, so no subscriber is ever scanned.
#[derive(Debug)]
pub struct Dynacast {
    counts: [u32; 3],
    told: Option<Wanted>,
    /// When a lower wish than the one told becomes due.
    due: Option<Instant>,
}

impl Dynacast {
    /// `now` is when the track was published.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            counts: [0; 3],
            told: None,
            due: Some(now + FIRST_UPDATE),
        }
    }

    /// A subscriber's wish went from `before` to `after`; `None` is a subscriber who wants nothing (not
    /// subscribed, hidden, or bound to another codec).
    pub fn change(&mut self, now: Instant, before: Wanted, after: Wanted) {
        if before == after {
            return;
        }
        if let Some(count) = before.and_then(|quality| self.counts.get_mut(usize::from(quality))) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = after.and_then(|quality| self.counts.get_mut(usize::from(quality))) {
            *count += 1;
        }
        let wanted = self.wanted();
        match self.told {
            None if wanted.is_some() => self.due = Some(now),
            None => {}
            Some(told) if wanted > told => self.due = Some(now),
            Some(told) if wanted == told => self.due = None,
            Some(_) => {
                self.due.get_or_insert(now + PAUSE_DELAY);
            }
        }
    }

    /// The highest quality wanted now.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        (0..3u8)
            .rev()
            .find(|quality| self.counts[usize::from(*quality)] > 0)
    }

    /// What the publisher was told last.
    #[must_use]
    pub fn told(&self) -> Wanted {
        self.told.flatten()
    }

    /// When [`Self::poll`] may have something.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The wish to tell the publisher now, if there is a new one.
    pub fn poll(&mut self, now: Instant) -> Option<Wanted> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        self.due = None;
        let wanted = self.wanted();
        (self.told != Some(wanted)).then(|| {
            self.told = Some(wanted);
            wanted
        })
    }
}

/// `livekit.SubscribedQuality.enabled` by LOW, MEDIUM, HIGH.
#[must_use]
pub fn enabled(wanted: Wanted) -> [bool; 3] {
    std::array::from_fn(|quality| wanted.is_some_and(|wanted| quality <= usize::from(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_told_at_once_and_a_fall_after_five_seconds() {
        let mut now = Instant::now();
        let mut dynacast = Dynacast::new(now);
        dynacast.change(now, None, Some(0));
        assert_eq!(dynacast.poll(now), Some(Some(0)));
        dynacast.change(now, Some(0), Some(2));
        assert_eq!(dynacast.poll(now), Some(Some(2)));
        dynacast.change(now, Some(2), Some(0));
        assert_eq!(dynacast.poll(now), None);
        now += PAUSE_DELAY;
        assert_eq!(dynacast.poll(now), Some(Some(0)));
    }

    #[test]
    fn who_comes_back_in_time_is_not_noticed() {
        let mut now = Instant::now();
        let mut dynacast = Dynacast::new(now);
        dynacast.change(now, None, Some(2));
        dynacast.poll(now);
        dynacast.change(now, Some(2), None);
        now += Duration::from_secs(4);
        dynacast.change(now, None, Some(2));
        now += Duration::from_secs(10);
        assert_eq!(dynacast.poll(now), None);
        assert_eq!(dynacast.deadline(), None);
    }

    #[test]
    fn a_fall_in_steps_is_due_from_its_first_step() {
        let now = Instant::now();
        let mut dynacast = Dynacast::new(now);
        dynacast.change(now, None, Some(2));
        dynacast.poll(now);
        dynacast.change(now, Some(2), Some(1));
        dynacast.change(now + Duration::from_secs(3), Some(1), None);
        assert_eq!(dynacast.poll(now + PAUSE_DELAY), Some(None));
    }

    #[test]
    fn a_track_that_nobody_wants_is_switched_off_by_ten_seconds() {
        let now = Instant::now();
        let mut dynacast = Dynacast::new(now);
        assert_eq!(dynacast.poll(now + Duration::from_secs(9)), None);
        assert_eq!(dynacast.poll(now + FIRST_UPDATE), Some(None));
        assert_eq!(enabled(None), [false; 3]);
        assert_eq!(enabled(Some(1)), [true, true, false]);
    }
}
