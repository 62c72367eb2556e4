//! The jitter buffer: packets of one stream of Opus in as they come, sound out at a steady pace.
//!
//! **How long it waits.** A packet's lateness is how much later it comes than the fastest packets of the last
//! three seconds, by its timestamp; that of a lost one with a copy in another is the copy's. The delay that is
//! aimed at covers the latest of 19 in 20 half seconds, of which older ones count less and less, and so the
//! packet after a lost one too where packets get lost and carry copies. The delay that is had is exact at each
//! moment: the time since the fastest packet with what is played now could have been here. No level is smoothed
//! or guessed.
//!
//! **How it gets there.** By cutting or repeating a period of the voice's pitch, at most one each 50 ms, or
//! unheard in silence and at the beginning of what follows it. A packet is needed in the block that its first
//! sample is in: so the delay is cut by whole blocks, and by what a packet begins later in its block than it
//! could.
//!
//! **What it does for a packet that isn't there at its time**, in this order: the copy in a later packet's
//! redundancy (RED); the copy in the next packet (in-band FEC); concealment by libopus. Where nothing has
//! come at all it conceals without counting the time, so that what is late is played late rather than lost.
//! A pause in which no packet was sent (DTX) is no loss; comfort noise fills it.
//!
//! **What comes of it**: a voice of 20 ms packets in the simulation of the tests, heard so long after the
//! fastest packet could have been here, on average over how the clocks of both ends can lie to each other, and
//! the share of time that is concealed:
//!
//! | loss | jitter 0 | with FEC | with RED | jitter 0 to 30 ms | with FEC | with RED |
//! |---|---|---|---|---|---|---|
//! | 0 | 20 ms, 0 | 19 ms, 0 | 20 ms, 0 | 38 ms, 0 | 38 ms, 0 | 38 ms, 0 |
//! | 2 % | 19 ms, 2.2 % | 32 ms, 0.4 % | 32 ms, 0.1 % | 38 ms, 2.2 % | 52 ms, 0.4 % | 51 ms, 0.1 % |
//! | 10 % | 19 ms, 9.9 % | 32 ms, 3.0 % | 32 ms, 1.3 % | 38 ms, 9.8 % | 55 ms, 3.0 % | 55 ms, 1.3 % |
//!
//! (2.2 and 9.9 % were lost in fact, and 1.3 % with the packet that has the copy. In the frames between
//! syllables there is no FEC.) A second of sound costs about 5 ms of a core, decoding and all.
//!
//! The crate `neteq` 0.9.1 with the same packets in real time (it reads the clock itself) was heard after 29 to
//! 38 ms without jitter and 52 to 65 ms with it, and concealed 0, 2.1 and 13.6 % without and 0, 3.1 and 13.4 %
//! with it; it knows neither FEC nor RED.

mod delay;
mod stats;
mod stretch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use roomful_media::codec::opus::is_dtx;
use roomful_media::codec::red::Red;
use roomful_media::rtp::{SequenceExtender, TimestampExtender};

use crate::opus::{Decoder, GRAIN, OpusError, SAMPLE_RATE, fec_samples, packet_samples};
use delay::DelayEstimator;
pub use stats::JitterStats;
use stretch::{MAX_LAG, MIN_LAG, Period};

/// Samples of one channel in what is pulled: 10 ms.
pub const BLOCK: usize = 480;
const BLOCK_MICROS: i64 = 10_000;
/// Four seconds of the usual packets; the oldest go first.
const MAX_PACKETS: usize = 200;
const MAX_PACKET_BYTES: usize = 2_000;
/// More than this from the line of the others, a packet is not late but from another time.
const LEAP: i64 = 2_000_000;
/// So many such packets in a row, and the stream begins anew.
const LEAPS: u32 = 3;
/// Microseconds under the target at which nothing is done, and over it that a cut leaves, so that it does not
/// call for more to be put in.
const LACK: i64 = 2_000;
const EXCESS: i64 = 1_000;
/// Where packets lately carried copies of those before them, one that comes again is not waited for.
const COPIES: f32 = 0.5;
/// What each pull multiplies that by: a third is left after ten seconds.
const MEMORY: f32 = 0.999;
/// Microseconds over the target from which periods are cut as fast as can be.
const RUSH: i64 = 100_000;
/// Microseconds over the target from which sound is skipped: nobody listened, or the path stood still.
const SKIP: i64 = 1_000_000;
/// Blocks between two changes of the length.
const STRETCH_PAUSE: u32 = 5;
/// How alike two stretches must be to be joined: as much when there is little to gain, as little at
/// [`RUSH`].
const LIKENESS: (f32, f32) = (0.9, 0.6);
/// After so much concealment in one piece nothing of the voice is left; what follows is plain silence.
const FADED: usize = SAMPLE_RATE as usize / 2;
/// A sample up to this is silence.
const SILENT: u16 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JitterConfig {
    /// 1 or 2, whatever the packets have.
    pub channels: u8,
    /// Aim at no less, as a video track may need it.
    pub minimum_delay: Duration,
    /// Aim at no more, at most a second.
    pub maximum_delay: Duration,
}

impl Default for JitterConfig {
    fn default() -> Self {
        Self {
            channels: 1,
            minimum_delay: Duration::ZERO,
            maximum_delay: Duration::from_secs(1),
        }
    }
}

/// A packet as it came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
    pub payload: &'a [u8],
    /// The payload is redundant audio (RFC 2198) with Opus in it.
    pub red: bool,
}

/// What a pulled block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing has come yet.
    Nothing,
    /// What was sent.
    Sound,
    /// Comfort noise in a pause.
    Pause,
    /// Made up for what is missing.
    Concealed,
}

#[derive(Debug)]
struct Packet {
    number: u64,
    arrived: Instant,
    /// From another packet's redundancy.
    rebuilt: bool,
    samples: usize,
    payload: Vec<u8>,
}

/// Where the next samples come from.
enum Step {
    /// It has not begun.
    Wait,
    /// Nothing is here, or it is held back to have the delay that is aimed at.
    Bridge,
    Decode {
        timestamp: u64,
    },
    /// `gap` samples from the copy in the packet after them, at `timestamp`.
    Recover {
        timestamp: u64,
        gap: usize,
    },
    /// Samples that are lost, up to the timestamp `until`.
    Conceal {
        until: u64,
        samples: usize,
    },
}

/// The stream that is being played.
struct Stream {
    ssrc: u32,
    numbers: SequenceExtender,
    timestamps: TimestampExtender,
    delay: DelayEstimator,
    /// By timestamp.
    packets: BTreeMap<u64, Packet>,
    /// Timestamp of the first sample that was not made yet; `None` until it begins.
    next: Option<u64>,
    /// Number of the last packet that was played.
    last: u64,
    /// Samples made since anything came, whose time is not counted yet.
    bridged: usize,
    /// The sender is silent: nothing is expected.
    pause: bool,
    leaps: u32,
    /// How lately a packet came that holds a copy of one before it: 1, and fading.
    copies: f32,
}

impl Stream {
    fn new(now: Instant, arrival: &Arrival<'_>) -> Self {
        let mut timestamps = TimestampExtender::default();
        let timestamp = timestamps.extend(arrival.timestamp);
        Self {
            ssrc: arrival.ssrc,
            numbers: SequenceExtender::default(),
            timestamps,
            delay: DelayEstimator::new(now, timestamp),
            packets: BTreeMap::new(),
            next: None,
            last: 0,
            bridged: 0,
            pause: true,
            leaps: 0,
            copies: 0.0,
        }
    }
}

pub struct JitterBuffer {
    config: JitterConfig,
    decoder: Decoder,
    stream: Option<Stream>,
    /// Samples made and not played, interleaved.
    ready: Vec<i16>,
    /// The last [`MAX_LAG`] that were played.
    played: Vec<i16>,
    /// What the sample at the end of `ready` is.
    heard: Heard,
    /// Mean distance from the target in microseconds, as long as it is played from packets.
    excess: Option<i64>,
    stretch_pause: u32,
    stats: JitterStats,
}

impl JitterBuffer {
    pub fn new(config: JitterConfig) -> Result<Self, OpusError> {
        Ok(Self {
            decoder: Decoder::new(config.channels)?,
            config,
            stream: None,
            ready: Vec::new(),
            played: Vec::new(),
            heard: Heard::Nothing,
            excess: None,
            stretch_pause: 0,
            stats: JitterStats::default(),
        })
    }

    pub fn stats(&self) -> &JitterStats {
        &self.stats
    }

    pub fn channels(&self) -> u8 {
        self.config.channels
    }

    /// Aims at no less from now on.
    pub fn set_minimum_delay(&mut self, delay: Duration) {
        self.config.minimum_delay = delay;
    }

    /// What it aims at: the time that the slowest packets take longer than the fastest.
    pub fn target_delay(&self) -> Duration {
        self.stream.as_ref().map_or(Duration::ZERO, |stream| {
            Duration::from_micros(self.target(stream).max(0) as u64)
        })
    }

    /// The RTP timestamp of the next sample that is pulled, and how long after the fastest packet could have been
    /// here that is, if it is pulled at `now`.
    pub fn playout(&self, now: Instant) -> Option<(u32, Duration)> {
        let stream = self.stream.as_ref()?;
        let next = stream.next?;
        let playing = next.wrapping_sub(self.ready_samples() as u64);
        let delay = stream.delay.lateness(now, playing).max(0) as u64;
        Some((playing as u32, Duration::from_micros(delay)))
    }

    /// Takes a packet in. Malformed ones are counted and dropped.
    pub fn insert(&mut self, now: Instant, arrival: &Arrival<'_>) {
        self.stats.packets_received += 1;
        let red = if arrival.red {
            let Ok(red) = Red::parse(arrival.payload) else {
                self.stats.malformed_packets += 1;
                return;
            };
            Some(red)
        } else {
            None
        };
        let payload = red.map_or(arrival.payload, |red| red.primary);
        let Some(samples) = packet_samples(payload).filter(|_| payload.len() <= MAX_PACKET_BYTES)
        else {
            self.stats.malformed_packets += 1;
            return;
        };
        if !self.belongs(now, arrival) {
            return;
        }
        let Some(stream) = &mut self.stream else {
            return;
        };
        let timestamp = stream.timestamps.extend(arrival.timestamp);
        let highest = stream.numbers.highest();
        let number = stream.numbers.extend(arrival.sequence);
        let overtaken = highest.is_some_and(|highest| number < highest);
        let follows_gap = highest.is_some_and(|highest| number == highest + 2);
        let fec = fec_samples(payload);
        if fec.is_some() || red.is_some_and(|red| red.redundant().next().is_some()) {
            stream.copies = 1.0;
        }
        // When sound is first here counts. What comes once it was overtaken was asked for again, or its copy
        // has been here; the one that is missing before a packet with a copy of it comes with that.
        if !overtaken || stream.copies < COPIES {
            stream.delay.arrived(now, timestamp);
        }
        if let Some(samples) = fec.filter(|_| follows_gap) {
            stream
                .delay
                .arrived(now, timestamp.wrapping_sub(samples as u64));
        }
        if let Some(red) = red {
            let after = (stream.last, stream.next.unwrap_or(0).saturating_sub(1));
            for earlier in red.recover(number, timestamp, after) {
                let samples = packet_samples(earlier.data);
                if let Some(samples) = samples.filter(|_| earlier.data.len() <= MAX_PACKET_BYTES)
                    && !stream.packets.contains_key(&earlier.timestamp)
                {
                    let packet = Packet {
                        number: earlier.number,
                        arrived: now,
                        rebuilt: true,
                        samples,
                        payload: earlier.data.to_vec(),
                    };
                    stream.packets.insert(earlier.timestamp, packet);
                    stream.delay.arrived(now, earlier.timestamp);
                } else {
                    self.stats.fec_packets_discarded += 1;
                }
            }
        }
        if stream.next.is_some_and(|next| timestamp < next) {
            self.stats.late_packets += 1;
            self.stats.packets_discarded += 1;
            return;
        }
        let packet = Packet {
            number,
            arrived: now,
            rebuilt: false,
            samples,
            payload: payload.to_vec(),
        };
        if let Some(before) = stream.packets.insert(timestamp, packet) {
            if before.rebuilt {
                self.stats.fec_packets_discarded += 1;
            } else {
                self.stats.packets_discarded += 1;
            }
        }
        while stream.packets.len() > MAX_PACKETS {
            stream.packets.pop_first();
            self.stats.packets_discarded += 1;
        }
    }

    /// Begins anew for another source and for a leap in time; false for a packet that is out of time.
    fn belongs(&mut self, now: Instant, arrival: &Arrival<'_>) -> bool {
        let Some(stream) = &mut self.stream else {
            self.stream = Some(Stream::new(now, arrival));
            return true;
        };
        if stream.ssrc == arrival.ssrc {
            let timestamp = stream.timestamps.peek(arrival.timestamp);
            let number = stream.numbers.peek(arrival.sequence);
            if stream.delay.lateness(now, timestamp).abs() < LEAP {
                stream.leaps = 0;
                return true;
            }
            // The next packet by its number is no stray one.
            let follows = stream
                .numbers
                .highest()
                .is_none_or(|last| number == last + 1);
            stream.leaps += 1;
            if !follows && stream.leaps < LEAPS {
                self.stats.packets_discarded += 1;
                return false;
            }
        }
        self.stats.restarts += 1;
        self.stream = Some(Stream::new(now, arrival));
        true
    }

    /// Appends the next 10 ms, interleaved. `now` is when they begin to be heard; it should be called each
    /// 10 ms, and where it isn't, what is too old is skipped.
    pub fn pull(&mut self, now: Instant, out: &mut Vec<i16>) -> Heard {
        let channels = usize::from(self.config.channels);
        self.skip(now);
        self.stretch(now);
        let mut rounds = 0;
        while self.ready.len() < BLOCK * channels {
            rounds += 1;
            // Each round makes at least one grain.
            if rounds > BLOCK / GRAIN + 1 {
                self.ready.resize(BLOCK * channels, 0);
                break;
            }
            self.produce(now);
        }
        let start = out.len();
        out.extend(self.ready.drain(..BLOCK * channels));
        let block = out.get(start..).unwrap_or_default();
        self.played.extend_from_slice(block);
        let surplus = self.played.len().saturating_sub(MAX_LAG * channels);
        self.played.drain(..surplus);
        if self.heard != Heard::Nothing {
            let loudest = block.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
            let level = f64::from(loudest.min(i16::MAX as u16)) / f64::from(i16::MAX);
            let seconds = BLOCK as f64 / f64::from(SAMPLE_RATE);
            self.stats.audio_level = level;
            self.stats.total_audio_energy += level * level * seconds;
            self.stats.total_samples_duration += seconds;
            self.stats.total_samples_received += BLOCK as u64;
        }
        self.heard
    }

    fn ready_samples(&self) -> usize {
        self.ready.len() / usize::from(self.config.channels)
    }

    fn measured_target(&self, stream: &Stream) -> i64 {
        let most = self.config.maximum_delay.as_micros() as i64;
        stream.delay.target().min(most)
    }

    fn target(&self, stream: &Stream) -> i64 {
        let least = self.config.minimum_delay.as_micros() as i64;
        self.measured_target(stream).max(least)
    }

    /// Microseconds over the target at which a packet is needed, if it is played after what is ready: in the
    /// pull that this is not enough for.
    fn excess_of(&self, now: Instant, stream: &Stream, timestamp: u64) -> i64 {
        let blocks = (self.ready_samples() / BLOCK) as i64;
        stream.delay.lateness(now, timestamp) + blocks * BLOCK_MICROS - self.target(stream)
    }

    /// Leaves out what is far too old to be worth hearing.
    fn skip(&mut self, now: Instant) {
        let Some(stream) = &self.stream else { return };
        let Some(next) = stream.next else { return };
        if stream.packets.is_empty() || self.excess_of(now, stream, next) < SKIP {
            return;
        }
        let newer = stream
            .packets
            .keys()
            .copied()
            .find(|&timestamp| self.excess_of(now, stream, timestamp) <= 0);
        let Some(stream) = &mut self.stream else {
            return;
        };
        // What came in one burst is old to its end: then the newest is the best there is.
        let from = newer.or_else(|| stream.packets.keys().next_back().copied());
        let kept = from.map_or_else(BTreeMap::new, |from| stream.packets.split_off(&from));
        self.stats.packets_discarded += stream.packets.len() as u64;
        stream.packets = kept;
        if let Some((&timestamp, packet)) = stream.packets.first_key_value() {
            stream.next = Some(timestamp);
            stream.last = packet.number.saturating_sub(1);
            stream.bridged = 0;
        }
        self.excess = None;
    }

    /// Cuts or repeats a period if the delay is not what it should be.
    fn stretch(&mut self, now: Instant) {
        let channels = usize::from(self.config.channels);
        self.stretch_pause = self.stretch_pause.saturating_sub(1);
        let Some(stream) = &mut self.stream else {
            return;
        };
        stream.copies *= MEMORY;
        let Some(stream) = &self.stream else { return };
        let Some(next) = stream.next else { return };
        if stream.bridged > 0 || stream.pause {
            self.excess = None;
            return;
        }
        let current = self.excess_of(now, stream, next);
        // Over about 100 ms: the caller's clock is not even.
        let excess = self
            .excess
            .map_or(current, |mean| mean + (current - mean) / 8);
        self.excess = Some(excess);
        if self.stretch_pause > 0 && excess < RUSH {
            return;
        }
        let (strict, loose) = LIKENESS;
        let urgency = (excess.abs() as f32 / RUSH as f32).min(1.0);
        let wanted = strict - (strict - loose) * urgency;
        let alike = |period: &Period| period.likeness >= wanted;
        // What is ready beyond whole blocks makes nothing be needed later.
        let blocks = (excess - EXCESS).max(0) / BLOCK_MICROS;
        let spare = blocks as usize * BLOCK + self.ready_samples() % BLOCK;
        if spare >= MIN_LAG && excess >= -LACK {
            while self.ready_samples() < 2 * MAX_LAG && self.decode_next(now) {}
            if let Some(Period { lag, .. }) =
                stretch::period_ahead(&self.ready, channels, spare).filter(alike)
            {
                let before = self.ready_samples() / BLOCK;
                stretch::shorten(&mut self.ready, lag, channels);
                self.stats.removed_samples_for_acceleration += lag as u64;
                self.stretched(before);
            }
        } else if excess < -LACK {
            if self.ready_samples() < MAX_LAG {
                self.decode_next(now);
            }
            if let Some(Period { lag, .. }) =
                stretch::period_behind(&self.played, &self.ready, channels).filter(alike)
            {
                let before = self.ready_samples() / BLOCK;
                stretch::lengthen(&self.played, &mut self.ready, lag, channels);
                self.stats.inserted_samples_for_deceleration += lag as u64;
                self.stretched(before);
            }
        }
    }

    /// What is ready was so many blocks before.
    fn stretched(&mut self, blocks: usize) {
        self.stretch_pause = STRETCH_PAUSE;
        let more = (self.ready_samples() / BLOCK) as i64 - blocks as i64;
        if let Some(excess) = &mut self.excess {
            *excess += more * BLOCK_MICROS;
        }
    }

    /// Makes some samples: at least one grain, of whatever can be had.
    fn produce(&mut self, now: Instant) {
        match self.next_step(now) {
            Step::Wait => self.silence(BLOCK, Heard::Nothing),
            Step::Bridge => self.bridge(),
            Step::Decode { timestamp } => {
                self.begin_at(timestamp);
                self.decode_next(now);
            }
            Step::Recover { timestamp, gap } => {
                self.begin_at(timestamp);
                self.recover(timestamp, gap);
            }
            Step::Conceal { until, samples } => {
                self.begin_at(until);
                self.conceal(samples);
            }
        }
    }

    fn next_step(&self, now: Instant) -> Step {
        let Some(stream) = &self.stream else {
            return Step::Wait;
        };
        let Some((&timestamp, packet)) = stream.packets.first_key_value() else {
            return if stream.next.is_some() {
                Step::Bridge
            } else {
                Step::Wait
            };
        };
        let missing = packet.number > stream.last + 1;
        let Some(next) = stream.next.filter(|_| missing && !stream.pause) else {
            // Nothing is missing. After a pause, and at first, the delay can be chosen.
            let begins = stream.next != Some(timestamp);
            return if !begins || self.excess_of(now, stream, timestamp) >= 0 {
                Step::Decode { timestamp }
            } else if stream.next.is_some() {
                Step::Bridge
            } else {
                Step::Wait
            };
        };
        // What was bridged stands for what is missing.
        let gap = (timestamp.saturating_sub(next) as usize).saturating_sub(stream.bridged);
        let gap = gap / GRAIN * GRAIN;
        let copy = fec_samples(&packet.payload).unwrap_or(0);
        if gap == 0 {
            Step::Decode { timestamp }
        } else if gap == copy {
            Step::Recover { timestamp, gap }
        } else {
            let samples = BLOCK.min(if gap > copy { gap - copy } else { gap });
            let until = timestamp - (gap - samples) as u64;
            Step::Conceal { until, samples }
        }
    }

    /// Makes what is missing before a packet from the copy in it.
    fn recover(&mut self, timestamp: u64, gap: usize) {
        let Some(packet) = self
            .stream
            .as_ref()
            .and_then(|stream| stream.packets.get(&timestamp))
        else {
            return self.conceal(gap);
        };
        match self
            .decoder
            .decode_fec(&packet.payload, gap, &mut self.ready)
        {
            Ok(_) => {
                self.heard = Heard::Sound;
                self.stats.fec_packets_received += 1;
                self.stats.jitter_buffer_emitted_count += gap as u64;
            }
            Err(_) => self.conceal(gap),
        }
    }

    fn begin_at(&mut self, timestamp: u64) {
        if let Some(stream) = &mut self.stream {
            stream.next = Some(timestamp);
            stream.bridged = 0;
        }
    }

    /// Decodes the packet that comes next, if it is here and nothing is missing before it.
    fn decode_next(&mut self, now: Instant) -> bool {
        let ready = self.ready_samples();
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let Some((next, packet)) = stream
            .next
            .and_then(|next| Some((next, stream.packets.remove(&next)?)))
        else {
            return false;
        };
        stream.next = Some(next + packet.samples as u64);
        stream.last = packet.number;
        stream.bridged = 0;
        stream.pause = is_dtx(&packet.payload);
        let decoded = self.decoder.decode(&packet.payload, &mut self.ready);
        if decoded.is_err() {
            self.conceal(packet.samples);
            return true;
        }
        self.heard = if stream.pause {
            Heard::Pause
        } else {
            Heard::Sound
        };
        let waited = now.saturating_duration_since(packet.arrived).as_secs_f64()
            + ready as f64 / f64::from(SAMPLE_RATE);
        let (samples, stats) = (packet.samples as f64, &mut self.stats);
        stats.jitter_buffer_emitted_count += packet.samples as u64;
        stats.jitter_buffer_delay += waited * samples;
        stats.fec_packets_received += u64::from(packet.rebuilt);
        let seconds = |micros: i64| micros as f64 / 1e6 * samples;
        if let Some(stream) = &self.stream {
            let (target, measured) = (self.target(stream), self.measured_target(stream));
            self.stats.jitter_buffer_target_delay += seconds(target);
            self.stats.jitter_buffer_minimum_delay += seconds(measured);
        }
        true
    }

    /// Fills the time until something comes.
    fn bridge(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        stream.bridged = stream.bridged.saturating_add(BLOCK);
        let faded = stream.bridged > FADED;
        match (stream.pause, faded) {
            (true, false) => {
                if self.decoder.conceal(BLOCK, &mut self.ready).is_err() {
                    self.silence(BLOCK, Heard::Pause);
                }
                self.heard = Heard::Pause;
            }
            (true, true) => self.silence(BLOCK, Heard::Pause),
            (false, false) => self.conceal(BLOCK),
            (false, true) => {
                self.count_concealed(BLOCK, true);
                self.silence(BLOCK, Heard::Concealed);
            }
        }
    }

    fn silence(&mut self, samples: usize, heard: Heard) {
        let len = self.ready.len() + samples * usize::from(self.config.channels);
        self.ready.resize(len, 0);
        self.heard = heard;
    }

    fn conceal(&mut self, samples: usize) {
        let start = self.ready.len();
        let result = self.decoder.conceal(samples, &mut self.ready);
        let made = self.ready.get(start..).unwrap_or_default();
        let silent = made.iter().all(|sample| sample.unsigned_abs() <= SILENT);
        self.count_concealed(samples, silent);
        if result.is_err() {
            self.silence(samples, Heard::Concealed);
        }
    }

    fn count_concealed(&mut self, samples: usize, silent: bool) {
        if self.heard != Heard::Concealed {
            self.stats.concealment_events += 1;
        }
        self.heard = Heard::Concealed;
        self.stats.concealed_samples += samples as u64;
        if silent {
            self.stats.silent_concealed_samples += samples as u64;
        }
    }
}
