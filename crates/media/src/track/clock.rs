//! Clocks: the wall clock of the server, and the mapping of RTP time to it.
//!
//! All streams of a publisher's transport share one offset between its clock and ours, so audio and video
//! stay together even when the publisher's clock is wrong or is set anew (RFC 3550, 6.4.1).

use std::time::{Duration, Instant};

/// Microseconds since the Unix epoch, on the server's clock.
pub type WallMicros = i64;

const NTP_EPOCH: u64 = 2_208_988_800;

/// Ties monotonic time to the wall clock once, so that it never jumps.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    start: Instant,
    unix: Duration,
}

impl WallClock {
    /// `unix` is the time since the Unix epoch at `start`.
    #[must_use]
    pub fn new(start: Instant, unix: Duration) -> Self {
        Self { start, unix }
    }

    #[must_use]
    pub fn micros(&self, now: Instant) -> WallMicros {
        let unix = self.unix.as_micros() as i64;
        match now.checked_duration_since(self.start) {
            Some(after) => unix + after.as_micros() as i64,
            None => unix - self.start.saturating_duration_since(now).as_micros() as i64,
        }
    }

    /// 32.32 fixed-point NTP time.
    #[must_use]
    pub fn ntp(&self, now: Instant) -> u64 {
        micros_to_ntp(self.micros(now))
    }
}

#[must_use]
pub fn micros_to_ntp(micros: WallMicros) -> u64 {
    let micros = micros.max(0) as u64;
    let fraction = ((micros % 1_000_000) << 32) / 1_000_000;
    ((micros / 1_000_000 + NTP_EPOCH) << 32) | fraction
}

/// The wall clock as the sender of `ntp` had it; senders that count from their start give small numbers,
/// which is as good since only the offset to our clock is used.
#[must_use]
pub fn ntp_to_micros(ntp: u64) -> WallMicros {
    let seconds = (ntp >> 32) as i64 - NTP_EPOCH as i64;
    let micros = ((ntp & 0xFFFF_FFFF) * 1_000_000) >> 32;
    seconds * 1_000_000 + micros as i64
}

/// Offset between a publisher's clock and ours, shared by its streams.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerClock {
    /// Ours minus theirs, the least seen: the report that was fastest on its way.
    offset: Option<i64>,
    /// Theirs is kept.
    kept: bool,
}

impl PeerClock {
    /// Of a server, which passes on the reports of several publishers, each by a clock of its own.
    #[must_use]
    pub fn kept() -> Self {
        Self {
            offset: None,
            kept: true,
        }
    }

    /// Takes a sender report's NTP time and returns it on our clock, if that isn't theirs.
    pub fn observe(&mut self, ntp: u64, arrival: WallMicros) -> WallMicros {
        let theirs = ntp_to_micros(ntp);
        if self.kept {
            return theirs;
        }
        let seen = arrival - theirs;
        let offset = match self.offset {
            // Slower reports barely move it, so that drift is followed but queues are not.
            Some(offset) if (seen - offset).abs() < 1_000_000 => {
                if seen < offset {
                    seen
                } else {
                    offset + (seen - offset) / 256
                }
            }
            // The first, or the publisher's clock was set.
            _ => seen,
        };
        self.offset = Some(offset);
        theirs + offset
    }
}

/// RTP time ↔ wall clock of one stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamClock {
    rate: u32,
    reference: Option<Reference>,
}

#[derive(Clone, Copy, Debug)]
struct Reference {
    timestamp: u32,
    wall: WallMicros,
    /// From a sender report, not from an arrival.
    reported: bool,
}

impl StreamClock {
    /// `rate` in Hz.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self {
            rate: rate.max(1),
            reference: None,
        }
    }

    /// A sender report said that `timestamp` is `wall`.
    pub fn report(&mut self, timestamp: u32, wall: WallMicros) {
        self.reference = Some(Reference {
            timestamp,
            wall,
            reported: true,
        });
    }

    /// What was known is void: the stream stood still or started anew.
    pub fn reset(&mut self) {
        self.reference = None;
    }

    /// Wall time of `timestamp`, and whether it rests on a sender report. Before the first report the
    /// arrival of the first packet stands for it.
    pub fn wall(&mut self, timestamp: u32, arrival: WallMicros) -> (WallMicros, bool) {
        let reference = *self.reference.get_or_insert(Reference {
            timestamp,
            wall: arrival,
            reported: false,
        });
        let ticks = i64::from(timestamp.wrapping_sub(reference.timestamp) as i32);
        let wall = reference.wall + ticks * 1_000_000 / i64::from(self.rate);
        if !reference.reported && (wall - arrival).abs() > 2_000_000 {
            // Its clock runs at another rate or stood still: arrival is the better guess.
            self.reference = Some(Reference {
                timestamp,
                wall: arrival,
                reported: false,
            });
            return (arrival, false);
        }
        (wall, reference.reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_and_micros_agree() {
        let micros = 1_700_000_000_123_456;
        assert!((ntp_to_micros(micros_to_ntp(micros)) - micros).abs() <= 1);
    }

    #[test]
    fn all_streams_of_a_peer_share_one_offset_whatever_its_clock_says() {
        let mut peer = PeerClock::default();
        // The publisher's clock counts from its start.
        let audio = peer.observe(5 << 32, 1_000_000_000);
        let video = peer.observe((5 << 32) + (1 << 31), 1_000_540_000);
        assert!(((video - audio) - 500_000).abs() < 1_000);
    }

    #[test]
    fn a_clock_that_is_set_anew_moves_the_offset_at_once() {
        let mut peer = PeerClock::default();
        peer.observe(5 << 32, 1_000_000_000);
        assert_eq!(peer.observe(500 << 32, 1_001_000_000), 1_001_000_000);
    }

    #[test]
    fn wall_follows_reports_across_the_timestamp_wrap() {
        let mut clock = StreamClock::new(90_000);
        assert_eq!(clock.wall(10, 5_000), (5_000, false));
        clock.report(u32::MAX - 44_999, 1_000_000);
        assert_eq!(clock.wall(45_000, 9_999_999), (2_000_000, true));
    }
}
