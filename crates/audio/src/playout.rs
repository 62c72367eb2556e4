//! What is heard of a received track: one jitter buffer and decoder, and everybody who listens to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use roomful_media::client::{PacketSink, Synchronization};
use roomful_media::codec::CodecKind;
use roomful_media::plain::Content;
use roomful_media::statistics::Report;
use roomful_media::track::MediaPacket;
use roomful_media::track::clock::WallMicros;

use crate::jitter::{Arrival, BLOCK, Heard, JitterBuffer, JitterConfig};
use crate::opus::{OpusError, SAMPLE_RATE};
use crate::resample::{Quality, ResampleError, Resampler};
use crate::source::Samples;

/// Of RTP time.
const TICKS_PER_MS: i64 = SAMPLE_RATE as i64 / 1_000;
/// Of a block.
const STEP: Duration = Duration::from_millis(10);
/// A thread that was held up for longer does not make up for it.
const LONGEST_DELAY: Duration = Duration::from_millis(200);
/// So long after the last frame that passed as it was there is silence.
const REST: Duration = Duration::from_millis(200);

/// Somebody who listens, with rate, channels and frame length of their own.
pub struct Listener {
    conversion: Mutex<Conversion>,
    rate: u32,
    channels: usize,
    /// Samples of all channels in a frame.
    frame: usize,
    take: Box<dyn Fn(Vec<i16>) + Send + Sync>,
}

struct Conversion {
    /// What comes has that rate.
    from: u32,
    resampler: Option<Resampler>,
    /// In the listener's channels, before and after the other rate.
    mapped: Vec<i16>,
    ready: Vec<i16>,
}

impl Listener {
    /// `take` gets each frame, on the thread that plays.
    ///
    /// # Errors
    /// When there is no conversion to that rate or those channels.
    pub fn new(
        rate: u32,
        channels: usize,
        frame: Duration,
        take: impl Fn(Vec<i16>) + Send + Sync + 'static,
    ) -> Result<Self, ResampleError> {
        // One that is not needed still says what cannot be.
        let resampler = Resampler::new(SAMPLE_RATE, rate, channels, Quality::Medium)?;
        let resampler = (rate != SAMPLE_RATE).then_some(resampler);
        let samples = u128::from(rate) * frame.as_micros() / 1_000_000;
        Ok(Self {
            conversion: Mutex::new(Conversion {
                from: SAMPLE_RATE,
                resampler,
                mapped: Vec::new(),
                ready: Vec::new(),
            }),
            rate,
            channels,
            frame: (samples as usize).max(1) * channels,
            take: Box::new(take),
        })
    }

    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Takes samples of any rate in `from` channels.
    fn hear(&self, rate: u32, pcm: &[i16], from: usize) {
        let mut conversion = self
            .conversion
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if conversion.from != rate {
            let resampler = (rate != self.rate)
                .then(|| Resampler::new(rate, self.rate, self.channels, Quality::Medium))
                .transpose();
            let Ok(resampler) = resampler else {
                return;
            };
            conversion.resampler = resampler;
            conversion.from = rate;
        }
        let Conversion {
            from: _,
            resampler,
            mapped,
            ready,
        } = &mut *conversion;
        mapped.clear();
        map_channels(pcm, from, self.channels, mapped);
        match resampler {
            // It fails for no input that is left.
            Some(resampler) => drop(resampler.push(mapped, ready)),
            None => ready.extend_from_slice(mapped),
        }
        while ready.len() >= self.frame {
            (self.take)(ready.drain(..self.frame).collect());
        }
    }
}

/// Mixes stereo down, and repeats what there are too few of.
fn map_channels(pcm: &[i16], from: usize, to: usize, out: &mut Vec<i16>) {
    if from == to {
        return out.extend_from_slice(pcm);
    }
    for frame in pcm.chunks_exact(from.max(1)) {
        if to == 1 {
            let sum: i32 = frame.iter().map(|&sample| i32::from(sample)).sum();
            out.push((sum / from.max(1) as i32) as i16);
        } else {
            out.extend(frame.iter().copied().cycle().take(to));
        }
    }
}

/// Those who listen to a track, shared with whoever adds and removes them.
#[derive(Clone, Default)]
pub struct Audience(Arc<Mutex<Vec<Arc<Listener>>>>);

impl Audience {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Listener>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, listener: Arc<Listener>) {
        let mut listeners = self.lock();
        if !listeners.iter().any(|known| Arc::ptr_eq(known, &listener)) {
            listeners.push(listener);
        }
    }

    /// Whether somebody is left.
    pub fn remove(&self, listener: &Arc<Listener>) -> bool {
        let mut listeners = self.lock();
        listeners.retain(|known| !Arc::ptr_eq(known, listener));
        !listeners.is_empty()
    }
}

/// Decodes a track for its audience, 10 ms at a time.
pub struct Playout {
    audience: Audience,
    buffer: JitterBuffer,
    channels: usize,
    /// When the next block is; `None` before the first packet.
    due: Option<Instant>,
    /// Rate and channels, while frames pass as they are.
    passed: Option<(u32, usize)>,
    synchronization: Option<Synchronization>,
    /// RTP time and capture of the last packet, if a sender report told that.
    captured: Option<(u32, WallMicros)>,
    pcm: Vec<i16>,
}

impl Playout {
    /// Decodes to that many channels, 1 or 2.
    ///
    /// # Errors
    /// When the decoder takes no such number.
    pub fn new(audience: Audience, channels: usize) -> Result<Self, OpusError> {
        let channels = channels.clamp(1, 2);
        let config = JitterConfig {
            channels: channels as u8,
            ..JitterConfig::default()
        };
        Ok(Self {
            audience,
            buffer: JitterBuffer::new(config)?,
            channels,
            due: None,
            passed: None,
            synchronization: None,
            captured: None,
            pcm: Vec::with_capacity(BLOCK * channels),
        })
    }
}

impl Playout {
    /// Tells how late the sound is, of which the next block is heard at `next`, and waits for pictures.
    fn synchronize_with(&mut self, heard: Heard, next: Instant) {
        let (Some(sync), Some((timestamp, captured))) = (&self.synchronization, self.captured)
        else {
            return;
        };
        match (heard, self.buffer.playout(next)) {
            (Heard::Sound, Some((playing, delay))) => {
                let ticks = i64::from(timestamp.wrapping_sub(playing) as i32);
                let captured = captured - ticks * 1_000 / TICKS_PER_MS;
                sync.heard(next, captured);
                let earliest = next.checked_sub(delay).unwrap_or(next);
                let wait = sync.wait_of_sound(next, earliest, captured);
                self.buffer.set_minimum_delay(wait);
            }
            (Heard::Pause, _) => sync.pauses(next),
            _ => {}
        }
    }
}

impl PacketSink for Playout {
    fn packet(&mut self, now: Instant, packet: &Arc<MediaPacket>) {
        let red = packet.codec == CodecKind::Red;
        if packet.is_padding() || !red && packet.codec != CodecKind::Opus {
            return;
        }
        self.buffer.insert(
            now,
            &Arrival {
                ssrc: packet.epoch,
                sequence: packet.sequence as u16,
                timestamp: packet.timestamp,
                payload: packet.payload(),
                red,
            },
        );
        self.passed = None;
        self.captured = packet.synced.then_some((packet.timestamp, packet.wall));
        self.due.get_or_insert(now);
    }

    fn plain(&mut self, now: Instant, frame: &Content) {
        let Some(samples) = frame.get::<Samples>() else {
            return;
        };
        // It comes in time, and needs no buffer.
        self.due = Some(now + REST);
        self.passed = Some((samples.rate, samples.channels));
        let listeners = self.audience.lock().clone();
        for listener in &listeners {
            listener.hear(samples.rate, &samples.pcm, samples.channels);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.due.filter(|due| *due <= now) {
            let late = now.saturating_duration_since(due) > LONGEST_DELAY;
            self.due = Some(if late { now + STEP } else { due + STEP });
            if let Some((rate, channels)) = self.passed {
                let silence = vec![0; rate as usize / 100 * channels];
                let listeners = self.audience.lock().clone();
                for listener in &listeners {
                    listener.hear(rate, &silence, channels);
                }
                continue;
            }
            self.pcm.clear();
            let heard = self.buffer.pull(now, &mut self.pcm);
            self.synchronize_with(heard, now + STEP);
            if heard == Heard::Nothing {
                continue;
            }
            let listeners = self.audience.lock().clone();
            for listener in &listeners {
                listener.hear(SAMPLE_RATE, &self.pcm, self.channels);
            }
        }
    }

    fn synchronize(&mut self, with: Option<Synchronization>) {
        self.synchronization = with;
        self.buffer.set_minimum_delay(Duration::ZERO);
    }

    fn describe(&self, _now: Instant, report: &mut Report) {
        self.buffer.stats().describe(report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(rate: u32, channels: usize, frame_ms: u64, from: usize) -> Vec<Vec<i16>> {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&frames);
        let frame = Duration::from_millis(frame_ms);
        let take = move |frame| taken.lock().unwrap().push(frame);
        let listener = Listener::new(rate, channels, frame, take).unwrap();
        // Left is quiet, right is loud.
        let block: Vec<i16> = [1_000, 3_000]
            .into_iter()
            .cycle()
            .take(BLOCK * from)
            .collect();
        for _ in 0..10 {
            listener.hear(SAMPLE_RATE, &block, from);
        }
        let frames = frames.lock().unwrap();
        frames.clone()
    }

    #[test]
    fn listeners_get_frames_of_their_own_length_channels_and_rate() {
        let frames = heard(48_000, 2, 10, 2);
        assert_eq!(frames.len(), 10);
        assert_eq!(frames[0][..4], [1_000, 3_000, 1_000, 3_000]);
        let mixed = heard(48_000, 1, 50, 2);
        assert_eq!((mixed.len(), mixed[0].len()), (2, 2_400));
        assert!(mixed[0].iter().all(|sample| *sample == 2_000));
        let slower = heard(16_000, 1, 20, 2);
        assert!((4..=5).contains(&slower.len()), "{}", slower.len());
        assert_eq!(slower[0].len(), 320);
        assert!((1_900..2_100).contains(&slower[2][100]));
    }

    #[test]
    fn frames_that_pass_as_they_are_are_heard_at_once_and_untouched_at_their_own_rate() {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&frames);
        let take = move |frame| taken.lock().unwrap().push(frame);
        let listener = Listener::new(24_000, 1, STEP, take).unwrap();
        let audience = Audience::default();
        audience.add(Arc::new(listener));
        let mut playout = Playout::new(audience, 1).unwrap();
        let pcm: Vec<i16> = (0..480).collect();
        let frame = Content::new(Samples {
            rate: 24_000,
            channels: 1,
            pcm: pcm.clone(),
        });
        let now = Instant::now();
        playout.plain(now, &frame);
        assert_eq!(frames.lock().unwrap().concat(), pcm);
        assert_eq!(playout.poll_timeout(), Some(now + REST));
        playout.handle_timeout(now + REST);
        assert_eq!(
            frames.lock().unwrap().concat(),
            [&pcm[..], &[0; 240]].concat()
        );
    }
}
