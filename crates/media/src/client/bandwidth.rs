//! How much we send: what the path takes, shared among our video layers.

use std::time::Instant;

use super::{Client, ClientEvent};
use crate::api::{MediaKind, TrackId};
use crate::congestion::estimator::{Estimator, EstimatorConfig};
use crate::rtp::rtcp::TransportFeedback;

/// What a camera begins with, in bits a second.
const START: u64 = 1_000_000;
/// Set aside for each audio track.
const AUDIO: u64 = 50_000;
/// Releases may be faster than the estimate, in percent: frames are not all of one size.
const PACE: u64 = 150;
/// And at least so fast, so that a first key frame is not held up.
const SLOWEST_PACE: u64 = 1_200_000;
/// A change that is told, as a share.
const NOTICEABLE: u64 = 20;

pub(super) fn estimator() -> Estimator {
    Estimator::new(EstimatorConfig {
        start: START,
        ..EstimatorConfig::default()
    })
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
        let ledger = connection.queue.ledger();
        let mut arrivals = feedback.received().peekable();
        let packets = (0..feedback.status_count).filter_map(|offset| {
            let sequence = feedback.base_sequence.wrapping_add(offset);
            let arrived = arrivals.next_if(|(number, _)| *number == sequence);
            Some((ledger.get(sequence)?, arrived.map(|(_, at)| at)))
        });
        connection.estimator.feedback(now, packets);
        if let Some(rtt) = connection.transport.round_trip() {
            connection.estimator.set_rtt(rtt);
        }
        let target = connection.estimator.target();
        let pace = (target * PACE / 100).max(SLOWEST_PACE);
        connection.queue.set_rate(Some(pace / 8));
        self.share(target);
    }

    /// Gives the layers of all video tracks their rates, the low ones first, and tells of changes.
    fn share(&mut self, target: u64) {
        let of_kind = |kind| self.sending.iter().filter(move |(_, it)| it.kind == kind);
        let audio = of_kind(MediaKind::Audio).count() as u64;
        let mut left = target.saturating_sub(audio * AUDIO);
        let mut layers: Vec<(usize, TrackId)> = of_kind(MediaKind::Video)
            .flat_map(|(track, it)| (0..it.streams.len()).map(|layer| (layer, *track)))
            .collect();
        layers.sort_unstable();
        for (index, (layer, track)) in layers.iter().enumerate() {
            let like_it = layers.iter().skip(index).filter(|it| it.0 == *layer);
            let share = left / like_it.count().max(1) as u64;
            let sending = self.sending.get_mut(track);
            let Some(stream) = sending.and_then(|it| it.streams.get_mut(*layer)) else {
                continue;
            };
            let mut rate = stream.max_bitrate.min(share);
            // A higher layer that gets too little is worse than none.
            if *layer > 0 && rate < stream.max_bitrate / 2 {
                rate = 0;
            }
            left -= rate;
            let before = stream.bitrate;
            let noticeable = rate.abs_diff(before) > before / NOTICEABLE
                || rate == 0
                || rate == stream.max_bitrate;
            if noticeable && rate != before {
                stream.bitrate = rate;
                self.events.push_back(ClientEvent::Bitrate {
                    track: *track,
                    layer: *layer as u8,
                    bits: rate,
                });
            }
        }
    }
}
