//! Echo cancellation, noise suppression, a high-pass filter and gain control for a captured voice: WebRTC's
//! audio processing, by `sonora`.

use sonora::config::{
    AdaptiveDigital, EchoCanceller, GainController2, HighPassFilter, NoiseSuppression, Pipeline,
};
use sonora::{AudioProcessing, Config, StreamConfig};

/// Hertz.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=384_000;
const MAX_CHANNELS: usize = 32;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessingConfig {
    pub echo_cancellation: bool,
    pub noise_suppression: bool,
    pub high_pass_filter: bool,
    pub auto_gain_control: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessingError {
    #[error("a sampling rate of {0} Hz is not between 8000 and 384000")]
    Rate(u32),
    #[error("{0} channels are not between 1 and {MAX_CHANNELS}")]
    Channels(usize),
    #[error("{got} samples are not a multiple of 10 ms, {chunk} of all channels")]
    Length { got: usize, chunk: usize },
    #[error("a stream delay of {0} ms is not between 0 and 500")]
    Delay(i32),
    #[error("audio processing: {0}")]
    Library(&'static str),
}

/// Works on a captured (near) stream, and listens to the played (far) one for the echo of it. Each may
/// change its rate and channels at any time, which starts its filters anew.
pub struct Processor {
    inner: AudioProcessing,
    scratch: Vec<i16>,
}

#[derive(Clone, Copy)]
enum Stream {
    Capture,
    Render,
}

impl Processor {
    pub fn new(config: ProcessingConfig) -> Self {
        let inner = AudioProcessing::builder()
            .config(Config {
                pipeline: Pipeline::default(),
                echo_canceller: config.echo_cancellation.then(EchoCanceller::default),
                noise_suppression: config.noise_suppression.then(NoiseSuppression::default),
                high_pass_filter: config.high_pass_filter.then(HighPassFilter::default),
                gain_controller2: config.auto_gain_control.then(|| GainController2 {
                    adaptive_digital: Some(AdaptiveDigital::default()),
                    ..GainController2::default()
                }),
                ..Config::default()
            })
            .build();
        Self {
            inner,
            scratch: Vec::new(),
        }
    }

    /// Processes captured samples in place: interleaved, a whole number of 10 ms (`rate / 100` frames).
    pub fn process_stream(
        &mut self,
        pcm: &mut [i16],
        rate: u32,
        channels: usize,
    ) -> Result<(), ProcessingError> {
        self.run(pcm, rate, channels, Stream::Capture)
    }

    /// Takes note of samples that are about to be played.
    pub fn process_reverse_stream(
        &mut self,
        pcm: &mut [i16],
        rate: u32,
        channels: usize,
    ) -> Result<(), ProcessingError> {
        self.run(pcm, rate, channels, Stream::Render)
    }

    /// From a frame in [`Self::process_reverse_stream`] to its echo in [`Self::process_stream`]. Beyond
    /// 0 to 500 the nearest is taken, and an error tells so.
    pub fn set_stream_delay_ms(&mut self, delay: i32) -> Result<(), ProcessingError> {
        self.inner
            .set_stream_delay_ms(delay)
            .map_err(|_| ProcessingError::Delay(delay))
    }

    fn run(
        &mut self,
        pcm: &mut [i16],
        rate: u32,
        channels: usize,
        stream: Stream,
    ) -> Result<(), ProcessingError> {
        if !RATES.contains(&rate) {
            return Err(ProcessingError::Rate(rate));
        }
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(ProcessingError::Channels(channels));
        }
        let config = StreamConfig::new(rate, channels as u16);
        let chunk = config.num_samples();
        if !pcm.len().is_multiple_of(chunk) {
            let got = pcm.len();
            return Err(ProcessingError::Length { got, chunk });
        }
        for chunk in pcm.chunks_exact_mut(chunk) {
            self.scratch.clear();
            self.scratch.extend_from_slice(chunk);
            let source = &self.scratch;
            match stream {
                Stream::Capture => self
                    .inner
                    .process_capture_i16_with_config(source, &config, &config, chunk),
                Stream::Render => self
                    .inner
                    .process_render_i16_with_config(source, &config, &config, chunk),
            }
            .map_err(|_| ProcessingError::Library("the frame was refused"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    const RATE: u32 = 48_000;
    const CHUNK: usize = 480;

    fn energy(pcm: &[i16]) -> f64 {
        let sum: f64 = pcm.iter().map(|&s| f64::from(s).powi(2)).sum();
        sum / pcm.len() as f64
    }

    fn decibels(after: &[i16], before: &[i16]) -> f64 {
        10.0 * ((energy(after) + 1e-9) / energy(before)).log10()
    }

    fn noise(seed: u64, len: usize, amplitude: f32) -> Vec<i16> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..len)
            .map(|_| ((random.f32() * 2.0 - 1.0) * amplitude) as i16)
            .collect()
    }

    /// Runs a captured stream; gives its last second.
    fn processed(config: ProcessingConfig, captured: &[i16], played: &[i16]) -> Vec<i16> {
        let mut processor = Processor::new(config);
        processor.set_stream_delay_ms(0).unwrap();
        let mut out = captured.to_vec();
        for (near, far) in out.chunks_exact_mut(CHUNK).zip(played.chunks_exact(CHUNK)) {
            let mut far = far.to_vec();
            processor.process_reverse_stream(&mut far, RATE, 1).unwrap();
            processor.process_stream(near, RATE, 1).unwrap();
        }
        out.split_off(out.len() - RATE as usize)
    }

    fn last_second(pcm: &[i16]) -> &[i16] {
        &pcm[pcm.len() - RATE as usize..]
    }

    #[test]
    fn echo_is_cancelled() {
        let played = noise(1, 3 * RATE as usize, 8_000.0);
        let mut captured = vec![0; 960];
        captured.extend(played.iter().map(|sample| sample / 2));
        captured.truncate(played.len());
        let config = ProcessingConfig {
            echo_cancellation: true,
            ..ProcessingConfig::default()
        };
        let out = processed(config, &captured, &played);
        let change = decibels(&out, last_second(&captured));
        assert!(change < -25.0, "{change}");
        let without = processed(ProcessingConfig::default(), &captured, &played);
        assert_eq!(without, last_second(&captured));
    }

    #[test]
    fn noise_is_suppressed() {
        let captured = noise(2, 3 * RATE as usize, 1_000.0);
        let config = ProcessingConfig {
            noise_suppression: true,
            ..ProcessingConfig::default()
        };
        let out = processed(config, &captured, &vec![0; captured.len()]);
        let change = decibels(&out, last_second(&captured));
        assert!(change < -8.0, "{change}");
    }

    #[test]
    fn rumble_is_filtered_and_voice_passes() {
        let config = ProcessingConfig {
            high_pass_filter: true,
            ..ProcessingConfig::default()
        };
        let change = |hertz: f32| {
            let captured: Vec<i16> = (0..2 * RATE)
                .map(|n| (8_000.0 * (TAU * hertz * n as f32 / RATE as f32).sin()) as i16)
                .collect();
            let out = processed(config, &captured, &vec![0; captured.len()]);
            decibels(&out, last_second(&captured))
        };
        assert!(change(20.0) < -20.0);
        assert!(change(500.0).abs() < 1.0);
    }

    #[test]
    fn a_quiet_voice_is_amplified() {
        let captured: Vec<i16> = (0..4 * RATE)
            .map(|n| {
                let t = n as f32 / RATE as f32;
                let buzz: f32 = (1..15)
                    .map(|k| (TAU * 150.0 * k as f32 * t).sin() / k as f32)
                    .sum();
                (buzz * 300.0 * (0.55 - 0.45 * (TAU * 4.0 * t).cos())) as i16
            })
            .collect();
        let config = ProcessingConfig {
            auto_gain_control: true,
            ..ProcessingConfig::default()
        };
        let out = processed(config, &captured, &vec![0; captured.len()]);
        let change = decibels(&out, last_second(&captured));
        assert!(change > 6.0, "{change}");
    }

    #[test]
    fn every_rate_and_channel_count_is_taken_and_other_lengths_are_refused() {
        let mut processor = Processor::new(ProcessingConfig {
            echo_cancellation: true,
            noise_suppression: true,
            high_pass_filter: true,
            auto_gain_control: true,
        });
        for rate in [
            8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000,
        ] {
            for channels in [1, 2, 3, 8] {
                let mut pcm = noise(3, 2 * (rate as usize / 100) * channels, 500.0);
                processor
                    .process_reverse_stream(&mut pcm, rate, channels)
                    .unwrap();
                processor.process_stream(&mut pcm, rate, channels).unwrap();
            }
        }
        let mut short = [0; 100];
        assert_eq!(
            processor.process_stream(&mut short, RATE, 1),
            Err(ProcessingError::Length {
                got: 100,
                chunk: 480
            })
        );
        assert!(processor.process_stream(&mut [], RATE, 0).is_err());
        assert!(processor.process_stream(&mut [], 0, 1).is_err());
        assert_eq!(processor.set_stream_delay_ms(50), Ok(()));
        assert_eq!(
            processor.set_stream_delay_ms(501),
            Err(ProcessingError::Delay(501))
        );
    }
}
