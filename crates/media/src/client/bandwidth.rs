//! How much we send: what the path takes, shared among the video layers that somebody takes.
//!
//! An estimate rises no further than what was sent bears out. So a layer that does not fit is tried all the
//! same, when the path has been calm: soon at first, then ever more rarely while it fails.

use std::time::{Duration, Instant};

use super::{Client, ClientEvent};
use crate::api::{MediaKind, TrackId};
use crate::congestion::estimator::{Estimator, EstimatorConfig};
use crate::rtp::rtcp::TransportFeedback;

/// What a camera begins with, in bits a second.
const START: u64 = 1_000_000;
/// The same where nothing is in the way.
const MEMORY: u64 = 50_000_000;
/// Set aside for each audio track.
const AUDIO: u64 = 50_000;
/// What a picture needs.
const LEAST: u64 = 30_000;
/// Releases may be faster than the estimate, in percent: frames are not all of one size.
const PACE: u64 = 150;
/// And at least so fast, so that a first key frame is not held up.
const SLOWEST_PACE: u64 = 1_200_000;
/// A change that is told, as a share.
const NOTICEABLE: u64 = 20;
/// Between two tries while none has failed: what the last one did shows by then.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The same after one has failed.
const NEXT_WAIT: Duration = Duration::from_secs(2);
/// From a layer's end to the next try.
const SHORTEST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(40);
/// A layer that stayed so long was worth its try.
const PROVEN: Duration = Duration::from_secs(10);

pub(super) fn estimator(in_memory: bool) -> Estimator {
    Estimator::new(EstimatorConfig {
        start: if in_memory { MEMORY } else { START },
        ..EstimatorConfig::default()
    })
}

/// When the next layer may be tried.
#[derive(Debug, Default)]
pub(super) struct Trials {
    next: Option<Instant>,
    last: Option<Instant>,
    /// What was waited after the last failure.
    wait: Duration,
}

impl Trials {
    fn is_due(&mut self, now: Instant) -> bool {
        *self.next.get_or_insert(now + FIRST_WAIT) <= now
    }

    fn tried(&mut self, now: Instant) {
        self.last = Some(now);
        let failed = !self.wait.is_zero();
        self.next = Some(now + if failed { NEXT_WAIT } else { FIRST_WAIT });
    }

    /// A layer had to end.
    fn failed(&mut self, now: Instant) {
        let proven = |at: Instant| now.saturating_duration_since(at) >= PROVEN;
        self.wait = match self.last.take() {
            Some(at) if !proven(at) => (self.wait * 2).clamp(SHORTEST_WAIT, LONGEST_WAIT),
            // Further ones of the same fall.
            None if self.next.is_some_and(|next| now < next) => self.wait.max(SHORTEST_WAIT),
            _ => SHORTEST_WAIT,
        };
        self.next = Some(now + self.wait);
    }
}

/// One layer that wants to be sent.
struct Wanting {
    layer: usize,
    track: TrackId,
    max: u64,
    told: Option<u64>,
}

impl Wanting {
    fn runs(&self) -> bool {
        self.layer == 0 || self.told.is_some_and(|told| told > 0)
    }

    /// A higher layer that gets less is worse than none. One that is sent is kept a little below that.
    fn least(&self) -> u64 {
        match self.layer {
            0 => LEAST,
            _ if self.runs() => self.max * 2 / 5,
            _ => self.max / 2,
        }
    }
}

impl Client {
    pub(super) fn take_transport_feedback(
        &mut self,
        now: Instant,
        feedback: &TransportFeedback<'_>,
    ) {
        let Some(connection) = self.connections.first_mut() else {
            return;
        };
        let packets = connection.queue.ledger().told(feedback);
        connection.estimator.feedback(now, packets);
        if let Some(rtt) = connection.transport.round_trip() {
            connection.estimator.set_rtt(rtt);
        }
        self.share(now);
    }

    /// Only these layers of a video track are of use; it may be none.
    pub fn use_layers(&mut self, now: Instant, track: TrackId, layers: &[usize]) {
        let Some(sending) = self.sending.get_mut(&track) else {
            return;
        };
        for (layer, stream) in sending.streams.iter_mut().enumerate() {
            stream.wanted = layers.contains(&layer);
        }
        self.share(now);
    }

    /// Layers that somebody takes, the low ones first. What others were told is forgotten.
    fn wanting(&mut self) -> Vec<Wanting> {
        let mut wanting = Vec::new();
        for (track, sending) in &mut self.sending {
            if sending.kind != MediaKind::Video {
                continue;
            }
            let idle = sending.muted || sending.passed && !sending.encoded_wanted;
            for (layer, stream) in sending.streams.iter_mut().enumerate() {
                if idle || !stream.wanted || stream.forward.is_none() {
                    stream.bitrate = None;
                    continue;
                }
                wanting.push(Wanting {
                    layer,
                    track: *track,
                    max: stream.max_bitrate,
                    told: stream.bitrate,
                });
            }
        }
        wanting.sort_by_key(|it| (it.layer, it.track));
        wanting
    }

    /// Gives the layers of all video tracks their rates, the low ones first, and tells of changes.
    pub(super) fn share(&mut self, now: Instant) {
        let wanting = self.wanting();
        let audio = self
            .sending
            .values()
            .filter(|it| it.kind == MediaKind::Audio);
        let audio = audio.count() as u64 * AUDIO;
        let Some(connection) = self.connections.first_mut() else {
            return;
        };
        let estimator = &mut connection.estimator;
        let mut left = estimator.target().saturating_sub(audio);
        let mut rates = Vec::with_capacity(wanting.len());
        let mut tried = false;
        for (index, it) in wanting.iter().enumerate() {
            let like_it = wanting.iter().skip(index);
            let like_it = like_it.filter(|of| of.layer == it.layer).count() as u64;
            let mut rate = it.max.min((left / like_it.max(1)).max(it.least()));
            // The lowest layer goes on in any case: without video nothing more is heard of the path.
            let fits = rate <= left || it.layer == 0;
            if it.runs() {
                if !fits {
                    self.trials.failed(now);
                    rate = 0;
                }
            } else if it.told.is_none() {
                rate = if fits { rate } else { 0 };
            } else {
                // One at a time, also beyond the estimate.
                let easy = fits && self.trials.wait.is_zero();
                let may = easy || self.trials.is_due(now) && (fits || estimator.is_calm(now));
                if !may || tried {
                    rate = 0;
                } else {
                    tried = true;
                    self.trials.tried(now);
                    if !fits {
                        estimator.assume(estimator.target() + rate - left);
                        left = rate;
                    }
                }
            }
            left = left.saturating_sub(rate);
            rates.push(rate);
        }
        let pace = (estimator.target() * PACE / 100).max(SLOWEST_PACE);
        connection.queue.set_rate(Some(pace / 8));
        for (it, rate) in wanting.iter().zip(rates) {
            self.tell_rate(it, rate);
        }
    }

    fn tell_rate(&mut self, of: &Wanting, rate: u64) {
        let noticeable = of.told.is_none_or(|told| {
            let edge = rate == 0 || told == 0 || rate == of.max;
            rate.abs_diff(told) > told / NOTICEABLE || edge && rate != told
        });
        let sending = self.sending.get_mut(&of.track);
        let stream = sending.and_then(|it| it.streams.get_mut(of.layer));
        if noticeable && let Some(stream) = stream {
            stream.bitrate = Some(rate);
            self.events.push_back(ClientEvent::Bitrate {
                track: of.track,
                layer: of.layer as u8,
                bits: rate,
            });
        }
    }
}
