//! Active speakers, from the audio levels of RFC 6464.
//!
//! Windows are measured in time, never in packets: with DTX hardly any packet comes in silence. Loudness
//! of an interval is an energy-free EMA over the levels that were active, and a speaker is one whose
//! active time reached the share the room asks for.

use std::time::{Duration, Instant};

use crate::api::SpeakerSettings;

/// Levels are told in eighths.
const STEPS: f32 = 8.0;

/// The level meter of one microphone track.
#[derive(Debug)]
pub struct LevelMeter {
    /// When the last packet came, which is what its duration is measured from.
    last: Option<Instant>,
    active: Duration,
    loudest: u8,
    smoothed: f32,
    reported: Loudness,
}

/// What listeners are told of one speaker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loudness {
    /// 0..=1, linear, in eighths.
    pub level: f32,
    pub active: bool,
}

impl Default for LevelMeter {
    fn default() -> Self {
        Self::new()
    }
}

impl LevelMeter {
    #[must_use]
    pub fn new() -> Self {
        Self {
            last: None,
            active: Duration::ZERO,
            loudest: 127,
            smoothed: 0.0,
            reported: Loudness::default(),
        }
    }

    /// Takes the level of one packet, in −dBov (0 loudest, 127 silence). It is taken to have lasted since
    /// the packet before, at most an interval, as livekit-server does: with DTX the first word after a
    /// silence counts at once.
    pub fn observe(&mut self, now: Instant, level: u8, settings: &SpeakerSettings) {
        let lasted = self
            .last
            .map_or(Duration::from_millis(20), |last| {
                now.saturating_duration_since(last)
            })
            .min(Duration::from_millis(u64::from(
                settings.update_interval_ms,
            )));
        self.last = Some(now);
        if level <= settings.active_level {
            self.active += lasted;
            self.loudest = self.loudest.min(level);
        }
    }

    /// The track was muted or ended: what was heard before no longer counts.
    pub fn silence(&mut self) {
        self.active = Duration::ZERO;
        self.loudest = 127;
        self.smoothed = 0.0;
    }

    /// Ends an interval. Returns the loudness if it differs from what was told before.
    pub fn tick(&mut self, settings: &SpeakerSettings) -> Option<Loudness> {
        let interval = Duration::from_millis(u64::from(settings.update_interval_ms));
        let needed = interval * u32::from(settings.min_percentile) / 100;
        let level = if self.active >= needed && !self.active.is_zero() {
            // The share of the interval that was spoken weighs as attenuation, as people hear it.
            let share = (self.active.as_secs_f32() / interval.as_secs_f32()).min(1.0);
            let decibels = -f32::from(self.loudest) + 20.0 * share.log10();
            10f32.powf(decibels / 20.0)
        } else {
            0.0
        };
        self.active = Duration::ZERO;
        self.loudest = 127;
        let weight = 2.0 / (settings.smooth_intervals.max(1) as f32 + 1.0);
        self.smoothed += (level - self.smoothed) * weight;
        let threshold = 10f32.powf(-f32::from(settings.active_level) / 20.0);
        let active = self.smoothed >= threshold;
        if !active && level == 0.0 {
            self.smoothed = 0.0;
        }
        let told = Loudness {
            level: if active {
                (self.smoothed * STEPS).ceil() / STEPS
            } else {
                0.0
            },
            active,
        };
        let changed = told != self.reported;
        self.reported = told;
        changed.then_some(told)
    }

    /// What was told last, for a listener who comes later.
    #[must_use]
    pub fn loudness(&self) -> Loudness {
        self.reported
    }

    /// Nothing to do at the next tick.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.active.is_zero() && self.smoothed == 0.0 && self.reported == Loudness::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speak(meter: &mut LevelMeter, now: &mut Instant, level: u8, packets: u32) {
        for _ in 0..packets {
            *now += Duration::from_millis(20);
            meter.observe(*now, level, &SpeakerSettings::default());
        }
    }

    #[test]
    fn a_voice_is_active_after_one_interval() {
        let (mut meter, mut now) = (LevelMeter::new(), Instant::now());
        speak(&mut meter, &mut now, 20, 20);
        let told = meter.tick(&SpeakerSettings::default()).unwrap();
        assert!(told.active);
        assert!(told.level > 0.0 && (told.level * 8.0).fract() == 0.0);
    }

    #[test]
    fn quiet_noise_and_short_clicks_are_not_speech() {
        let (mut meter, mut now) = (LevelMeter::new(), Instant::now());
        speak(&mut meter, &mut now, 60, 20);
        assert_eq!(meter.tick(&SpeakerSettings::default()), None);
        speak(&mut meter, &mut now, 10, 5);
        speak(&mut meter, &mut now, 80, 15);
        assert_eq!(meter.tick(&SpeakerSettings::default()), None);
    }

    #[test]
    fn a_short_sound_after_a_silence_without_packets_is_noticed() {
        let (mut meter, mut now) = (LevelMeter::new(), Instant::now());
        meter.observe(now, 127, &SpeakerSettings::default());
        now += Duration::from_millis(800);
        speak(&mut meter, &mut now, 10, 2);
        assert!(meter.tick(&SpeakerSettings::default()).unwrap().active);
    }

    #[test]
    fn silence_with_dtx_ends_the_speaker_within_two_seconds() {
        let (mut meter, mut now) = (LevelMeter::new(), Instant::now());
        speak(&mut meter, &mut now, 5, 100);
        assert!(meter.tick(&SpeakerSettings::default()).unwrap().active);
        let mut ticks = 0;
        while meter.loudness().active {
            // One comfort-noise packet each 400 ms.
            now += Duration::from_millis(400);
            meter.observe(now, 127, &SpeakerSettings::default());
            meter.tick(&SpeakerSettings::default());
            ticks += 1;
        }
        assert!(ticks * 400 <= 2_000, "{ticks}");
        assert_eq!(meter.loudness().level, 0.0);
        meter.tick(&SpeakerSettings::default());
        assert!(meter.is_idle());
    }

    #[test]
    fn mute_ends_the_speaker_at_the_next_tick() {
        let (mut meter, mut now) = (LevelMeter::new(), Instant::now());
        speak(&mut meter, &mut now, 5, 20);
        assert!(meter.tick(&SpeakerSettings::default()).unwrap().active);
        meter.silence();
        assert_eq!(
            meter.tick(&SpeakerSettings::default()),
            Some(Loudness::default())
        );
    }

    #[test]
    fn an_unchanged_level_is_told_once() {
        let (mut meter, mut now) = (LevelMeter::new(), Instant::now());
        let mut told = 0;
        for _ in 0..20 {
            speak(&mut meter, &mut now, 20, 20);
            told += u32::from(meter.tick(&SpeakerSettings::default()).is_some());
        }
        assert!(told <= 3, "{told}");
    }
}
