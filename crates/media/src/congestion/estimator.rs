//! What a path takes, estimated by the sender from transport-wide feedback: Google congestion control
//! (draft-ietf-rmcat-gcc-02).
//!
//! Two controllers, the lower of which counts. One watches whether packets queue ever longer on the way (a
//! trend of the delay between groups of packets), the other what is lost. Rises are bounded by what arrived:
//! a sender with little to send learns nothing of the path. Until the first queue shows, the estimate doubles:
//! the media itself is the probe.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

use super::twcc::SentPacket;

/// Packets sent within this time travel as one group.
const BURST: Duration = Duration::from_millis(5);
/// Groups that the trend is fitted to.
const WINDOW: usize = 20;
const SMOOTHING: f64 = 0.9;
const TREND_GAIN: f64 = 4.0;
/// A trend counts in full only after so many groups.
const MOST_GROUPS: u32 = 60;
/// A trend above the threshold is a queue once it lasts so long.
const OVERUSE_MS: f64 = 10.0;
const FIRST_THRESHOLD: f64 = 12.5;
const THRESHOLD: (f64, f64) = (6.0, 600.0);
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
/// A trend that far above the threshold is no reason to raise that: a sudden loss of capacity.
const OUTLIER: f64 = 15.0;
/// Pauses longer than this begin the trend anew.
const SILENCE_MS: f64 = 3_000.0;

/// After a queue showed: the share of what arrived that is sent on.
const BACK_OFF: f64 = 0.85;
const RISE_PER_SECOND: f64 = 1.08;
const PACKET_BITS: f64 = 1_200.0 * 8.0;
/// Bits a second, each second.
const SLOWEST_RISE: f64 = 4_000.0;
/// Until a first queue shows.
const START_PER_SECOND: f64 = 4.0;
/// What arrived bounds a rise.
const HEADROOM: f64 = 1.5;
/// Between two reductions for one queue, beside the round trip.
const SETTLING: Duration = Duration::from_millis(200);
/// Without a queue or much loss for so long, the path may take more.
const CALM: Duration = Duration::from_secs(2);
/// Over which what arrived is measured.
const ACKED_WINDOW_MICROS: i64 = 500_000;

/// Share of lost packets above which less is sent, and up to which more may be.
const LOSSY: f64 = 0.10;
const CLEAN: f64 = 0.02;
/// Over which loss is measured, and the fewest packets that say something.
const LOSS_WINDOW: Duration = Duration::from_secs(1);
const LOSS_PACKETS: u32 = 20;

/// Bounds of an estimate, in bits a second.
#[derive(Clone, Copy, Debug)]
pub struct EstimatorConfig {
    pub start: u64,
    pub lowest: u64,
    pub highest: u64,
}

impl Default for EstimatorConfig {
    fn default() -> Self {
        Self {
            start: 300_000,
            lowest: 30_000,
            highest: 50_000_000,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Estimator {
    config: EstimatorConfig,
    groups: Groups,
    trend: Trend,
    detector: Detector,
    acked: Acked,
    loss: Loss,
    /// Bits a second by delay.
    by_delay: f64,
    /// Bits a second by loss.
    by_loss: f64,
    /// What arrived when queues showed: near it the rise is gentle.
    capacity: Option<f64>,
    starting: bool,
    reduced: Option<Instant>,
    /// When a queue or much loss showed last.
    troubled: Option<Instant>,
    updated: Option<Instant>,
    rtt: Duration,
}

impl Estimator {
    #[must_use]
    pub fn new(config: EstimatorConfig) -> Self {
        let start = config.start as f64;
        Self {
            config,
            groups: Groups::default(),
            trend: Trend::default(),
            detector: Detector::default(),
            acked: Acked::default(),
            loss: Loss::default(),
            by_delay: start,
            by_loss: config.highest as f64,
            capacity: None,
            starting: true,
            reduced: None,
            troubled: None,
            updated: None,
            rtt: Duration::from_millis(100),
        }
    }

    pub fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt.min(Duration::from_secs(2));
    }

    /// What the path takes, in bits a second.
    #[must_use]
    pub fn target(&self) -> u64 {
        let target = self.by_delay.min(self.by_loss) as u64;
        target.clamp(self.config.lowest, self.config.highest)
    }

    /// Whether feedback comes and neither a queue nor much loss showed lately.
    #[must_use]
    pub fn is_calm(&self, now: Instant) -> bool {
        let troubled = self.troubled;
        let lately = troubled.is_some_and(|at| now.saturating_duration_since(at) < CALM);
        self.is_heard(now) && !lately
    }

    /// Whether feedback comes.
    #[must_use]
    pub fn is_heard(&self, now: Instant) -> bool {
        let updated = self.updated;
        updated.is_some_and(|at| now.saturating_duration_since(at) < CALM)
    }

    /// The path may take so much, in bits a second: what is sent then shows whether it does.
    pub fn assume(&mut self, target: u64) {
        let target = target.clamp(self.config.lowest, self.config.highest) as f64;
        self.by_delay = self.by_delay.max(target);
        self.by_loss = self.by_loss.max(target);
        self.capacity = None;
    }

    /// Takes one feedback: packets in the order of their numbers, with the arrival in microseconds on the
    /// receiver's clock, `None` for those that did not arrive; they may be told to have arrived later.
    pub fn feedback(
        &mut self,
        now: Instant,
        packets: impl IntoIterator<Item = (SentPacket, Option<i64>)>,
    ) {
        let mut use_of_path = None;
        for (sent, arrival) in packets {
            self.loss.count(sent.sequence, arrival.is_some());
            let Some(arrival) = arrival else { continue };
            self.acked.add(arrival, sent.size);
            if let Some(step) = self.groups.add(sent.at, arrival) {
                if step.silent {
                    self.trend = Trend::default();
                } else {
                    self.trend.add(&step);
                    let found = self.detector.judge(&self.trend, step.sent_ms, step.at_ms);
                    // A queue anywhere in this feedback counts.
                    if use_of_path != Some(Use::Over) {
                        use_of_path = Some(found);
                    }
                }
            }
        }
        let elapsed = self
            .updated
            .replace(now)
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let elapsed = elapsed.min(Duration::from_secs(1)).as_secs_f64();
        self.follow_delay(now, use_of_path.unwrap_or(self.detector.last), elapsed);
        self.follow_loss(now);
    }

    fn follow_delay(&mut self, now: Instant, found: Use, elapsed: f64) {
        let acked = self.acked.bits_per_second();
        match found {
            Use::Over => {
                self.starting = false;
                self.troubled = Some(now);
                let settling = SETTLING + self.rtt;
                let again = self
                    .reduced
                    .is_none_or(|at| now.saturating_duration_since(at) >= settling);
                if !again {
                    return;
                }
                let came = acked.unwrap_or(self.by_delay).min(self.by_delay);
                self.capacity = Some(match self.capacity {
                    Some(known) if (known - came).abs() < known * 0.3 => known * 0.9 + came * 0.1,
                    _ => came,
                });
                self.by_delay = BACK_OFF * came;
                self.reduced = Some(now);
            }
            // The queue empties: wait until it has.
            Use::Under => {}
            Use::Normal => {
                let near = self.capacity.filter(|known| {
                    // What goes through beyond it disproves it.
                    acked.is_none_or(|acked| acked < known * 1.3)
                });
                self.capacity = near;
                let raised = if self.starting {
                    self.by_delay * START_PER_SECOND.powf(elapsed)
                } else if near.is_some_and(|known| self.by_delay > known * 0.7) {
                    // About a packet for each time that an answer takes, of frames thirty times a second.
                    let frame = self.by_delay / 30.0;
                    let packet = frame / (frame / PACKET_BITS).ceil().max(1.0);
                    let answer = self.rtt.as_secs_f64() + 0.1;
                    self.by_delay + (packet / answer).max(SLOWEST_RISE) * elapsed
                } else {
                    self.by_delay * RISE_PER_SECOND.powf(elapsed)
                };
                let bound = acked.map_or(self.by_delay, |acked| HEADROOM * acked + 10_000.0);
                self.by_delay = raised.min(bound.max(self.by_delay));
            }
        }
        self.by_delay = self
            .by_delay
            .clamp(self.config.lowest as f64, self.config.highest as f64);
    }

    fn follow_loss(&mut self, now: Instant) {
        let Some(lost) = self.loss.share(now) else {
            return;
        };
        if lost > LOSSY {
            self.starting = false;
            self.troubled = Some(now);
            let sent = self.by_loss.min(self.by_delay);
            self.by_loss = sent * (1.0 - 0.5 * lost);
        } else if lost < CLEAN {
            let highest = self.config.highest as f64;
            self.by_loss = (self.by_loss * RISE_PER_SECOND + 1_000.0).min(highest);
        }
        self.by_loss = self.by_loss.max(self.config.lowest as f64);
    }
}

/// From one group to the next.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// By how much later than sent it arrived.
    later_ms: f64,
    sent_ms: f64,
    /// Arrival of the later group since the first of all.
    at_ms: f64,
    /// So long after the last that this says nothing.
    silent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: Instant,
    last_sent: Instant,
    last_arrival: i64,
}

#[derive(Debug, Default)]
struct Groups {
    first_arrival: Option<i64>,
    current: Option<Group>,
    before: Option<Group>,
}

impl Groups {
    fn add(&mut self, sent: Instant, arrival: i64) -> Option<Step> {
        let first_arrival = *self.first_arrival.get_or_insert(arrival);
        let fresh = Group {
            first_sent: sent,
            last_sent: sent,
            last_arrival: arrival,
        };
        let Some(current) = &mut self.current else {
            self.current = Some(fresh);
            return None;
        };
        // What was sent before the group is too late for it.
        if sent < current.first_sent {
            return None;
        }
        if sent - current.first_sent <= BURST {
            current.last_sent = current.last_sent.max(sent);
            current.last_arrival = current.last_arrival.max(arrival);
            return None;
        }
        let whole = std::mem::replace(current, fresh);
        let before = self.before.replace(whole)?;
        let arrived_ms = millis(before.last_arrival, whole.last_arrival);
        let sent_ms = (whole.last_sent - before.last_sent).as_secs_f64() * 1_000.0;
        Some(Step {
            later_ms: arrived_ms - sent_ms,
            sent_ms,
            at_ms: millis(first_arrival, whole.last_arrival),
            silent: arrived_ms.abs() > SILENCE_MS,
        })
    }
}

/// Arrivals are the receiver's word: any number.
fn millis(from: i64, to: i64) -> f64 {
    to.saturating_sub(from) as f64 / 1_000.0
}

/// How the delay on the way changes: a line through its smoothed sum.
#[derive(Debug, Default)]
struct Trend {
    sum_ms: f64,
    smoothed_ms: f64,
    points: VecDeque<(f64, f64)>,
    groups: u32,
}

impl Trend {
    fn add(&mut self, step: &Step) {
        self.groups = (self.groups + 1).min(MOST_GROUPS);
        self.sum_ms += step.later_ms;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.sum_ms;
        if self.points.len() == WINDOW {
            self.points.pop_front();
        }
        self.points.push_back((step.at_ms, self.smoothed_ms));
    }

    /// Milliseconds of delay a millisecond, made comparable with the threshold; `None` at the beginning.
    fn value(&self) -> Option<f64> {
        if self.points.len() < WINDOW {
            return None;
        }
        let count = self.points.len() as f64;
        let (sum_x, sum_y) = self
            .points
            .iter()
            .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let (mean_x, mean_y) = (sum_x / count, sum_y / count);
        let (along, spread) = self
            .points
            .iter()
            .fold((0.0, 0.0), |(along, spread), (x, y)| {
                let dx = x - mean_x;
                (along + dx * (y - mean_y), spread + dx * dx)
            });
        (spread > 0.0).then(|| along / spread * f64::from(self.groups) * TREND_GAIN)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Normal,
    Over,
    Under,
}

/// Tells a queue that grows from jitter: the threshold follows what is usual on the path.
#[derive(Debug)]
struct Detector {
    threshold: f64,
    over_ms: f64,
    over_count: u32,
    before: f64,
    at_ms: Option<f64>,
    last: Use,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            threshold: FIRST_THRESHOLD,
            over_ms: 0.0,
            over_count: 0,
            before: 0.0,
            at_ms: None,
            last: Use::Normal,
        }
    }
}

impl Detector {
    fn judge(&mut self, trend: &Trend, sent_ms: f64, at_ms: f64) -> Use {
        let Some(value) = trend.value() else {
            return self.last;
        };
        if value > self.threshold {
            self.over_ms += if self.over_count == 0 {
                sent_ms / 2.0
            } else {
                sent_ms
            };
            self.over_count += 1;
            if self.over_ms > OVERUSE_MS && self.over_count > 1 && value >= self.before {
                (self.over_ms, self.over_count) = (0.0, 0);
                self.last = Use::Over;
            }
        } else {
            (self.over_ms, self.over_count) = (0.0, 0);
            self.last = if value < -self.threshold {
                Use::Under
            } else {
                Use::Normal
            };
        }
        self.before = value;
        self.adapt(value, at_ms);
        self.last
    }

    fn adapt(&mut self, value: f64, at_ms: f64) {
        let before = self.at_ms.replace(at_ms).unwrap_or(at_ms);
        let above = value.abs() - self.threshold;
        if above > OUTLIER {
            return;
        }
        let gain = if above > 0.0 {
            THRESHOLD_UP
        } else {
            THRESHOLD_DOWN
        };
        let elapsed = (at_ms - before).clamp(0.0, 100.0);
        self.threshold = (self.threshold + gain * above * elapsed).clamp(THRESHOLD.0, THRESHOLD.1);
    }
}

/// What arrived lately.
#[derive(Debug, Default)]
struct Acked {
    arrivals: VecDeque<(i64, u16)>,
    bytes: u64,
    since: Option<i64>,
}

impl Acked {
    fn add(&mut self, arrival: i64, size: u16) {
        let known = self.arrivals.back().map_or(arrival, |last| last.0);
        if millis(known, arrival).abs() > SILENCE_MS {
            *self = Self::default();
        }
        let newest = self
            .arrivals
            .back()
            .map_or(arrival, |last| last.0.max(arrival));
        self.since.get_or_insert(arrival);
        self.arrivals.push_back((newest, size));
        self.bytes += u64::from(size);
        while let Some((at, size)) = self.arrivals.front().copied()
            && newest - at > ACKED_WINDOW_MICROS
        {
            self.arrivals.pop_front();
            self.bytes -= u64::from(size);
        }
    }

    /// `None` until a whole window was seen.
    fn bits_per_second(&self) -> Option<f64> {
        let newest = self.arrivals.back()?.0;
        if newest - self.since? < ACKED_WINDOW_MICROS {
            return None;
        }
        Some(self.bytes as f64 * 8.0 / (ACKED_WINDOW_MICROS as f64 / 1e6))
    }
}

#[derive(Debug, Default)]
struct Loss {
    arrived: u32,
    /// Numbers of packets: what was only overtaken on the way is told to be lost first.
    lost: FxHashSet<u16>,
    since: Option<Instant>,
}

impl Loss {
    fn count(&mut self, sequence: u16, arrived: bool) {
        if arrived {
            self.arrived += 1;
            self.lost.remove(&sequence);
        } else {
            self.lost.insert(sequence);
        }
    }

    /// The share that was lost, once a window.
    fn share(&mut self, now: Instant) -> Option<f64> {
        let since = *self.since.get_or_insert(now);
        let lost = self.lost.len() as u32;
        let all = self.arrived + lost;
        if now.saturating_duration_since(since) < LOSS_WINDOW || all < LOSS_PACKETS {
            return None;
        }
        (self.arrived, self.since) = (0, Some(now));
        self.lost.clear();
        Some(f64::from(lost) / f64::from(all))
    }
}

#[cfg(test)]
mod tests {
    use super::super::twcc::{ArrivalLedger, SendLedger};
    use super::*;
    use crate::rtp::rtcp::{RtcpPacket, parse_compound};

    const MS: Duration = Duration::from_millis(1);
    const PACKET: u16 = 1_200;
    /// One way.
    const DELAY: Duration = Duration::from_millis(25);
    const LONGEST_QUEUE: Duration = Duration::from_millis(400);

    /// A path with a bottleneck, and a sender that follows the estimate.
    struct Path {
        start: Instant,
        now: Instant,
        rate: u64,
        loss: f64,
        jitter: Duration,
        /// What the sender has to send at most.
        demand: u64,
        busy: Instant,
        owed: f64,
        /// When and as which number packets arrive.
        flying: Vec<(Instant, u16)>,
        sent: SendLedger,
        arrived: ArrivalLedger,
        random: fastrand::Rng,
        estimator: Estimator,
        longest_queue: Duration,
    }

    impl Path {
        fn new(rate: u64) -> Self {
            let now = Instant::now();
            Self {
                start: now,
                now,
                rate,
                loss: 0.0,
                jitter: Duration::ZERO,
                demand: u64::MAX,
                busy: now,
                owed: 0.0,
                flying: Vec::new(),
                sent: SendLedger::default(),
                arrived: ArrivalLedger::default(),
                random: fastrand::Rng::with_seed(11),
                estimator: Estimator::new(EstimatorConfig::default()),
                longest_queue: Duration::ZERO,
            }
        }

        fn run(&mut self, time: Duration) -> u64 {
            let end = self.now + time;
            while self.now < end {
                self.send();
                self.receive();
                self.now += MS;
            }
            self.estimator.target()
        }

        fn send(&mut self) {
            let rate = self.estimator.target().min(self.demand);
            self.owed = (self.owed + rate as f64 / 8_000.0).min(40_000.0);
            while self.owed >= f64::from(PACKET) {
                self.owed -= f64::from(PACKET);
                let sequence = self.sent.next_sequence();
                self.sent.sent(self.now, sequence, PACKET);
                let begins = self.busy.max(self.now);
                let queue = begins - self.now;
                let lost = self.random.f64() < self.loss || queue > LONGEST_QUEUE;
                if lost {
                    continue;
                }
                let bits = u64::from(PACKET) * 8;
                self.busy = begins + Duration::from_nanos(bits * 1_000_000_000 / self.rate);
                self.longest_queue = self.longest_queue.max(queue);
                let jitter = self.jitter.mul_f64(self.random.f64());
                self.flying.push((self.busy + DELAY + jitter, sequence));
            }
        }

        /// What has arrived by now, told when it is due.
        fn receive(&mut self) {
            let mut come: Vec<_> = self.flying.extract_if(.., |it| it.0 <= self.now).collect();
            come.sort();
            for (at, sequence) in come {
                let micros = (at - self.start).as_micros() as i64 + 77_000_000;
                self.arrived.arrived(self.now, micros, sequence);
            }
            let mut told = Vec::new();
            self.arrived.write(self.now, 1, 2, &mut told);
            if told.is_empty() {
                return;
            }
            self.estimator.set_rtt(2 * DELAY);
            for packet in parse_compound(&told).unwrap() {
                let RtcpPacket::TransportFeedback(feedback) = packet.unwrap() else {
                    panic!("{told:?}");
                };
                self.estimator.feedback(self.now, self.sent.told(&feedback));
            }
        }
    }

    fn within(value: u64, low: u64, high: u64) {
        assert!(
            (low..=high).contains(&value),
            "{value} is not in {low}..={high}"
        );
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_free_path_is_found_in_seconds_and_then_kept_without_a_long_queue() {
        let mut path = Path::new(2_000_000);
        within(path.run(4 * SECOND), 1_300_000, 2_900_000);
        path.run(6 * SECOND);
        path.longest_queue = Duration::ZERO;
        let mut sum = 0;
        for _ in 0..40 {
            sum += path.run(SECOND);
        }
        within(sum / 40, 1_600_000, 2_100_000);
        assert!(path.longest_queue < 250 * MS, "{:?}", path.longest_queue);
    }

    #[test]
    fn a_path_that_shrinks_is_followed_within_two_seconds_and_found_again() {
        let mut path = Path::new(2_000_000);
        path.run(15 * SECOND);
        path.rate = 600_000;
        within(path.run(2 * SECOND), 300_000, 640_000);
        within(path.run(10 * SECOND), 420_000, 680_000);
        path.rate = 2_000_000;
        within(path.run(25 * SECOND), 1_300_000, 2_300_000);
    }

    #[test]
    fn random_loss_of_a_few_percent_and_jitter_do_not_starve_a_free_path() {
        let mut path = Path::new(3_000_000);
        path.loss = 0.05;
        path.jitter = 15 * MS;
        path.run(10 * SECOND);
        within(path.run(20 * SECOND), 1_200_000, 3_600_000);
    }

    #[test]
    fn packets_that_overtake_each_other_are_not_lost() {
        for jitter in [30, 60] {
            let mut path = Path::new(50_000_000);
            path.jitter = jitter * MS;
            path.demand = 2_000_000;
            // Whatever the delay says.
            path.estimator = Estimator::new(EstimatorConfig {
                start: path.demand,
                lowest: path.demand,
                ..EstimatorConfig::default()
            });
            let before = path.estimator.by_loss;
            path.run(20 * SECOND);
            within(path.estimator.by_loss as u64, before as u64, u64::MAX);
        }
    }

    #[test]
    fn heavy_loss_without_a_queue_reduces() {
        let mut path = Path::new(50_000_000);
        path.demand = 2_000_000;
        path.run(10 * SECOND);
        path.loss = 0.3;
        within(path.run(10 * SECOND), 30_000, 900_000);
    }

    #[test]
    fn who_sends_little_learns_little() {
        let mut path = Path::new(10_000_000);
        path.demand = 200_000;
        within(path.run(60 * SECOND), 200_000, 400_000);
    }

    #[test]
    fn feedback_out_of_order_or_from_another_clock_does_no_harm() {
        let mut path = Path::new(2_000_000);
        path.run(5 * SECOND);
        let now = path.now;
        for micros in [i64::MAX / 2, i64::MIN / 2, 0, -1, 1 << 60] {
            let packet = |ago| SentPacket {
                sequence: 1,
                at: now - ago * MS,
                size: u16::MAX,
            };
            path.estimator.feedback(
                now,
                [
                    (packet(1), Some(micros)),
                    (packet(900), Some(0)),
                    (packet(0), None),
                ],
            );
        }
        within(path.estimator.target(), 30_000, 50_000_000);
        path.run(20 * SECOND);
        within(path.run(10 * SECOND), 800_000, 2_600_000);
        assert!(path.estimator.acked.arrivals.len() < 400);
    }
}
