//! Sender reports that are due, and what the subscriber's own reports tell.

use std::time::{Duration, Instant};

use super::Subscription;
use crate::api::MediaKind;
use crate::codec::CodecKind;
use crate::rtp::rtcp::{ReportBlock, SenderInfo};
use crate::track::clock::{WallClock, micros_to_ntp};
use crate::track::quality::Impairment;

const REPORT_INTERVAL: Duration = Duration::from_secs(1);
pub(super) const FIRST_REPORT: Duration = Duration::from_millis(50);
const DEFAULT_RTT: Duration = Duration::from_millis(100);
/// The history of a track that stands still is given back after this.
const HISTORY_IDLE: Duration = Duration::from_secs(3);

/// What receiver reports said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loss {
    cumulative: i32,
    highest: u32,
    jitter: u32,
    scored_cumulative: i32,
    scored_highest: u32,
}

impl Subscription {
    /// A report block about this subscription's SSRC.
    pub fn handle_report(&mut self, now: Instant, clock: &WallClock, block: &ReportBlock) {
        self.heard_of = true;
        if let Some(ticks) = block.round_trip(clock.ntp(now)) {
            let rtt = Duration::from_micros(u64::from(ticks) * 1_000_000 / 65_536);
            self.rtt = Some(self.rtt.map_or(rtt, |before| (before * 7 + rtt) / 8));
        }
        self.loss.cumulative = block.cumulative_lost;
        self.loss.highest = block.highest_sequence;
        self.loss.jitter = block.jitter;
    }

    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.rtt.unwrap_or(DEFAULT_RTT)
    }

    /// When [`Self::poll_report`] is due; `None` while nothing is sent.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.report_due
    }

    /// The sender report that is due: SSRC and contents.
    pub fn poll_report(&mut self, now: Instant, clock: &WallClock) -> Option<(u32, SenderInfo)> {
        if self.report_due.is_none_or(|due| now < due) {
            return None;
        }
        let Some((rtp_timestamp, age)) = self.timeline.at(clock.micros(now)) else {
            self.report_due = None;
            return None;
        };
        // A track that stands still needs no reports and no history.
        if age > HISTORY_IDLE.as_micros() as i64
            && self
                .history
                .newest()
                .is_none_or(|at| now.saturating_duration_since(at) > HISTORY_IDLE)
        {
            self.history.clear();
            self.report_due = None;
            return None;
        }
        self.report_due = Some(now + REPORT_INTERVAL);
        let ntp = micros_to_ntp(clock.micros(now));
        let info = SenderInfo {
            ntp,
            rtp_timestamp,
            packets: self.packets,
            octets: self.octets,
        };
        Some((self.format.ssrc, info))
    }

    /// What the subscriber went through since it was asked last.
    pub fn impairment(&mut self) -> Impairment {
        let expected = self.loss.highest.wrapping_sub(self.loss.scored_highest);
        let lost = self
            .loss
            .cumulative
            .saturating_sub(self.loss.scored_cumulative)
            .max(0) as u64;
        self.loss.scored_highest = self.loss.highest;
        self.loss.scored_cumulative = self.loss.cumulative;
        let rate = self
            .payload
            .map_or(90_000, |payload| payload.clock_rate)
            .max(1);
        let missing = match (self.wanted, self.current) {
            (Some(wanted), Some((_, layer))) if !self.svc => wanted.saturating_sub(layer),
            _ => 0,
        };
        Impairment {
            expected: u64::from(expected).min(1 << 20),
            lost: lost.min(u64::from(expected)),
            jitter_ms: self.loss.jitter as f32 * 1000.0 / rate as f32,
            rtt_ms: self.rtt().as_secs_f32() * 1000.0,
            missing_layers: missing,
            video: self.kind == MediaKind::Video,
            redundant: self
                .payload
                .is_some_and(|payload| payload.codec == CodecKind::Red),
            silent: false,
        }
    }
}
