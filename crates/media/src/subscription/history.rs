//! Packets sent, kept to be sent again. Takes no memory until something is sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::congestion::outgoing::{Outgoing, Patch, SectionId};
use crate::track::packet::MediaPacket;

/// Older packets come too late for any jitter buffer.
const LONGEST: Duration = Duration::from_millis(1500);
const MOST_PACKETS: usize = 4096;
/// Payload bytes one subscription may keep alive.
const MOST_BYTES: usize = 2 << 20;

#[derive(Debug)]
struct Sent {
    packet: Arc<MediaPacket>,
    at: Instant,
    resent: Option<Instant>,
    timestamp: u32,
    patch: Patch,
    frame_offset: u16,
    payload_type: u8,
    marker: bool,
    primary_only: bool,
    with_mid: bool,
}

/// By outgoing number, oldest first; numbers that were never sent are empty.
#[derive(Debug, Default)]
pub(super) struct History {
    first: u16,
    sent: VecDeque<Option<Sent>>,
    bytes: usize,
}

/// Why a packet is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotResent {
    Unknown,
    /// It was sent or resent just now; the request crossed it.
    TooSoon,
}

impl History {
    pub(super) fn push(&mut self, now: Instant, outgoing: &Outgoing) {
        let index = usize::from(outgoing.sequence.wrapping_sub(self.first));
        let late = self.sent.len();
        if late == 0 {
            self.first = outgoing.sequence;
            self.bytes = 0;
        } else if index >= 0x8000 {
            // From before all that is kept.
            return;
        } else if index >= late + MOST_PACKETS {
            self.sent.clear();
            self.bytes = 0;
            self.first = outgoing.sequence;
        }
        let index = usize::from(outgoing.sequence.wrapping_sub(self.first));
        if index >= self.sent.len() {
            self.sent.resize_with(index + 1, || None);
        }
        self.bytes += outgoing.packet.payload().len();
        if let Some(slot) = self.sent.get_mut(index) {
            *slot = Some(Sent {
                packet: Arc::clone(&outgoing.packet),
                at: now,
                resent: None,
                timestamp: outgoing.timestamp,
                patch: outgoing.patch,
                frame_offset: outgoing.frame_offset,
                payload_type: outgoing.payload_type,
                marker: outgoing.marker,
                primary_only: outgoing.primary_only,
                with_mid: outgoing.with_mid,
            });
        }
        self.expire(now);
    }

    fn expire(&mut self, now: Instant) {
        while let Some(front) = self.sent.front() {
            let keep = front
                .as_ref()
                .is_some_and(|sent| now.saturating_duration_since(sent.at) <= LONGEST);
            if keep && self.sent.len() <= MOST_PACKETS && self.bytes <= MOST_BYTES {
                break;
            }
            if let Some(sent) = self.sent.pop_front().flatten() {
                self.bytes = self.bytes.saturating_sub(sent.packet.payload().len());
            }
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Forgets everything and gives its memory back.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When the newest packet was sent.
    pub(super) fn newest(&self) -> Option<Instant> {
        self.sent
            .back()
            .and_then(Option::as_ref)
            .map(|sent| sent.at)
    }

    /// The packet with an outgoing number, as it was sent. `rtt` spaces repetitions.
    pub(super) fn resend(
        &mut self,
        now: Instant,
        sequence: u16,
        rtt: Duration,
        ssrc: u32,
        section: SectionId,
    ) -> Result<Outgoing, NotResent> {
        let index = usize::from(sequence.wrapping_sub(self.first));
        let sent = self
            .sent
            .get_mut(index)
            .and_then(Option::as_mut)
            .ok_or(NotResent::Unknown)?;
        // A request within a round trip of the last repetition was made before that could arrive.
        if sent
            .resent
            .is_some_and(|at| now.saturating_duration_since(at) < rtt)
        {
            return Err(NotResent::TooSoon);
        }
        sent.resent = Some(now);
        Ok(Outgoing {
            packet: Arc::clone(&sent.packet),
            ssrc,
            timestamp: sent.timestamp,
            sequence,
            payload_type: sent.payload_type,
            marker: sent.marker,
            primary_only: sent.primary_only,
            patch: sent.patch,
            frame_offset: sent.frame_offset,
            original_sequence: None,
            section,
            with_mid: sent.with_mid,
        })
    }
}
