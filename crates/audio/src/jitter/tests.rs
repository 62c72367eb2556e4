//! A sender, a lossy path and a listener on one simulated clock.

use std::collections::VecDeque;

use roomful_media::codec::red;

use super::*;
use crate::opus::{Application, Encoder, EncoderConfig};

const FRAME: u64 = 960;
const TAU: f32 = std::f32::consts::TAU;

/// Syllables of a wavering voice, four a second, with a pause of a second in each five if wanted.
/// The timestamp of the next sample.
fn next_timestamp(buffer: &JitterBuffer, now: Instant) -> Option<u32> {
    buffer.playout(now).map(|(timestamp, _)| timestamp)
}

fn voice(samples: usize, pauses: bool) -> Vec<i16> {
    let mut phase = 0.0f32;
    (0..samples)
        .map(|n| {
            let t = n as f32 / 48_000.0;
            let hertz = 130.0 + 25.0 * (TAU * 0.7 * t).sin() + 10.0 * (TAU * 3.1 * t).sin();
            phase = (phase + hertz / 48_000.0).fract();
            let buzz: f32 = (1..20)
                .map(|k| (TAU * phase * k as f32).sin() / k as f32)
                .sum();
            let loudness = 0.55 - 0.45 * (TAU * 4.0 * t).cos();
            let spoken = !pauses || t % 5.0 < 4.0;
            if spoken {
                (buzz * loudness * 5_000.0) as i16
            } else {
                0
            }
        })
        .collect()
}

#[derive(Clone)]
struct Path {
    /// Share of packets that never come.
    loss: f32,
    /// Up to so many ms later than the fastest, each by itself, so that they overtake each other.
    jitter: f32,
    /// What is lost comes again so many ms later.
    again: Option<f32>,
    /// Every so many packets the path stands still for 150 ms.
    stalls: Option<u64>,
    /// How many ms after a packet the first block is asked for.
    phase: f32,
    seed: u64,
}

#[derive(Clone, Copy)]
struct Sender {
    red: usize,
    fec: bool,
    dtx: bool,
    pauses: bool,
}

const PLAIN: Sender = Sender {
    red: 0,
    fec: false,
    dtx: false,
    pauses: false,
};

struct Outcome {
    stats: JitterStats,
    /// Mean ms from a sample's capture until it is heard, without what the path takes at least.
    delay: f64,
    /// Share of the time that is concealed.
    concealed: f64,
    heard: Vec<i16>,
    /// Share of packets that came neither themselves nor as a copy in redundancy.
    gone: f64,
}

fn ms(value: f32) -> Duration {
    Duration::from_secs_f32(value / 1_000.0)
}

/// Timestamps and payloads.
type Sent = Vec<(u32, Vec<u8>)>;

const FIRST_SEQUENCE: u16 = 65_500;
const FIRST_TIMESTAMP: u32 = u32::MAX - 100_000;

fn sent(seconds: usize, sender: Sender) -> Sent {
    let pcm = voice(seconds * 48_000, sender.pauses);
    let mut encoder = Encoder::new(EncoderConfig {
        bitrate: Some(32_000),
        fec: sender.fec,
        expected_loss: if sender.fec { 15 } else { 0 },
        dtx: sender.dtx,
        application: Application::Voip,
        ..EncoderConfig::default()
    })
    .unwrap();
    let mut before = VecDeque::new();
    let (mut sent, mut was_silent) = (Vec::new(), false);
    for (n, frame) in pcm.chunks_exact(FRAME as usize).enumerate() {
        let mut packet = Vec::new();
        encoder.encode(frame, &mut packet).unwrap();
        // As WebRTC does: of silent packets in a row only the first is sent.
        let silent = is_dtx(&packet);
        if std::mem::replace(&mut was_silent, silent) && silent {
            continue;
        }
        let timestamp = FIRST_TIMESTAMP.wrapping_add((n as u64 * FRAME) as u32);
        let mut payload = Vec::new();
        if sender.red > 0 {
            let copies = before.iter().map(|(earlier, copy): &(u32, Vec<u8>)| {
                (timestamp.wrapping_sub(*earlier), copy.as_slice())
            });
            red::write(&mut payload, 111, copies, &packet);
            before.push_back((timestamp, packet));
            if before.len() > sender.red {
                before.pop_front();
            }
        } else {
            payload = packet;
        }
        sent.push((timestamp, payload));
    }
    sent
}

/// Runs a call of so many seconds; measures after the first five.
fn call(seconds: usize, sender: Sender, path: &Path) -> Outcome {
    carry(&sent(seconds, sender), seconds, sender, path)
}

fn carry(sent: &Sent, seconds: usize, sender: Sender, path: &Path) -> Outcome {
    let mut random = fastrand::Rng::with_seed(path.seed);
    let start = Instant::now();
    let mut flights = Vec::new();
    let mut stall = Duration::ZERO;
    for (n, (timestamp, _)) in sent.iter().enumerate() {
        // A frame is sent when its last sample is captured.
        let captured = timestamp.wrapping_sub(FIRST_TIMESTAMP) as f32 / 48.0;
        let sent = ms(captured + 20.0);
        let lost = random.f32() < path.loss;
        if lost && path.again.is_none() {
            continue;
        }
        if path
            .stalls
            .is_some_and(|every| n as u64 % every == every - 1)
        {
            stall = sent + ms(150.0);
        }
        let late = if lost { path.again.unwrap_or(0.0) } else { 0.0 };
        let arrives = (sent + ms(late + random.f32() * path.jitter)).max(stall);
        flights.push((arrives, n));
    }
    flights.sort_by_key(|flight| flight.0);

    let mut buffer = JitterBuffer::new(JitterConfig::default()).unwrap();
    let mut flights = flights.into_iter().peekable();
    let mut heard = Vec::new();
    let (mut delays, mut before) = (Vec::new(), JitterStats::default());
    let mut came = vec![false; sent.len()];
    for block in 0..seconds as u32 * 100 {
        let clock = ms(10.0) * block + ms(path.phase);
        while let Some((at, n)) = flights.next_if(|flight| flight.0 <= clock) {
            came[n.saturating_sub(sender.red)..=n].fill(true);
            let sequence = FIRST_SEQUENCE.wrapping_add(n as u16);
            let red = sender.red > 0;
            let packet = arrival(1, sequence, sent[n].0, &sent[n].1);
            buffer.insert(start + at, &Arrival { red, ..packet });
        }
        let playing = next_timestamp(&buffer, start + clock);
        let what = buffer.pull(start + clock, &mut heard);
        if block == 500 {
            before = buffer.stats;
        }
        if block > 500
            && what == Heard::Sound
            && let Some(playing) = playing
        {
            let captured = f64::from(playing.wrapping_sub(FIRST_TIMESTAMP)) / 48.0;
            delays.push(clock.as_secs_f64() * 1_000.0 - captured - 20.0);
        }
    }
    let gone = came[250..].iter().filter(|came| !**came).count();
    let gone = gone as f64 / (came.len() - 250) as f64;
    let stats = buffer.stats;
    let during = (stats.total_samples_received - before.total_samples_received) as f64;
    Outcome {
        delay: delays.iter().sum::<f64>() / delays.len() as f64,
        concealed: (stats.concealed_samples - before.concealed_samples) as f64 / during,
        stats,
        heard,
        gone,
    }
}

fn path(loss: f32, jitter: f32) -> Path {
    Path {
        loss,
        jitter,
        again: None,
        stalls: None,
        phase: 3.7,
        seed: 7,
    }
}

#[test]
fn a_steady_stream_is_heard_soon_and_whole() {
    let outcome = call(15, PLAIN, &path(0.0, 0.0));
    assert!(outcome.delay < 33.0, "{}", outcome.delay);
    let stats = outcome.stats;
    assert_eq!((stats.concealed_samples, stats.packets_discarded), (0, 0));
    assert_eq!(stats.restarts, 0, "sequence numbers and timestamps wrapped");
    assert!((14.8..=15.0).contains(&stats.total_samples_duration));
    assert!(stats.total_audio_energy > 0.5 && stats.audio_level > 0.0);
    let mean = stats.jitter_buffer_delay / stats.jitter_buffer_emitted_count as f64;
    assert!((0.015..0.050).contains(&mean), "{mean}");
}

#[test]
fn jitter_of_30_ms_is_hidden_by_50() {
    let outcome = call(20, PLAIN, &path(0.0, 30.0));
    assert!(outcome.delay < 50.0, "{}", outcome.delay);
    assert_eq!(outcome.concealed, 0.0);
}

#[test]
fn what_is_lost_is_concealed_and_no_more() {
    for (loss, wanted) in [(0.02, 0.01..0.035), (0.10, 0.08..0.13)] {
        let outcome = call(20, PLAIN, &path(loss, 30.0));
        assert!(outcome.delay < 50.0, "{}", outcome.delay);
        assert!(wanted.contains(&outcome.concealed), "{}", outcome.concealed);
        assert!(outcome.stats.concealment_events > 10);
    }
}

/// Over all that the clocks of both ends can be apart within a block.
fn on_average(sent: &Sent, sender: Sender, path: &Path) -> (f64, f64, f64) {
    let outcomes: Vec<_> = (0..5u8)
        .map(|n| {
            let phase = 0.5 + 2.0 * f32::from(n);
            let seed = u64::from(n);
            carry(
                sent,
                25,
                sender,
                &Path {
                    phase,
                    seed,
                    ..path.clone()
                },
            )
        })
        .collect();
    let mean = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / 5.0;
    (
        mean(|one| one.delay),
        mean(|one| one.concealed),
        mean(|one| one.gone),
    )
}

#[test]
fn redundancy_is_waited_for_and_no_longer_than_it_takes() {
    let red = Sender { red: 1, ..PLAIN };
    let sent = sent(25, red);
    // The copy comes 20 ms later; packets overtake each other where there is jitter.
    for (jitter, most) in [(0.0, 33.0), (30.0, 57.0)] {
        for loss in [0.02, 0.10] {
            let (delay, concealed, gone) = on_average(&sent, red, &path(loss, jitter));
            assert!(delay < most, "{delay} at {jitter} ms, {loss}");
            assert!(
                (concealed - gone).abs() < 0.002,
                "{concealed} of {gone} at {jitter} ms, {loss}"
            );
        }
    }
    let (delay, concealed, _) = on_average(&sent, red, &path(0.0, 0.0));
    assert!(delay < 21.0 && concealed == 0.0, "{delay} {concealed}");
}

#[test]
fn copies_are_used_before_anything_is_made_up() {
    let fec = Sender { fec: true, ..PLAIN };
    let sent = sent(25, fec);
    // Frames between syllables have no copy.
    for (loss, most) in [(0.02, 0.006), (0.10, 0.04)] {
        let (delay, concealed, _) = on_average(&sent, fec, &path(loss, 30.0));
        assert!(concealed < most, "{concealed}");
        // The packet after a lost one is waited for.
        assert!(delay < 57.0, "{delay}");
    }
    let twice = Sender { red: 2, ..PLAIN };
    let outcome = call(20, twice, &path(0.10, 0.0));
    assert!(outcome.concealed < 0.006, "{}", outcome.concealed);
    assert!(outcome.stats.fec_packets_received > 50);
}

#[test]
fn what_comes_again_is_not_waited_for_where_there_are_copies() {
    let red = Sender { red: 1, ..PLAIN };
    let lost = call(30, red, &path(0.1, 10.0));
    let again = Path {
        again: Some(90.0),
        ..path(0.1, 10.0)
    };
    let repeated = call(30, red, &again);
    assert!(repeated.delay < lost.delay + 10.0, "{}", repeated.delay);
    assert!(
        repeated.concealed < lost.concealed + 0.01,
        "{}",
        repeated.concealed
    );
    // Without copies it is all that there is.
    let plain = call(30, PLAIN, &again);
    assert!(plain.delay > 90.0, "{}", plain.delay);
    assert!(plain.concealed < 0.03, "{}", plain.concealed);
}

#[test]
fn a_path_that_stands_still_now_and_then_is_waited_out() {
    let stalls = Path {
        stalls: Some(150),
        ..path(0.0, 5.0)
    };
    let outcome = call(20, PLAIN, &stalls);
    assert!(outcome.concealed < 0.01, "{}", outcome.concealed);
    assert!(outcome.delay < 180.0, "{}", outcome.delay);
}

#[test]
fn the_delay_shrinks_and_grows_with_the_path() {
    let sent = sent(65, PLAIN);
    let mut buffer = JitterBuffer::new(JitterConfig::default()).unwrap();
    let start = Instant::now();
    let mut random = fastrand::Rng::with_seed(5);
    // Jitter of 100 ms for ten seconds between steady stretches; it takes longer to forget than to learn.
    let mut flights: Vec<_> = (0u32..)
        .zip(&sent)
        .map(|(n, packet)| {
            let late = if (500..1_000).contains(&n) {
                random.f32() * 100.0
            } else {
                0.0
            };
            (start + ms(20.0) * (n + 1) + ms(late), n as u16, packet)
        })
        .collect();
    flights.sort_by_key(|flight| flight.0);
    let mut flights = flights.into_iter().peekable();
    let (mut out, mut targets) = (Vec::new(), Vec::new());
    for block in 0..6_500 {
        let now = start + ms(10.0) * block;
        while let Some((at, sequence, packet)) = flights.next_if(|flight| flight.0 <= now) {
            buffer.insert(at, &arrival(1, sequence, packet.0, &packet.1));
        }
        buffer.pull(now, &mut out);
        targets.push(buffer.target_delay().as_millis());
    }
    let (before, during, after) = (targets[950], targets[1_950], targets[6_450]);
    assert!(
        before < 20 && during > 80 && after < 20,
        "{before} {during} {after}"
    );
    let stats = buffer.stats();
    assert!(stats.removed_samples_for_acceleration > 2_000);
    assert!(stats.concealed_samples < 40 * 480, "{stats:?}");
}

#[test]
fn more_delay_on_demand_is_stretched_and_not_torn() {
    let sent = sent(8, PLAIN);
    let (mut buffer, start, mut out) = playing(&sent);
    buffer.set_minimum_delay(Duration::from_millis(120));
    for (n, packet) in (100u32..).zip(&sent[100..]) {
        let now = start + ms(20.0) * (n - 100);
        buffer.insert(now, &arrival(1, n as u16, packet.0, &packet.1));
        buffer.pull(now, &mut out);
        buffer.pull(now + ms(10.0), &mut out);
    }
    let stats = buffer.stats();
    // From about 40 ms to 120.
    assert!(
        (3_000..5_000).contains(&stats.inserted_samples_for_deceleration),
        "{stats:?}"
    );
    assert_eq!(stats.concealed_samples, 0);
    assert_eq!(buffer.target_delay(), Duration::from_millis(120));
}

#[test]
fn a_pause_of_the_sender_is_no_loss() {
    let dtx = Sender {
        dtx: true,
        pauses: true,
        ..PLAIN
    };
    let sent = sent(20, dtx);
    assert!(sent.len() < 920);
    let outcome = carry(&sent, 20, dtx, &path(0.0, 30.0));
    assert_eq!(outcome.concealed, 0.0);
    assert_eq!(outcome.stats.late_packets, 0);
    assert!(outcome.delay < 55.0, "{}", outcome.delay);
    // The last pause is of a second.
    let quiet = &outcome.heard[outcome.heard.len() - 24_000..];
    assert!(quiet.iter().all(|sample| sample.abs() < 200));
}

#[test]
fn clocks_apart_by_200_ppm_are_followed() {
    for drift in [-0.0002, 0.0002] {
        let sent = sent(40, PLAIN);
        let mut buffer = JitterBuffer::new(JitterConfig::default()).unwrap();
        let start = Instant::now();
        let mut packets = sent.iter().zip(1u32..).peekable();
        let mut out = Vec::new();
        for block in 0..4_000u32 {
            let now = start + ms(10.0) * block;
            let at = |n: u32| start + (ms(20.0) * n).mul_f64(1.0 + drift);
            while let Some((packet, n)) = packets.next_if(|(_, n)| at(*n) <= now) {
                buffer.insert(at(n), &arrival(1, n as u16, packet.0, &packet.1));
            }
            buffer.pull(now, &mut out);
        }
        assert!(
            buffer.stats().concealed_samples <= 960,
            "{:?}",
            buffer.stats()
        );
        let waiting = buffer.stream.as_ref().unwrap().packets.len();
        assert!(waiting <= 3, "{waiting}");
    }
}

#[test]
fn the_delay_told_is_that_of_the_sound() {
    // Silence, then a click, which is sent 2.5 s after the beginning.
    let mut pcm = vec![0i16; 5 * 48_000];
    for (n, sample) in pcm[120_000..].iter_mut().take(4_800).enumerate() {
        *sample = (12_000.0 * (TAU * 400.0 * n as f32 / 48_000.0).sin()) as i16;
    }
    let mut encoder = Encoder::new(EncoderConfig::default()).unwrap();
    let mut buffer = JitterBuffer::new(JitterConfig {
        channels: 2,
        minimum_delay: ms(100.0),
        ..JitterConfig::default()
    })
    .unwrap();
    let start = Instant::now();
    let mut out = Vec::new();
    let mut told = Vec::new();
    for (n, frame) in (0u32..).zip(pcm.chunks_exact(960)) {
        let mut packet = Vec::new();
        encoder.encode(frame, &mut packet).unwrap();
        let now = start + ms(20.0) * (n + 1);
        buffer.insert(now, &arrival(1, n as u16, n * 960, &packet));
        for half in 0..2 {
            told.push(next_timestamp(&buffer, now));
            buffer.pull(now + ms(10.0) * half, &mut out);
        }
    }
    let heard = out
        .chunks_exact(2)
        .position(|frame| frame[0].abs() > 1_000)
        .unwrap();
    assert!(out.chunks_exact(2).all(|frame| frame[0] == frame[1]));
    let told = told[heard / BLOCK].unwrap() as usize + heard % BLOCK;
    // The encoder looks ahead 6.5 ms, and the tone takes a moment to reach its height.
    let difference = told as f32 / 48.0 - 2_500.0;
    assert!((0.0..12.0).contains(&difference), "{difference}");
    // Captured at 2.5 s, sent with its frame, and 100 ms to wait.
    let delay = heard as f32 / 48.0 - 2_500.0;
    assert!((90.0..135.0).contains(&delay), "{delay}");
}

fn arrival(ssrc: u32, sequence: u16, timestamp: u32, payload: &[u8]) -> Arrival<'_> {
    Arrival {
        ssrc,
        sequence,
        timestamp,
        payload,
        red: false,
    }
}

/// A buffer that has played two seconds, and what of the stream has not been sent yet.
fn playing(sent: &Sent) -> (JitterBuffer, Instant, Vec<i16>) {
    let mut buffer = JitterBuffer::new(JitterConfig::default()).unwrap();
    let start = Instant::now();
    let mut out = Vec::new();
    for (n, packet) in (0u32..).zip(&sent[..100]) {
        let now = start + ms(20.0) * n;
        buffer.insert(now, &arrival(1, n as u16, packet.0, &packet.1));
        buffer.pull(now, &mut out);
        buffer.pull(now + ms(10.0), &mut out);
    }
    (buffer, start + ms(20.0) * 100, out)
}

#[test]
fn another_source_and_a_leap_in_time_begin_anew_and_strays_are_dropped() {
    let sent = sent(4, PLAIN);
    for (ssrc, first, leap) in [(2, 30_000, 0), (1, 100, 4_000_000), (1, 100, 0x9000_0000)] {
        let (mut buffer, start, mut out) = playing(&sent);
        // Not the next number and from another time: a stray.
        let stray = arrival(1, 200, sent[100].0.wrapping_add(3_000_000), &sent[100].1);
        buffer.insert(start, &stray);
        assert_eq!(buffer.stats().restarts, 0);
        let mut last = Heard::Nothing;
        for (n, packet) in (0u32..).zip(&sent[100..150]) {
            let now = start + ms(20.0) * n;
            let timestamp = packet.0.wrapping_add(leap);
            buffer.insert(now, &arrival(ssrc, first + n as u16, timestamp, &packet.1));
            last = buffer.pull(now, &mut out);
            buffer.pull(now + ms(10.0), &mut out);
        }
        let stats = buffer.stats();
        assert_eq!(stats.restarts, 1);
        assert_eq!(last, Heard::Sound);
        assert_eq!(stats.packets_received, 151);
    }
}

#[test]
fn when_nothing_comes_any_more_sound_fades_into_silence_and_can_come_back() {
    let sent = sent(4, PLAIN);
    let (mut buffer, start, mut out) = playing(&sent);
    for block in 0..200 {
        let heard = buffer.pull(start + ms(10.0) * block, &mut out);
        assert_eq!(
            heard == Heard::Concealed,
            block >= 10 || heard == Heard::Concealed
        );
    }
    assert!(out[out.len() - 48_000..].iter().all(|&sample| sample == 0));
    let stats = *buffer.stats();
    assert_eq!(stats.concealment_events, 1);
    assert!(stats.silent_concealed_samples > 60_000);
    assert!(stats.concealed_samples > stats.silent_concealed_samples);
    // It was muted: numbers go on, and time has passed.
    let back = start + ms(10.0) * 200;
    for (n, packet) in (0u32..).zip(&sent[100..150]) {
        let now = back + ms(20.0) * n;
        let timestamp = packet.0.wrapping_add(96_000);
        buffer.insert(now, &arrival(1, 100 + n as u16, timestamp, &packet.1));
        buffer.pull(now, &mut out);
        buffer.pull(now + ms(10.0), &mut out);
    }
    let after = buffer.stats();
    assert!(after.concealed_samples - stats.concealed_samples < 4_800);
    assert_eq!((after.restarts, after.packets_discarded), (0, 0));
}

#[test]
fn late_and_double_packets_are_counted_and_not_heard() {
    let sent = sent(4, PLAIN);
    let (mut buffer, now, _) = playing(&sent);
    let (timestamp, payload) = &sent[20];
    buffer.insert(now, &arrival(1, 20, *timestamp, payload));
    let (timestamp, payload) = &sent[101];
    buffer.insert(now, &arrival(1, 101, *timestamp, payload));
    buffer.insert(now, &arrival(1, 101, *timestamp, payload));
    let stats = buffer.stats();
    assert_eq!((stats.late_packets, stats.packets_discarded), (1, 2));
}

#[test]
fn a_stream_that_nobody_pulls_stays_small_and_is_picked_up_at_its_end() {
    let sent = sent(20, PLAIN);
    let (mut buffer, start, mut out) = playing(&sent);
    for (n, packet) in (100u32..).zip(&sent[100..]) {
        let now = start + ms(20.0) * (n - 100);
        buffer.insert(now, &arrival(1, n as u16, packet.0, &packet.1));
    }
    assert_eq!(buffer.stream.as_ref().unwrap().packets.len(), MAX_PACKETS);
    let now = start + ms(20.0) * 900;
    assert_eq!(buffer.pull(now, &mut out), Heard::Sound);
    let newest = sent.last().unwrap().0.wrapping_add(960);
    let behind = newest.wrapping_sub(next_timestamp(&buffer, now).unwrap());
    assert!(behind < 48 * 100, "{behind}");
}

#[test]
fn nothing_is_heard_before_anything_has_come() {
    let mut buffer = JitterBuffer::new(JitterConfig::default()).unwrap();
    let mut out = Vec::new();
    assert_eq!(buffer.pull(Instant::now(), &mut out), Heard::Nothing);
    assert_eq!(out, [0; BLOCK]);
    assert_eq!(*buffer.stats(), JitterStats::default());
    assert_eq!(buffer.playout(Instant::now()), None);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_each_pull_is_ten_milliseconds(
        arrivals in proptest::collection::vec(
            (0u32..2, proptest::num::u16::ANY, proptest::num::u32::ANY, proptest::bool::ANY,
             proptest::collection::vec(proptest::num::u8::ANY, 0..40), 0u64..60, 0u32..3),
            0..60,
        ),
        near: bool,
    ) {
        let mut buffer = JitterBuffer::new(JitterConfig { channels: 2, ..JitterConfig::default() }).unwrap();
        let mut now = Instant::now();
        let mut out = Vec::new();
        let mut pulls = 0;
        for (ssrc, sequence, timestamp, red, payload, later, pulled) in arrivals {
            now += Duration::from_millis(later);
            let (sequence, timestamp) = if near {
                (sequence % 64, timestamp % 60_000)
            } else {
                (sequence, timestamp)
            };
            buffer.insert(now, &Arrival { ssrc, sequence, timestamp, payload: &payload, red });
            for _ in 0..pulled {
                buffer.pull(now, &mut out);
                pulls += 1;
            }
        }
        proptest::prop_assert_eq!(out.len(), pulls * BLOCK * 2);
    }
}

#[test]
#[ignore = "prints what the module's documentation tells"]
fn table() {
    let fec = Sender { fec: true, ..PLAIN };
    let red = Sender { red: 1, ..PLAIN };
    for (name, sender) in [("plain", PLAIN), ("in-band FEC", fec), ("RED", red)] {
        let sent = sent(25, sender);
        for jitter in [0.0, 30.0] {
            for loss in [0.0, 0.02, 0.10] {
                let (delay, concealed, _) = on_average(&sent, sender, &path(loss, jitter));
                println!(
                    "{name:12} jitter {jitter:2} ms loss {:4.1} %: heard after {delay:5.1} ms, concealed {:5.2} %",
                    loss * 100.0,
                    concealed * 100.0
                );
            }
        }
    }
    let start = Instant::now();
    let sent = sent(65, PLAIN);
    let encoded = start.elapsed();
    carry(&sent, 65, PLAIN, &path(0.02, 30.0));
    println!("{:?} a second of sound", (start.elapsed() - encoded) / 65);
}
