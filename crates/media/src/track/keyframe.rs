//! Asking a publisher for key frames: throttled, and repeated while none comes.

use std::time::{Duration, Instant};

/// Nothing is asked twice within this time, whoever is new.
const SHORTEST: Duration = Duration::from_millis(300);
/// Unanswered requests after which the interval doubles with each: the publisher may have stopped the layer.
const PATIENT: u32 = 4;
const LONGEST: Duration = Duration::from_secs(16);

/// The wish for a key frame of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyframeRequests {
    wanted: bool,
    /// A wish that cannot wait for the layer's usual interval: somebody sees nothing.
    urgent: bool,
    last: Option<Instant>,
    /// Requests since the last key frame.
    unanswered: u32,
}

/// Between two requests: key frames of high layers are costly.
#[must_use]
pub fn interval(layer: u8) -> Duration {
    if layer == 0 {
        Duration::from_millis(500)
    } else {
        Duration::from_secs(1)
    }
}

impl KeyframeRequests {
    pub fn want(&mut self, urgent: bool) {
        self.wanted = true;
        self.urgent |= urgent;
    }

    /// A key frame began.
    pub fn arrived(&mut self) {
        self.wanted = false;
        self.urgent = false;
        self.unanswered = 0;
    }

    /// The stream stopped: nothing is asked of it until somebody wants it again.
    pub fn stop(&mut self) {
        self.arrived();
    }

    #[must_use]
    pub fn deadline(&self, now: Instant, layer: u8) -> Option<Instant> {
        if !self.wanted {
            return None;
        }
        let wait = if self.urgent {
            SHORTEST
        } else {
            let doublings = self.unanswered.saturating_sub(PATIENT).min(5);
            (interval(layer) * (1 << doublings)).min(LONGEST)
        };
        Some(self.last.map_or(now, |last| last + wait))
    }

    /// Whether to ask now.
    pub fn poll(&mut self, now: Instant, layer: u8) -> bool {
        let due = self
            .deadline(now, layer)
            .is_some_and(|deadline| deadline <= now);
        if due {
            self.last = Some(now);
            self.urgent = false;
            self.unanswered = self.unanswered.saturating_add(1);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_made_at_once_and_repeated_until_the_key_frame() {
        let mut now = Instant::now();
        let mut requests = KeyframeRequests::default();
        requests.want(true);
        assert!(requests.poll(now, 2));
        assert!(!requests.poll(now, 2));
        now += interval(2);
        assert!(requests.poll(now, 2));
        requests.arrived();
        now += interval(2);
        assert_eq!(requests.deadline(now, 2), None);
        assert!(!requests.poll(now, 2));
    }

    #[test]
    fn a_newcomer_waits_less_than_half_a_second_even_on_high_layers() {
        let mut now = Instant::now();
        let mut requests = KeyframeRequests::default();
        requests.want(true);
        assert!(requests.poll(now, 2));
        requests.arrived();
        requests.want(true);
        assert!(!requests.poll(now, 2));
        now += Duration::from_millis(300);
        assert!(requests.poll(now, 2));
    }

    #[test]
    fn many_viewers_cost_one_request() {
        let now = Instant::now();
        let mut requests = KeyframeRequests::default();
        let asked = (0..100).filter(|_| {
            requests.want(false);
            requests.poll(now, 0)
        });
        assert_eq!(asked.count(), 1);
    }
}
