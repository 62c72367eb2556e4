//! Audio that follows the way it takes: more against loss where packets are lost, less where there is no room.
//!
//! Servers tell of lost audio by their reports alone. What video's feedback says of the path counts for audio
//! too, while it comes.

use std::time::Instant;

use super::Client;
use crate::api::MediaKind;
use crate::rtp::rtcp::ReportBlock;

/// Percent of loss that frames are prepared for, and the first of all.
const LEVELS: [u8; 4] = [1, 5, 10, 20];
const FIRST_LEVEL: u8 = 5;
/// A level is left downwards below that share of it, in percent.
const LEFT_BELOW: f64 = 0.7;
/// How much of the average a new report makes.
const WEIGHT: f64 = 0.3;
/// Loss in percent above which less is sent, and up to which more may be.
const LOSSY: f64 = 10.0;
const CLEAN: f64 = 2.0;
const RISE: f64 = 1.08;
/// Bits a second of frames: the most that is of use, and what speech needs.
const MOST: f64 = 510_000.0;
const LEAST: f64 = 16_000.0;
/// What each stream's headers take: 50 packets a second.
const HEADERS: u64 = 10_000;
/// Of frames while loss makes them less, to begin with.
const USUAL: f64 = 64_000.0;

#[derive(Debug)]
pub(super) struct Voice {
    /// Percent, on average.
    lost: f64,
    level: u8,
    /// Bits a second that loss leaves.
    by_loss: f64,
    told: (u64, u8),
}

impl Default for Voice {
    fn default() -> Self {
        Self {
            lost: FIRST_LEVEL.into(),
            level: FIRST_LEVEL,
            by_loss: MOST,
            told: (MOST as u64, FIRST_LEVEL),
        }
    }
}

impl Voice {
    fn reported(&mut self, fraction_lost: u8) {
        let lost = f64::from(fraction_lost) / 2.56;
        self.lost += (lost - self.lost) * WEIGHT;
        let reached = LEVELS.into_iter().rfind(|it| f64::from(*it) <= self.lost);
        let reached = reached.unwrap_or(LEVELS[0]);
        if reached > self.level || self.lost < f64::from(self.level) * LEFT_BELOW {
            self.level = reached;
        }
        if self.lost > LOSSY && lost > LOSSY {
            self.by_loss = (self.by_loss.min(USUAL) * (1.0 - lost / 200.0)).max(LEAST);
        } else if lost < CLEAN {
            self.by_loss = (self.by_loss * RISE).min(MOST);
        }
    }

    /// What to do now, if it is anything new. `room`: bits a second of frames that the path has for it.
    fn advice(&mut self, room: Option<u64>) -> Option<(u64, u8)> {
        let bits = room.map_or(self.by_loss, |room| self.by_loss.min(room as f64));
        let bits = bits.max(LEAST) as u64;
        let (told, level) = self.told;
        // Small changes cost more than they are worth.
        if level == self.level && bits.abs_diff(told) <= told / 10 {
            return None;
        }
        self.told = (bits, self.level);
        Some(self.told)
    }
}

impl Client {
    /// A report of an audio track came.
    pub(super) fn adapt_voice(&mut self, now: Instant, block: &ReportBlock) {
        let voices = self.sending.values();
        let voices = voices.filter(|it| it.kind == MediaKind::Audio && !it.muted);
        let voices = voices.count().max(1) as u64;
        let Some(connection) = self.connections.first() else {
            return;
        };
        let share = connection
            .estimator
            .is_heard(now)
            .then(|| connection.estimator.target() / voices);
        let Some((track, _)) = connection.by_ssrc.get(&block.ssrc) else {
            return;
        };
        let Some(sending) = self.sending.get_mut(track) else {
            return;
        };
        let copies = if sending.red.is_some() { 2 } else { 1 };
        let room = share.map(|share| share.saturating_sub(HEADERS) / copies);
        sending.voice.reported(block.fraction_lost);
        if let Some(source) = &mut sending.source
            && let Some((bits, loss)) = sending.voice.advice(room)
        {
            source.adapt(bits, loss);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(voice: &mut Voice, reports: usize, percent: f64) -> u8 {
        (0..reports).for_each(|_| voice.reported((percent * 2.56) as u8));
        voice.level
    }

    #[test]
    fn frames_are_prepared_for_the_loss_that_reports_tell_of() {
        let mut voice = Voice::default();
        assert_eq!(after(&mut voice, 3, 0.0), 1);
        assert_eq!(after(&mut voice, 20, 12.0), 10);
        // A little less is no reason to change.
        assert_eq!(after(&mut voice, 20, 8.0), 10);
        assert_eq!(after(&mut voice, 20, 6.0), 5);
        assert_eq!(after(&mut voice, 20, 30.0), 20);
        assert_eq!(after(&mut voice, 30, 0.0), 1);
    }

    #[test]
    fn heavy_loss_makes_frames_smaller_and_they_grow_again() {
        let mut voice = Voice::default();
        after(&mut voice, 2, 5.0);
        assert_eq!(voice.advice(None).map(|it| it.0), None);
        after(&mut voice, 60, 30.0);
        assert_eq!(voice.advice(None), Some((16_000, 20)));
        assert_eq!(voice.advice(None), None);
        after(&mut voice, 60, 0.0);
        assert_eq!(voice.advice(None), Some((510_000, 1)));
    }

    #[test]
    fn frames_fit_the_room_there_is_but_speech_stays_intelligible() {
        let mut voice = Voice::default();
        assert_eq!(voice.advice(Some(40_000)), Some((40_000, 5)));
        assert_eq!(voice.advice(Some(38_000)), None);
        assert_eq!(voice.advice(Some(3_000)), Some((16_000, 5)));
        assert_eq!(voice.advice(Some(900_000)), Some((510_000, 5)));
    }
}
