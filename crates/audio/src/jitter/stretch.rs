//! Sound made shorter or longer by one period of its pitch, so that it keeps its tone.

/// Samples of one channel: 2.5 ms, a pitch of 400 Hz.
pub(super) const MIN_LAG: usize = 120;
/// 15 ms, a pitch of 67 Hz.
pub(super) const MAX_LAG: usize = 720;
/// A lag is searched in every such sample first, then around the best.
const COARSE: usize = 6;
/// Samples compared, at most.
const WINDOW: usize = 720;
/// Mean square below which anything can be joined with anything.
const SILENCE: f32 = 100.0;

/// A period that sound can be cut or repeated by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Period {
    pub(super) lag: usize,
    /// How alike the two stretches are: up to 1; of silence, 1.
    pub(super) likeness: f32,
}

/// The channels' mean.
fn mono(pcm: &[i16], channels: usize, out: &mut Vec<f32>) {
    out.extend(
        pcm.chunks_exact(channels)
            .map(|frame| frame.iter().map(|&s| f32::from(s)).sum::<f32>() / channels as f32),
    );
}

fn likeness(a: &[f32], b: &[f32], step: usize) -> f32 {
    let (mut product, mut first, mut second) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b).step_by(step) {
        product += a * b;
        first += a * a;
        second += b * b;
    }
    let samples = (a.len().min(b.len()) / step).max(1) as f32;
    if first.max(second) < SILENCE * samples {
        return 1.0;
    }
    product / (first * second).sqrt().max(1.0)
}

/// Looks for the lag at which `at(lag)` gives the two most similar stretches.
fn search<'a>(most: usize, at: impl Fn(usize) -> Option<(&'a [f32], &'a [f32])>) -> Option<Period> {
    let best = |lags: &mut dyn Iterator<Item = usize>, step: usize| {
        lags.filter_map(|lag| {
            let (a, b) = at(lag)?;
            let likeness = likeness(a, b, step);
            Some(Period { lag, likeness })
        })
        .max_by(|a, b| a.likeness.total_cmp(&b.likeness))
    };
    let coarse = best(&mut (MIN_LAG..=most).step_by(COARSE), COARSE)?;
    let around = coarse.lag.saturating_sub(COARSE).max(MIN_LAG)..=(coarse.lag + COARSE).min(most);
    best(&mut around.into_iter(), 2)
}

/// The period, of `most` samples at most, by which the front of `ready` can be shortened; two of it must be
/// there.
pub(super) fn period_ahead(ready: &[i16], channels: usize, most: usize) -> Option<Period> {
    let most = (ready.len() / channels / 2).min(MAX_LAG).min(most);
    let mut samples = Vec::with_capacity(2 * most);
    mono(ready.get(..2 * most * channels)?, channels, &mut samples);
    search(most, |lag| {
        Some((samples.get(..most)?, samples.get(lag..lag + most)?))
    })
}

/// The period by which the front of `ready` can be lengthened with what was played before it.
pub(super) fn period_behind(played: &[i16], ready: &[i16], channels: usize) -> Option<Period> {
    let ahead = (ready.len() / channels).min(WINDOW);
    let mut samples = Vec::with_capacity(MAX_LAG + WINDOW);
    mono(
        played.get(played.len().checked_sub(MAX_LAG * channels)?..)?,
        channels,
        &mut samples,
    );
    mono(ready.get(..ahead * channels)?, channels, &mut samples);
    // The joint is a whole period of what is ahead.
    search(MAX_LAG.min(ahead), |lag| {
        let now = samples.get(MAX_LAG..MAX_LAG + ahead)?;
        Some((now, samples.get(MAX_LAG - lag..MAX_LAG - lag + ahead)?))
    })
}

/// Fades from `from` to `to`, frame by frame.
fn fade(from: &[i16], to: &[i16], channels: usize) -> Vec<i16> {
    let frames = (from.len().min(to.len()) / channels).max(1) as f32;
    from.iter()
        .zip(to)
        .enumerate()
        .map(|(index, (&from, &to))| {
            let share = (index / channels) as f32 / frames;
            (f32::from(from) * (1.0 - share) + f32::from(to) * share).round() as i16
        })
        .collect()
}

/// Takes `lag` samples out of the front of `ready`.
pub(super) fn shorten(ready: &mut Vec<i16>, lag: usize, channels: usize) {
    let period = lag * channels;
    let Some((first, rest)) = ready.split_at_checked(period) else {
        return;
    };
    let Some(second) = rest.get(..period) else {
        return;
    };
    let joint = fade(first, second, channels);
    ready.splice(..2 * period, joint);
}

/// Puts `lag` samples before `ready`, which lead from what was `played` once more into it.
pub(super) fn lengthen(played: &[i16], ready: &mut Vec<i16>, lag: usize, channels: usize) {
    let period = lag * channels;
    let before = played
        .len()
        .checked_sub(period)
        .and_then(|start| played.get(start..));
    let (Some(before), Some(ahead)) = (before, ready.get(..period)) else {
        return;
    };
    let joint = fade(ahead, before, channels);
    ready.splice(..0, joint);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    fn tone(from: usize, to: usize, hertz: f32, channels: usize) -> Vec<i16> {
        (from..to)
            .flat_map(|n| {
                let turns = TAU * hertz * n as f32 / 48_000.0;
                let sample = 8_000.0 * turns.sin() + 3_000.0 * (2.0 * turns).cos();
                (0..channels).map(move |channel| (sample / (channel + 1) as f32) as i16)
            })
            .collect()
    }

    /// The greatest step from one sample of the first channel to the next.
    fn steepest(pcm: &[i16], channels: usize) -> i32 {
        let left: Vec<i32> = pcm.iter().step_by(channels).map(|&s| s.into()).collect();
        left.windows(2)
            .map(|pair| (pair[1] - pair[0]).abs())
            .max()
            .unwrap()
    }

    #[test]
    fn a_tone_loses_or_gains_whole_periods_and_stays_smooth() {
        for channels in [1, 2] {
            for hertz in [80.0, 123.0, 200.0, 350.0] {
                let whole = tone(0, 4_800, hertz, channels);
                let played = &whole[..1_440 * channels];
                let smooth = steepest(&whole, channels) + 20;
                let periods = |lag: usize| {
                    let turns = lag as f32 * hertz / 48_000.0;
                    (turns - turns.round()).abs() < 0.03
                };

                let mut ready = whole[1_440 * channels..].to_vec();
                let before = ready.len();
                let period = period_ahead(&ready, channels, MAX_LAG).unwrap();
                assert!(period.likeness > 0.99 && periods(period.lag), "{period:?}");
                shorten(&mut ready, period.lag, channels);
                assert_eq!(ready.len(), before - period.lag * channels);
                let heard = [played, &ready].concat();
                assert!(steepest(&heard, channels) <= smooth);

                let mut ready = whole[1_440 * channels..].to_vec();
                let period = period_behind(played, &ready, channels).unwrap();
                assert!(period.likeness > 0.99 && periods(period.lag), "{period:?}");
                lengthen(played, &mut ready, period.lag, channels);
                assert_eq!(ready.len(), before + period.lag * channels);
                let heard = [played, &ready].concat();
                assert!(steepest(&heard, channels) <= smooth);
            }
        }
    }

    #[test]
    fn noise_has_no_period_and_silence_any() {
        let mut random = fastrand::Rng::with_seed(3);
        let noise: Vec<i16> = (0..2_880).map(|_| random.i16(-5_000..5_000)).collect();
        assert!(period_ahead(&noise, 1, MAX_LAG).unwrap().likeness < 0.5);
        assert_eq!(period_ahead(&[3; 2_880], 1, MAX_LAG).unwrap().likeness, 1.0);
    }

    #[test]
    fn too_little_sound_is_left_alone() {
        assert_eq!(period_ahead(&[0; 200], 1, MAX_LAG), None);
        assert_eq!(period_ahead(&[0; 2_880], 1, MIN_LAG - 1), None);
        assert_eq!(period_behind(&[0; 100], &[0; 960], 1), None);
        assert_eq!(period_behind(&[0; 720], &[0; 100], 1), None);
        let mut ready = vec![1; 100];
        shorten(&mut ready, 120, 1);
        lengthen(&[0; 50], &mut ready, 60, 1);
        assert_eq!(ready, [1; 100]);
    }
}
