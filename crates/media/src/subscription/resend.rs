//! Packets sent again when the subscriber asks for them, within a budget.

use std::time::{Duration, Instant};

use super::Subscription;
use super::history::NotResent;
use crate::congestion::pacer::{Priority, SendQueue};

/// Retransmissions may at least take this many bytes a second, and as many as the stream itself: a share of
/// a few percent would lose whole key frames on bad networks.
pub(super) const RATE: u64 = 250_000;
/// A key frame lost as a whole can be resent at once.
pub(super) const BURST: u64 = 512_000;

#[derive(Debug)]
pub(super) struct ResendBudget {
    tokens: u64,
    at: Option<Instant>,
    /// Bytes a second sent lately.
    rate: u64,
    sent: u64,
    since: Option<Instant>,
}

impl Default for ResendBudget {
    fn default() -> Self {
        Self {
            tokens: BURST,
            at: None,
            rate: 0,
            sent: 0,
            since: None,
        }
    }
}

impl ResendBudget {
    pub(super) fn sent(&mut self, now: Instant, bytes: usize) {
        self.sent += bytes as u64;
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= Duration::from_secs(1) {
            self.rate = (self.sent as f64 / elapsed.as_secs_f64()) as u64;
            self.sent = 0;
            self.since = Some(now);
        }
    }

    fn spend(&mut self, now: Instant, bytes: usize) -> bool {
        let elapsed = self
            .at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        let earned = (elapsed.as_secs_f64() * self.rate.max(RATE) as f64) as u64;
        self.tokens = (self.tokens + earned).min(BURST);
        let allowed = self.tokens >= bytes as u64;
        if allowed {
            self.tokens -= bytes as u64;
        }
        allowed
    }
}

impl Subscription {
    /// The subscriber asks again for packets that did not arrive. They leave by RTX where it was
    /// negotiated, otherwise as they were.
    pub fn handle_nack(
        &mut self,
        now: Instant,
        lost: impl IntoIterator<Item = u16>,
        queue: &mut SendQueue,
    ) {
        let rtt = self
            .rtt
            .unwrap_or(Duration::from_millis(20))
            .clamp(Duration::from_millis(5), Duration::from_millis(200));
        for sequence in lost {
            let resent =
                self.history
                    .resend(now, sequence, rtt, self.format.ssrc, self.format.section);
            let mut outgoing = match resent {
                Ok(outgoing) => outgoing,
                Err(NotResent::Unknown | NotResent::TooSoon) => continue,
            };
            if !self.resend.spend(now, outgoing.size()) {
                return;
            }
            let rtx = self
                .format
                .payloads
                .iter()
                .find(|payload| payload.payload_type == outgoing.payload_type);
            if let Some(rtx) = rtx.and_then(|payload| payload.rtx) {
                outgoing.original_sequence = Some(sequence);
                outgoing.sequence = self.rtx_sequence;
                outgoing.ssrc = self.format.rtx_ssrc;
                outgoing.payload_type = rtx;
                self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
            }
            queue.push(now, Priority::Resend, outgoing);
        }
    }
}
