use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn tone(rate: u32, channels: usize, time: Duration) -> Vec<i16> {
    let frames = (time.as_secs_f64() * f64::from(rate)) as usize;
    let sample = |frame: usize| {
        let phase = frame as f64 * 440.0 * std::f64::consts::TAU / f64::from(rate);
        (phase.sin() * 8_000.0) as i16
    };
    (0..frames)
        .flat_map(|frame| std::iter::repeat_n(sample(frame), channels))
        .collect()
}

fn source(queue: &Arc<Queue>, now: Instant, dtx: bool) -> Source {
    let config = EncoderConfig {
        dtx,
        ..EncoderConfig::default()
    };
    Source::new(now, Arc::clone(queue), config, || ()).unwrap()
}

/// Runs until `end`; when each frame came, and the frame.
fn run(source: &mut Source, now: &mut Instant, end: Instant) -> Vec<(Instant, OpusFrame)> {
    let mut frames = Vec::new();
    while let Some(due) = source.poll_timeout().filter(|due| *due <= end) {
        *now = due.max(*now);
        frames.extend(source.poll_frame(*now).map(|frame| (*now, frame)));
    }
    *now = end;
    frames
}

#[test]
fn a_rest_that_fills_no_packet_is_sent_with_silence_when_nothing_more_comes() {
    let start = Instant::now();
    let queue = Queue::new(48_000, 1, SECOND);
    let mut source = source(&queue, start, false);
    let mut now = start;
    for length in [30, 1, 10] {
        let time = Duration::from_millis(length);
        queue.push(now, &tone(48_000, 1, time)).unwrap();
        let end = now + Duration::from_millis(200);
        let sent = run(&mut source, &mut now, end);
        assert_eq!(sent.len(), (length as usize).div_ceil(20), "{length} ms");
        assert_eq!(queue.queued(now), Duration::ZERO);
    }
}

#[test]
fn frames_become_as_small_as_the_way_takes_and_no_larger_than_wished() {
    let start = Instant::now();
    let queue = Queue::new(48_000, 1, 10 * SECOND);
    let mut source = source(&queue, start, false);
    let mut now = start;
    let mut bits = |source: &mut Source| {
        queue.push(now, &tone(48_000, 1, SECOND)).unwrap();
        let end = now + SECOND;
        let sent = run(source, &mut now, end);
        sent.iter()
            .map(|(_, it)| it.payload.len() * 8)
            .sum::<usize>()
    };
    let usual = bits(&mut source);
    source.adapt(16_000, 20);
    let least = bits(&mut source);
    assert!(least < 20_000 && least < usual / 2, "{usual}, {least}");
    source.adapt(510_000, 1);
    let again = bits(&mut source);
    assert!(again.abs_diff(usual) < usual / 4, "{usual}, {again}");
}

#[test]
fn pieces_shorter_than_a_packet_are_joined() {
    let start = Instant::now();
    let queue = Queue::new(48_000, 1, SECOND);
    let mut source = source(&queue, start, false);
    let mut now = start;
    let piece = tone(48_000, 1, Duration::from_millis(10));
    let mut captured = Vec::new();
    for index in 1..=50 {
        queue.push(now, &piece).unwrap();
        let end = start + Duration::from_millis(10) * index;
        let frames = run(&mut source, &mut now, end);
        captured.extend(frames.iter().map(|(_, frame)| frame.captured - start));
    }
    // When the first of them came.
    let first: Vec<_> = (0..25).map(|index| FRAME * index).collect();
    assert_eq!(captured, first);
}

#[test]
fn what_is_queued_at_once_leaves_in_the_time_that_it_takes() {
    for (rate, channels) in [(48_000, 1), (24_000, 1), (44_100, 2), (16_000, 6)] {
        let start = Instant::now();
        let queue = Queue::new(rate, channels, 2 * SECOND);
        let mut source = source(&queue, start, false);
        queue.push(start, &tone(rate, channels, SECOND)).unwrap();
        let mut now = start;
        let frames = run(&mut source, &mut now, start + 2 * SECOND);
        assert!(
            (49..=50).contains(&frames.len()),
            "{rate}: {}",
            frames.len()
        );
        for (index, (at, frame)) in frames.iter().enumerate() {
            assert_eq!(*at, start + FRAME * index as u32);
            assert_eq!(frame.timestamp, 960 * index as u32);
            assert_eq!(frame.captured, *at);
            assert!(
                (10..20).contains(&frame.level) && frame.voice,
                "{}",
                frame.level
            );
            assert_eq!(frame.begins, index == 0);
        }
    }
}

#[test]
fn a_full_queue_says_how_long_to_wait_and_empties_by_the_clock_without_a_sender() {
    let start = Instant::now();
    let queue = Queue::new(48_000, 1, SECOND);
    let half = tone(48_000, 1, SECOND / 2);
    queue.push(start, &half).unwrap();
    queue.push(start, &half).unwrap();
    let wait = queue.push(start, &half).unwrap_err();
    assert_eq!(wait, SECOND / 2);
    assert!(queue.push(start + wait, &half).is_ok());
    assert_eq!(queue.queued(start + wait), SECOND);
    assert_eq!(queue.queued(start + 3 * SECOND), Duration::ZERO);
    // However long it is, what comes into an empty queue is taken.
    let long = tone(48_000, 1, 5 * SECOND);
    assert!(queue.push(start + 4 * SECOND, &long).is_ok());
}

#[test]
fn a_pause_moves_the_timestamp_on_and_the_next_frame_says_so() {
    let start = Instant::now();
    let queue = Queue::new(48_000, 1, SECOND);
    let mut source = source(&queue, start, false);
    let mut now = start;
    queue.push(now, &tone(48_000, 1, SECOND / 10)).unwrap();
    assert_eq!(run(&mut source, &mut now, start + SECOND).len(), 5);
    queue.push(now, &tone(48_000, 1, SECOND / 10)).unwrap();
    let frames = run(&mut source, &mut now, start + 2 * SECOND);
    assert_eq!(frames[0].0, start + SECOND);
    assert!(frames[0].1.begins && !frames[1].1.begins);
    assert_eq!(frames[0].1.timestamp, 48_000);
}

#[test]
fn samples_a_little_late_are_caught_up_with() {
    let start = Instant::now();
    let queue = Queue::new(48_000, 1, SECOND);
    let mut source = source(&queue, start, false);
    let mut now = start;
    queue.push(now, &tone(48_000, 1, FRAME * 2)).unwrap();
    assert_eq!(run(&mut source, &mut now, start + FRAME * 4).len(), 2);
    queue.push(now, &tone(48_000, 1, FRAME * 4)).unwrap();
    let frames = run(&mut source, &mut now, start + SECOND);
    let at: Vec<_> = frames.iter().map(|(at, _)| *at - start).collect();
    assert_eq!(at, [FRAME * 4, FRAME * 4, FRAME * 4, FRAME * 5]);
    assert!(frames.iter().all(|(_, frame)| !frame.begins));
}

#[test]
fn silence_is_said_once_where_transmission_may_stop() {
    let start = Instant::now();
    let queue = Queue::new(48_000, 1, 10 * SECOND);
    let mut source = source(&queue, start, true);
    let mut now = start;
    queue.push(now, &vec![0; 48_000 * 4]).unwrap();
    queue.push(now, &tone(48_000, 1, SECOND)).unwrap();
    let silent = run(&mut source, &mut now, start + 4 * SECOND - FRAME);
    assert!(silent.len() < 60, "{}", silent.len());
    let frames = run(&mut source, &mut now, start + 6 * SECOND);
    assert!(frames.len() >= 49);
    assert!(frames.iter().any(|(_, frame)| frame.begins));
}

#[test]
fn frames_pass_as_they_were_queued_and_are_encoded_only_where_that_is_wanted() {
    let start = Instant::now();
    let queue = Queue::new(24_000, 1, SECOND);
    let mut source = source(&queue, start, true);
    let played = tone(24_000, 1, SECOND / 2);
    let mut passed = Vec::new();
    let mut now = start;
    for (plain, encoded, length) in [(true, false, 10), (true, true, 10), (false, true, 5)] {
        source.set_forms(plain, encoded);
        let step = FRAME * length;
        let samples = played.chunks(480 * 10).next().unwrap();
        queue.push(now, &samples[..480 * length as usize]).unwrap();
        let end = now + step - Duration::from_millis(1);
        let frames = run(&mut source, &mut now, end);
        now += Duration::from_millis(1);
        let with_payload = frames.iter().filter(|(_, it)| !it.payload.is_empty());
        let whole = frames.len() as u32;
        // The resampler holds a little back.
        assert!((length - 1..=length).contains(&whole), "{whole}");
        let least = if encoded { length as usize - 1 } else { 0 };
        assert!((least..=least + usize::from(encoded)).contains(&with_payload.count()));
        assert!(frames.iter().all(|(_, it)| it.plain.is_some() == plain));
        for (_, frame) in frames {
            let samples = frame.plain.as_ref().and_then(Content::get::<Samples>);
            passed.extend(samples.iter().flat_map(|it| it.pcm.clone()));
        }
    }
    assert_eq!(passed[..4_800], played[..4_800]);
    assert_eq!(passed[4_800..], played[..4_800]);
}

#[test]
fn whoever_sends_from_a_queue_sends_all_of_it() {
    let start = Instant::now();
    let queue = Queue::new(48_000, 1, 2 * SECOND);
    let (mut first, mut second) = (source(&queue, start, false), source(&queue, start, false));
    let played = SECOND + FRAME / 2;
    queue.push(start, &tone(48_000, 1, played)).unwrap();
    let end = start + 2 * SECOND;
    let sent = [&mut first, &mut second].map(|it| run(it, &mut start.clone(), end));
    // The second, which begins when the first has ended, goes on near its end.
    assert_eq!(sent[0].len(), 51);
    assert_eq!(sent[1].len(), 10);
    assert_eq!(queue.queued(end), Duration::ZERO);
    assert!(first.poll_timeout().is_none() && second.poll_timeout().is_none());
    queue.push(end, &tone(48_000, 1, played)).unwrap();
    let mut lengths = [0; 2];
    for step in 0..100 {
        let mut now = end + FRAME * step;
        for (source, length) in [&mut first, &mut second].into_iter().zip(&mut lengths) {
            *length += run(source, &mut now, end + FRAME * step).len();
        }
    }
    assert_eq!(lengths, [51, 51]);
    assert!(first.poll_timeout().is_none() && second.poll_timeout().is_none());
}

#[test]
fn who_does_not_send_any_more_keeps_nobody_waiting() {
    let start = Instant::now();
    let queue = Queue::new(48_000, 1, SECOND);
    let still = source(&queue, start, false);
    let mut source = source(&queue, start, false);
    let mut now = start;
    for second in 1..=3 {
        queue.push(now, &tone(48_000, 1, SECOND)).unwrap();
        let sent = run(&mut source, &mut now, start + SECOND * second);
        assert!((49..=51).contains(&sent.len()), "{}", sent.len());
        assert_eq!(queue.queued(now), Duration::ZERO);
    }
    drop(source);
    drop(still);
    queue.push(now, &tone(48_000, 1, SECOND)).unwrap();
    assert_eq!(queue.queued(now + SECOND / 2), SECOND / 2);
    queue.clear();
    assert_eq!(queue.queued(now + SECOND / 2), Duration::ZERO);
}
