//! Sound and pictures of one stream of a participant, played in step.
//!
//! Sound waits in a jitter buffer, pictures don't. So whoever plays the sound says how long after its capture
//! it is heard, and pictures are held until as long after theirs. Pictures that come later than that can't be
//! helped at once: then sound is asked to wait for them, within bounds. When what was captured is told by
//! sender reports; without these, and while either side does not come, nobody waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::track::clock::WallMicros;

/// What was last said holds for so long.
const FRESH: Duration = Duration::from_secs(2);
/// In microseconds: what would have to wait for longer is of another time, or not worth it.
const MOST: i64 = 1_000_000;
/// In microseconds: sound waits for pictures that are later than this, and no longer than that. Nobody notices
/// the one, and the other would be in the way of a conversation.
const UNNOTICED: i64 = 20_000;
const MOST_OF_SOUND: i64 = 250_000;
/// Pictures that their lateness is the mean of.
const PICTURES: i64 = 32;
/// So many have to be seen first: the first one is large.
const FIRST_PICTURES: i64 = 8;

/// Shared by the sinks of what belongs together.
#[derive(Clone, Debug)]
pub struct Synchronization(Arc<Mutex<State>>);

/// Lags are microseconds from capture, by the sender's clock, to a moment since `epoch`: only their differences
/// mean anything.
#[derive(Debug)]
struct State {
    epoch: Instant,
    /// Lag of what is heard, and when that was said.
    sound: Option<(i64, Instant)>,
    /// Mean lag of pictures that are ready to be shown, when the last was, and how many there were.
    pictures: Option<(i64, Instant, i64)>,
}

impl State {
    fn lag(&self, now: Instant, captured: WallMicros) -> i64 {
        now.saturating_duration_since(self.epoch).as_micros() as i64 - captured
    }
}

fn is_fresh(said: Instant, now: Instant) -> bool {
    now.saturating_duration_since(said) <= FRESH
}

impl Synchronization {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State {
            epoch: now,
            sound: None,
            pictures: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sound that was captured then is heard at `now`.
    pub fn heard(&self, now: Instant, captured: WallMicros) {
        let mut state = self.lock();
        state.sound = Some((state.lag(now, captured), now));
    }

    /// There is a pause in the sound, after which it is as late as before.
    pub fn pauses(&self, now: Instant) {
        if let Some((_, said)) = &mut self.lock().sound {
            *said = now;
        }
    }

    /// A picture that was captured then can be shown at `now`.
    pub fn ready(&self, now: Instant, captured: WallMicros) {
        let mut state = self.lock();
        let lag = state.lag(now, captured);
        let before = state
            .pictures
            .filter(|(mean, said, _)| is_fresh(*said, now) && (lag - mean).abs() < MOST);
        let (mean, _, seen) = before.unwrap_or((lag, now, 0));
        let seen = (seen + 1).min(PICTURES);
        state.pictures = Some((mean + (lag - mean) / seen, now, seen));
    }

    /// When a picture is to be shown that is `ready` since then.
    #[must_use]
    pub fn due(&self, ready: Instant, captured: WallMicros) -> Instant {
        let state = self.lock();
        let Some((lag, _)) = state.sound.filter(|(_, said)| is_fresh(*said, ready)) else {
            return ready;
        };
        let early = lag - state.lag(ready, captured);
        if (1..=MOST).contains(&early) {
            ready + Duration::from_micros(early as u64)
        } else {
            ready
        }
    }

    /// How much later sound is to be heard than could be at the earliest, if that is `earliest` for what was
    /// captured then.
    #[must_use]
    pub fn wait_of_sound(&self, now: Instant, earliest: Instant, captured: WallMicros) -> Duration {
        let state = self.lock();
        let pictures = state
            .pictures
            .filter(|(_, said, seen)| *seen >= FIRST_PICTURES && is_fresh(*said, now));
        let late = pictures.map_or(0, |(mean, ..)| mean - state.lag(earliest, captured));
        if late > MOST {
            return Duration::ZERO;
        }
        Duration::from_micros((late - UNNOTICED).clamp(0, MOST_OF_SOUND) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{FrameReader, PacketSink};
    use crate::codec::CodecKind;
    use crate::frame::Packetizer;
    use crate::track::MediaPacket;
    use crate::track::packet::Authored;

    const MS: Duration = Duration::from_millis(1);
    /// By the clock of a sender who knows nothing of ours.
    const CAPTURED: WallMicros = 77_000_000;
    const FRAME: i64 = 40_000;

    /// Pictures of 25 a second, each whole `late` after its capture, and when each is given.
    fn shown(
        start: Instant,
        sync: Option<&Synchronization>,
        synced: bool,
        late: impl Fn(u32) -> Duration,
    ) -> Vec<Duration> {
        let given = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&given);
        let mut reader = FrameReader::new(move |_| {
            *counted.lock().unwrap() += 1;
            true
        });
        reader.synchronize(sync.cloned());
        let mut packetizer = Packetizer::new(CodecKind::Vp8, 1_000, 1);
        // Of a key frame, by its first bits and its start code.
        let picture = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0, 1, 2, 3];
        let mut shown = Vec::new();
        let mut note = |now: Instant| {
            let given = *given.lock().unwrap();
            shown.resize(given, now.saturating_duration_since(start));
        };
        for number in 0..20 {
            let now = start + number * 40 * MS + late(number);
            while let Some(due) = reader.poll_timeout().filter(|due| *due < now) {
                reader.handle_timeout(due);
                note(due);
            }
            let payloads = packetizer.packetize(&picture, true);
            let packet = MediaPacket::authored(Authored {
                codec: CodecKind::Vp8,
                sequence: number.into(),
                timestamp: number * 3_600,
                marker: true,
                keyframe: true,
                now,
                wall: CAPTURED + i64::from(number) * FRAME,
                audio_level: None,
                payload: &payloads[0],
                primary: payloads[0].len(),
            });
            let packet = MediaPacket {
                synced,
                ..packet.unwrap()
            };
            reader.packet(now, &Arc::new(packet));
            note(now);
        }
        while let Some(due) = reader.poll_timeout() {
            reader.handle_timeout(due);
            note(due);
        }
        let late = |(number, at)| at - number as u32 * 40 * MS;
        shown.into_iter().enumerate().map(late).collect()
    }

    /// Sound that is heard so long after its capture.
    fn hearing(start: Instant, late: Duration) -> Synchronization {
        let sync = Synchronization::new(start);
        sync.heard(start + late, CAPTURED);
        sync
    }

    #[test]
    fn pictures_are_shown_when_the_sound_of_their_time_is_heard() {
        let start = Instant::now();
        let sync = hearing(start, 120 * MS);
        // However late they come, before that.
        let uneven = |number| (number % 4) * 30 * MS;
        assert_eq!(shown(start, Some(&sync), true, uneven), [120 * MS; 20]);
    }

    #[test]
    fn a_late_picture_is_shown_at_once_and_those_after_it_in_their_time() {
        let start = Instant::now();
        let sync = hearing(start, 100 * MS);
        // One was lost and sent again, and holds up those that follow.
        let late = |number| match number {
            5..9 => (9 - number) * 40 * MS,
            _ => 10 * MS,
        };
        let shown = shown(start, Some(&sync), true, late);
        assert_eq!(shown[5..9], [160 * MS, 120 * MS, 100 * MS, 100 * MS]);
        assert_eq!(shown[9..], [100 * MS; 11]);
    }

    #[test]
    fn pictures_wait_for_nothing_that_is_not_known_or_not_heard() {
        let start = Instant::now();
        let at_once = [10 * MS; 20];
        let sync = hearing(start, 120 * MS);
        assert_eq!(shown(start, None, true, |_| 10 * MS), at_once);
        assert_eq!(shown(start, Some(&sync), false, |_| 10 * MS), at_once);
        let alone = Synchronization::new(start);
        assert_eq!(shown(start, Some(&alone), true, |_| 10 * MS), at_once);
        let other_time = hearing(start, 1_200 * MS);
        assert_eq!(shown(start, Some(&other_time), true, |_| 10 * MS), at_once);
        let long_ago = Synchronization::new(start);
        long_ago.heard(start, CAPTURED - 120_000);
        let later = start + 2_100 * MS;
        assert_eq!(long_ago.due(later, CAPTURED + 2_100_000), later);
        // Unless it pauses.
        long_ago.pauses(start + 2_000 * MS);
        assert_eq!(long_ago.due(later, CAPTURED + 2_100_000), later + 120 * MS);
    }

    fn wait(late: Duration, pictures: u32, now: Duration) -> Duration {
        let start = Instant::now();
        let sync = Synchronization::new(start);
        for number in 0..pictures {
            let captured = CAPTURED + i64::from(number) * FRAME;
            sync.ready(start + number * 40 * MS + late, captured);
        }
        // Sound could be heard 10 ms after its capture.
        sync.wait_of_sound(start + now, start + 10 * MS, CAPTURED)
    }

    #[test]
    fn sound_waits_for_pictures_that_are_later_by_more_than_anybody_notices() {
        let now = 4_000 * MS;
        assert_eq!(wait(25 * MS, 100, now), Duration::ZERO);
        assert_eq!(wait(90 * MS, 100, now), 60 * MS);
        assert_eq!(wait(600 * MS, 100, now), 250 * MS);
        assert_eq!(wait(1_100 * MS, 100, now), Duration::ZERO);
        // The first are large, and these came long ago.
        assert_eq!(wait(90 * MS, 7, 280 * MS), Duration::ZERO);
        assert_eq!(wait(90 * MS, 100, 6_100 * MS), Duration::ZERO);
    }
}
