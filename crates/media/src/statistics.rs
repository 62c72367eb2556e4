//! Statistics in the terms of W3C's webrtc-stats: dictionaries of named values, which refer to each other by
//! their ids.

use std::time::{Duration, Instant};

use crate::track::clock::WallClock;

/// What a member of a dictionary is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Flag(bool),
    Text(String),
    Number(f64),
    Whole(i64),
    /// Of those that there were so far.
    Count(u64),
    /// A sum so far.
    Total(f64),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Whole(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Whole(value.into())
    }
}

/// One dictionary, such as `RTCInboundRtpStreamStats`. Its members have W3C's names and units.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// `inbound-rtp` and so on.
    pub kind: &'static str,
    pub id: String,
    pub values: Vec<(&'static str, Value)>,
}

impl Report {
    #[must_use]
    pub fn new(kind: &'static str, id: String) -> Self {
        Self {
            kind,
            id,
            values: Vec::new(),
        }
    }

    /// Sets a member, in the place of what it was.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        let value = value.into();
        match self.member(name) {
            Some(known) => *known = value,
            None => self.values.push((name, value)),
        }
    }

    /// Adds to a member that counts.
    pub fn count(&mut self, name: &'static str, more: u64) {
        match self.member(name) {
            Some(Value::Count(so_far)) => *so_far += more,
            _ => self.set(name, Value::Count(more)),
        }
    }

    /// Adds to a member that is a sum.
    pub fn total(&mut self, name: &'static str, more: f64) {
        match self.member(name) {
            Some(Value::Total(so_far)) => *so_far += more,
            _ => self.set(name, Value::Total(more)),
        }
    }

    /// Keeps nothing but counts and sums, to go on with them later.
    pub fn keep_sums(&mut self) {
        self.values
            .retain(|(_, value)| matches!(value, Value::Count(_) | Value::Total(_)));
    }

    /// The value of a member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let mut values = self.values.iter();
        values
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    fn member(&mut self, name: &str) -> Option<&mut Value> {
        let mut values = self.values.iter_mut();
        values
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

/// A moment as W3C tells it: milliseconds since 1970.
#[must_use]
pub fn timestamp(clock: &WallClock, at: Instant) -> f64 {
    clock.micros(at) as f64 / 1_000.0
}

/// How many a second there were lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    since: Option<Instant>,
    count: u32,
    last: f64,
}

impl Rate {
    const WINDOW: Duration = Duration::from_secs(1);

    pub fn happened(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= Self::WINDOW {
            self.last = f64::from(self.count) / elapsed.as_secs_f64();
            self.since = Some(now);
            self.count = 0;
        }
        self.count += 1;
    }

    /// 0 when nothing happened for two seconds.
    #[must_use]
    pub fn per_second(&self, now: Instant) -> f64 {
        let elapsed = self.since.map(|since| now.saturating_duration_since(since));
        match elapsed {
            Some(elapsed) if elapsed >= 2 * Self::WINDOW => 0.0,
            Some(elapsed) if elapsed >= Self::WINDOW => {
                f64::from(self.count) / elapsed.as_secs_f64()
            }
            _ => self.last,
        }
    }
}

/// Datagrams of a path, or packets of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
    pub last: Option<Instant>,
}

impl Traffic {
    pub fn add(&mut self, now: Instant, packets: u64, bytes: u64) {
        self.packets += packets;
        self.bytes += bytes;
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_sums_go_on_and_other_members_are_replaced() {
        let mut report = Report::new("inbound-rtp", "I".into());
        for _ in 0..2 {
            report.count("framesDecoded", 3);
            report.total("totalDecodeTime", 0.5);
            report.set("frameWidth", 640_u32);
        }
        assert_eq!(report.get("framesDecoded"), Some(&Value::Count(6)));
        assert_eq!(report.get("totalDecodeTime"), Some(&Value::Total(1.0)));
        report.keep_sums();
        assert_eq!(report.get("frameWidth"), None);
        assert_eq!(report.values.len(), 2);
    }

    #[test]
    fn a_rate_is_that_of_the_last_second_and_ends() {
        let start = Instant::now();
        let mut rate = Rate::default();
        for frame in 0..=40 {
            rate.happened(start + Duration::from_millis(50) * frame);
        }
        let end = start + Duration::from_secs(2);
        assert!((19.0..=21.0).contains(&rate.per_second(end)));
        assert_eq!(rate.per_second(end + Duration::from_secs(2)), 0.0);
    }
}
