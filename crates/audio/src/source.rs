//! What a published audio track is made of: samples that a program queues, sent in the time that they take.
//!
//! A [`Queue`] drains by the clock whether or not somebody sends from it, so that who fills it always knows how
//! long to wait. Each [`Source`] of it encodes all that comes: there may be several, for several tracks and rooms.
//! The two sides may be on different threads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use roomful_media::client::{AudioSource, OpusFrame};
use roomful_media::plain::Content;
use roomful_media::statistics::Report;

use crate::opus::{Encoder, EncoderConfig, OpusError, SAMPLE_RATE};
use crate::resample::{Quality, ResampleError, Resampler};

/// Of a packet.
const FRAME: Duration = Duration::from_millis(20);
/// So long a rest that fills no packet is waited on for more.
const TAIL: Duration = Duration::from_millis(40);
/// Samples of one channel in it.
const FRAME_SAMPLES: usize = 960;
/// Samples that come later than this leave a gap; what is late by less is sent at once.
const LATEST: Duration = Duration::from_millis(80);
/// Who sends from a queue and is further behind another goes on there.
const BEHIND: Duration = Duration::from_millis(200);
/// Packets of that size and below are silence in discontinuous transmission.
const SILENCE: usize = 2;
/// The quietest level that is told, in −dBov.
const QUIETEST: u8 = 127;
/// Louder than that counts as voice.
const VOICE: u8 = 60;

type Ring = Box<dyn Fn() + Send + Sync>;

/// A frame as it was queued: interleaved samples.
#[derive(Debug)]
pub struct Samples {
    pub rate: u32,
    pub channels: usize,
    pub pcm: Vec<i16>,
}

/// Samples on their way to a track: interleaved, of any rate.
pub struct Queue {
    rate: u32,
    channels: usize,
    /// Samples of all channels.
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What somebody has not sent yet.
    samples: VecDeque<i16>,
    /// Of all samples that ever came, those before these.
    first: u64,
    /// How far the foremost sender came.
    front: u64,
    /// When the last of them came.
    pushed: Option<Instant>,
    /// Since when there are samples, or up to when the clock has taken them away while nobody sent.
    drained: Option<Instant>,
    senders: Vec<Sender>,
    /// Of senders, so far.
    count: u64,
}

struct Sender {
    number: u64,
    /// Samples before the next that it takes.
    at: u64,
    /// Tells it that there is something again.
    ring: Ring,
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.samples.len() as u64
    }

    fn waiting(&self) -> usize {
        (self.end() - self.front) as usize
    }

    fn position(&self, number: u64) -> Option<u64> {
        let sender = self.senders.iter().find(|it| it.number == number);
        sender.map(|sender| sender.at)
    }

    /// From when on a packet of so many samples can be taken: less than that only when nothing more comes.
    fn ready(&self, number: u64, wanted: usize) -> Option<Instant> {
        let waiting = self.end() - self.position(number)?;
        let pushed = self.pushed.filter(|_| waiting > 0)?;
        let whole = waiting >= wanted as u64;
        Some(if whole { pushed } else { pushed + TAIL })
    }

    /// A sender has taken all up to `at`.
    fn taken(&mut self, number: u64, at: u64, behind: u64) {
        for sender in &mut self.senders {
            let least = if sender.number == number {
                at
            } else {
                at.saturating_sub(behind)
            };
            sender.at = sender.at.max(least);
        }
        self.front = self.front.max(at);
        self.forget();
    }

    /// Drops what everybody has.
    fn forget(&mut self) {
        if let Some(first) = self.senders.iter().map(|sender| sender.at).min() {
            self.samples.drain(..(first - self.first) as usize);
            self.first = first;
        }
    }

    /// Drops so many of what waits without a sender, or all of it.
    fn skip(&mut self, count: usize) {
        let count = count.min(self.samples.len());
        self.samples.drain(..count);
        self.first += count as u64;
        self.front = self.front.max(self.first);
    }
}

impl Queue {
    /// Takes up to `capacity` of samples ahead.
    #[must_use]
    pub fn new(rate: u32, channels: usize, capacity: Duration) -> Arc<Self> {
        let frames = capacity.as_micros() * u128::from(rate) / 1_000_000;
        let channels = channels.max(1);
        Arc::new(Self {
            rate: rate.max(1),
            channels,
            capacity: frames as usize * channels,
            state: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while samples are moved leaves a queue of samples.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn duration(&self, samples: usize) -> Duration {
        let frames = (samples / self.channels) as u64;
        Duration::from_micros(frames * 1_000_000 / u64::from(self.rate))
    }

    fn samples_in(&self, time: Duration) -> usize {
        let frames = time.as_micros() * u128::from(self.rate) / 1_000_000;
        frames as usize * self.channels
    }

    /// Without a sender time goes on all the same.
    fn drain(&self, now: Instant, state: &mut State) {
        if !state.senders.is_empty() {
            return;
        }
        let since = *state.drained.get_or_insert(now);
        let gone = self.samples_in(now.saturating_duration_since(since));
        if gone >= state.samples.len() {
            state.skip(gone);
            state.drained = None;
        } else if gone > 0 {
            state.skip(gone);
            state.drained = Some(since + self.duration(gone));
        }
    }

    /// Queues samples; when they do not fit, says how long it takes until there is room. They are taken as a
    /// whole, and however many they are when nothing waits.
    ///
    /// # Errors
    /// Holds the time to wait.
    pub fn push(&self, now: Instant, samples: &[i16]) -> Result<(), Duration> {
        let mut state = self.lock();
        self.drain(now, &mut state);
        let waiting = state.waiting();
        if waiting > 0 && waiting + samples.len() > self.capacity {
            let over = (waiting + samples.len() - self.capacity).min(waiting);
            return Err(self.duration(over).max(Duration::from_millis(1)));
        }
        let before = state.end();
        state.samples.extend(samples);
        state.pushed = Some(now);
        if waiting == 0 {
            state.drained = Some(now);
        }
        let packet = self.samples_in(FRAME) as u64;
        for sender in &state.senders {
            if before - sender.at < packet {
                (sender.ring)();
            }
        }
        Ok(())
    }

    /// How long what waits takes to be sent.
    pub fn queued(&self, now: Instant) -> Duration {
        let mut state = self.lock();
        self.drain(now, &mut state);
        self.duration(state.waiting())
    }

    /// Drops what waits.
    pub fn clear(&self) {
        let mut state = self.lock();
        let end = state.end();
        for sender in &mut state.senders {
            sender.at = end;
        }
        state.skip(usize::MAX);
    }
}

/// Encodes what comes through a queue.
pub struct Source {
    queue: Arc<Queue>,
    number: u64,
    encoder: Encoder,
    /// Bits a second that the program asked for.
    wished: Option<u32>,
    channels: usize,
    resampler: Option<Resampler>,
    /// 48 kHz, interleaved in the channels that are sent.
    pcm: Vec<i16>,
    taken: Vec<i16>,
    timestamp: u32,
    began: Instant,
    /// When the next packet is due; `None` before the first.
    due: Option<Instant>,
    /// How long the first sample of what was taken had waited for the others, and of the packet that set the pace.
    gathered: Duration,
    lead: Duration,
    /// The end of the last packet.
    ended: Option<Instant>,
    /// Nothing was sent of the time before the next packet.
    silent: bool,
    loudness: Loudness,
    /// Frames are wanted as they are, and encoded.
    plain: bool,
    encoded: bool,
}

/// What was sent, in W3C's terms: full scale is 1.
#[derive(Default)]
struct Loudness {
    /// Of the last packet: its loudest sample.
    level: f64,
    energy: f64,
    seconds: f64,
}

/// Why a queue cannot be sent from.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Opus(#[from] OpusError),
    #[error(transparent)]
    Resample(#[from] ResampleError),
}

impl Source {
    /// Sends from `queue` from `now` on, in step with others that do. `ring` is called when samples come after a pause:
    /// then [`AudioSource::poll_timeout`] is to be asked again. The configuration's channels and frame length
    /// do not count: it sends 20 ms, in stereo where the queue has two channels or more.
    ///
    /// # Errors
    /// When the encoder or the resampler takes no such configuration.
    pub fn new(
        now: Instant,
        queue: Arc<Queue>,
        config: EncoderConfig,
        ring: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, SourceError> {
        let channels = queue.channels.min(2);
        let encoder = Encoder::new(EncoderConfig {
            channels: channels as u8,
            frame_samples: FRAME_SAMPLES,
            ..config
        })?;
        let resampler = (queue.rate != SAMPLE_RATE)
            .then(|| Resampler::new(queue.rate, SAMPLE_RATE, channels, Quality::Medium))
            .transpose()?;
        let number = {
            let mut state = queue.lock();
            state.count += 1;
            let sender = Sender {
                number: state.count,
                at: state.front,
                ring: Box::new(ring),
            };
            state.senders.push(sender);
            state.count
        };
        Ok(Self {
            queue,
            number,
            encoder,
            wished: config.bitrate,
            channels,
            resampler,
            pcm: Vec::new(),
            taken: Vec::new(),
            timestamp: 0,
            began: now,
            due: None,
            gathered: Duration::ZERO,
            lead: Duration::ZERO,
            ended: None,
            silent: true,
            loudness: Loudness::default(),
            plain: false,
            encoded: true,
        })
    }

    /// Takes the samples of one packet's time of the queue; whether there were any.
    fn take(&mut self, now: Instant) -> bool {
        let wanted = self.queue.samples_in(FRAME);
        let mut state = self.queue.lock();
        let ready = state.ready(self.number, wanted);
        let Some(at) = state
            .position(self.number)
            .filter(|_| ready.is_some_and(|ready| now >= ready))
        else {
            return false;
        };
        let times = state.drained.zip(state.pushed);
        let gathered = times.map(|(first, last)| last.saturating_duration_since(first));
        self.gathered = gathered.unwrap_or_default().min(FRAME);
        self.taken.clear();
        let from = self.queue.channels;
        let begin = (at - state.first) as usize;
        let end = (begin + wanted).min(state.samples.len());
        for (index, sample) in state.samples.range(begin..end).enumerate() {
            // Of more than two channels the first two.
            if index % from < self.channels {
                self.taken.push(*sample);
            }
        }
        // What ends within a packet ends in silence.
        self.taken.resize(wanted / from * self.channels, 0);
        let at = state.first + end as u64;
        state.taken(self.number, at, self.queue.samples_in(BEHIND) as u64);
        drop(state);
        match &mut self.resampler {
            _ if !self.encoded => {}
            Some(resampler) => {
                // Fails for no input that is left.
                let _ = resampler.push(&self.taken, &mut self.pcm);
            }
            None => self.pcm.extend_from_slice(&self.taken),
        }
        true
    }

    fn has_frame(&self) -> bool {
        self.pcm.len() >= FRAME_SAMPLES * self.channels
    }

    /// Goes on by a packet: its timestamp, and when it was captured.
    fn step(&mut self, now: Instant) -> (u32, Instant) {
        let due = match self.due {
            Some(due) if now.saturating_duration_since(due) < LATEST => due,
            _ => {
                // A gap: what is sent goes on where the clock is.
                if let Some(ended) = self.ended {
                    let gap = now.saturating_duration_since(ended).as_micros() as u64;
                    let samples = gap * u64::from(SAMPLE_RATE) / 1_000_000;
                    self.timestamp = self.timestamp.wrapping_add(samples as u32);
                }
                self.silent = true;
                self.lead = self.gathered;
                now
            }
        };
        self.due = Some(due + FRAME);
        self.ended = Some(due + FRAME);
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(FRAME_SAMPLES as u32);
        (timestamp, due.checked_sub(self.lead).unwrap_or(due))
    }

    /// Encodes a packet; `None` when it is not to be sent.
    fn encode(&mut self) -> Option<(Vec<u8>, bool)> {
        let length = FRAME_SAMPLES * self.channels;
        let mut payload = Vec::new();
        let encoded = self.encoder.encode(self.pcm.get(..length)?, &mut payload);
        self.pcm.drain(..length);
        let silence = encoded.ok()? <= SILENCE;
        let before = std::mem::replace(&mut self.silent, silence);
        if silence && before {
            // Said once, then left out until there is something to hear.
            return None;
        }
        Some((payload, before))
    }
}

impl AudioSource for Source {
    fn poll_timeout(&self) -> Option<Instant> {
        // In the past: at once.
        let due = self.due.unwrap_or(self.began);
        if !self.plain && self.has_frame() {
            return Some(due);
        }
        let state = self.queue.lock();
        let ready = state.ready(self.number, self.queue.samples_in(FRAME));
        ready.map(|ready| ready.max(due))
    }

    fn set_forms(&mut self, plain: bool, encoded: bool) {
        if encoded && !self.encoded {
            self.pcm.clear();
            self.silent = true;
        }
        self.plain = plain;
        self.encoded = encoded;
    }

    fn poll_frame(&mut self, now: Instant) -> Option<OpusFrame> {
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        if self.plain {
            if !self.take(now) {
                return None;
            }
            let (timestamp, captured) = self.step(now);
            let samples = Samples {
                rate: self.queue.rate,
                channels: self.channels,
                pcm: self.taken.clone(),
            };
            let level = level(&samples.pcm);
            self.loudness.add(&samples.pcm);
            let encoded = self.encoded.then(|| self.encode()).flatten();
            let (payload, begins) = encoded.unwrap_or_default();
            return Some(OpusFrame {
                payload: payload.into(),
                timestamp,
                captured,
                level,
                voice: level < VOICE,
                begins,
                plain: Some(Content::new(samples)),
            });
        }
        while !self.has_frame() {
            if !self.take(now) {
                return None;
            }
        }
        let (timestamp, captured) = self.step(now);
        let length = FRAME_SAMPLES * self.channels;
        let pcm = self.pcm.get(..length).unwrap_or_default();
        let level = level(pcm);
        self.loudness.add(pcm);
        let (payload, begins) = self.encode()?;
        Some(OpusFrame {
            payload: payload.into(),
            timestamp,
            captured,
            level,
            voice: level < VOICE,
            begins,
            plain: None,
        })
    }

    fn adapt(&mut self, bits: u64, loss: u8) {
        let bits = u32::try_from(bits).unwrap_or(u32::MAX);
        // Without a wish of the program libopus's own is the most.
        let bitrate = match self.wished {
            Some(wished) => Some(wished.min(bits)),
            None => Some(bits).filter(|bits| *bits < libopus_bitrate(self.channels)),
        };
        // Refused, the old values stay.
        let _ = self.encoder.set_bitrate(bitrate);
        let _ = self.encoder.set_expected_loss(loss);
    }

    fn bitrate(&self) -> Option<u32> {
        self.encoder.bitrate()
    }

    fn describe(&self, report: &mut Report) {
        report.set("audioLevel", self.loudness.level);
        report.total("totalAudioEnergy", self.loudness.energy);
        report.total("totalSamplesDuration", self.loudness.seconds);
    }
}

impl Loudness {
    /// Adds a packet's samples.
    fn add(&mut self, pcm: &[i16]) {
        let scale = f64::from(i16::MAX);
        let loudest = pcm.iter().map(|sample| sample.unsigned_abs()).max();
        self.level = (f64::from(loudest.unwrap_or(0)) / scale).min(1.0);
        self.energy += self.level * self.level * FRAME.as_secs_f64();
        self.seconds += FRAME.as_secs_f64();
    }
}

/// What libopus takes for 20 ms frames of so many channels, unless told otherwise: 60 bits a frame, and one a
/// sample.
fn libopus_bitrate(channels: usize) -> u32 {
    60 * 50 + SAMPLE_RATE * channels as u32
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        let sent = (state.front - state.first) as usize;
        state.senders.retain(|it| it.number != self.number);
        if state.senders.is_empty() {
            state.skip(sent);
            state.drained = None;
        } else {
            state.forget();
        }
    }
}

/// In −dBov (RFC 6464): 0 is the loudest there is, 127 silence.
fn level(pcm: &[i16]) -> u8 {
    let energy: f64 = pcm.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    let mean = energy / pcm.len().max(1) as f64 / f64::from(i16::MAX).powi(2);
    if mean <= 0.0 {
        return QUIETEST;
    }
    (-10.0 * mean.log10()).clamp(0.0, f64::from(QUIETEST)) as u8
}

#[cfg(test)]
mod tests;
