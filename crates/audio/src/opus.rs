//! Opus at 48 kHz (RFC 6716, RFC 7587), by the reference implementation.

use opusic_c as libopus;
use roomful_media::codec::opus::Toc;

/// Hertz. The RTP clock of Opus, whatever the encoded bandwidth.
pub const SAMPLE_RATE: u32 = 48_000;
/// The longest packet, 120 ms, in samples of one channel.
pub const MAX_PACKET_SAMPLES: usize = 5_760;
/// Samples of one channel in 2.5 ms, of which every frame and every concealed stretch is a multiple.
pub const GRAIN: usize = 120;
/// No packet is made larger than this, so that it fits a datagram with its redundancy and encryption.
const MAX_PACKET_BYTES: usize = 1_275;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpusError {
    #[error("Opus takes one or two channels")]
    Channels,
    #[error("an Opus frame lasts 2.5, 5, 10, 20, 40 or 60 ms")]
    FrameLength,
    #[error("the packet is malformed")]
    Malformed,
    #[error("libopus: {0}")]
    Library(&'static str),
}

impl From<libopus::ErrorCode> for OpusError {
    fn from(code: libopus::ErrorCode) -> Self {
        match code {
            libopus::ErrorCode::InvalidPacket => Self::Malformed,
            other => Self::Library(other.message()),
        }
    }
}

/// What the encoder favours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Application {
    /// Intelligible speech.
    #[default]
    Voip,
    /// Fidelity, for music.
    Audio,
    /// The least delay: no speech modes, so neither in-band FEC nor DTX.
    LowDelay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderConfig {
    /// 1 or 2.
    pub channels: u8,
    /// Of one channel at 48 kHz: 960 is 20 ms.
    pub frame_samples: usize,
    /// Bits per second; `None` leaves it to libopus.
    pub bitrate: Option<u32>,
    /// Carry a coarse copy of the frame before, once loss is expected.
    pub fec: bool,
    /// Percent of packets that receivers miss.
    pub expected_loss: u8,
    /// Send next to nothing while it is silent.
    pub dtx: bool,
    pub application: Application,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self {
            channels: 1,
            frame_samples: 960,
            bitrate: None,
            fec: true,
            expected_loss: 0,
            dtx: false,
            application: Application::Voip,
        }
    }
}

fn channels(count: u8) -> Result<libopus::Channels, OpusError> {
    match count {
        1 => Ok(libopus::Channels::Mono),
        2 => Ok(libopus::Channels::Stereo),
        _ => Err(OpusError::Channels),
    }
}

pub struct Encoder {
    inner: libopus::Encoder,
    config: EncoderConfig,
}

impl Encoder {
    pub fn new(config: EncoderConfig) -> Result<Self, OpusError> {
        if ![120, 240, 480, 960, 1_920, 2_880].contains(&config.frame_samples) {
            return Err(OpusError::FrameLength);
        }
        let application = match config.application {
            Application::Voip => libopus::Application::Voip,
            Application::Audio => libopus::Application::Audio,
            Application::LowDelay => libopus::Application::LowDelay,
        };
        let rate = libopus::SampleRate::Hz48000;
        let mut inner = libopus::Encoder::new(channels(config.channels)?, rate, application)?;
        inner.set_inband_fec(if config.fec {
            libopus::InbandFec::Mode1
        } else {
            libopus::InbandFec::Off
        })?;
        inner.set_dtx(config.dtx)?;
        let mut encoder = Self { inner, config };
        encoder.set_bitrate(config.bitrate)?;
        encoder.set_expected_loss(config.expected_loss)?;
        Ok(encoder)
    }

    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// Appends the packet of one frame of interleaved samples, and gives its length. Of a byte or two it
    /// is silence in discontinuous transmission, and need not be sent each time.
    pub fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<usize, OpusError> {
        if pcm.len() != self.config.frame_samples * usize::from(self.config.channels) {
            return Err(OpusError::FrameLength);
        }
        let start = out.len();
        out.resize(start + MAX_PACKET_BYTES, 0);
        let packet = out.get_mut(start..).unwrap_or_default();
        let encoded = self
            .inner
            .encode_to_slice(bytemuck::cast_slice(pcm), packet);
        out.truncate(start + encoded.unwrap_or(0));
        Ok(encoded?)
    }

    /// Bits a second, as configured; `None` leaves it to libopus.
    #[must_use]
    pub fn bitrate(&self) -> Option<u32> {
        self.config.bitrate
    }

    /// Bits per second, 500 to 512,000.
    pub fn set_bitrate(&mut self, bitrate: Option<u32>) -> Result<(), OpusError> {
        let value = bitrate.map_or(libopus::Bitrate::Auto, |bitrate| {
            libopus::Bitrate::Value(bitrate.clamp(500, 512_000))
        });
        self.inner.set_bitrate(value)?;
        self.config.bitrate = bitrate;
        Ok(())
    }

    /// Percent; from about 2 on, speech carries the frame before.
    pub fn set_expected_loss(&mut self, percent: u8) -> Result<(), OpusError> {
        let percent = percent.min(100);
        self.inner.set_packet_loss(percent)?;
        self.config.expected_loss = percent;
        Ok(())
    }
}

/// Decodes to a fixed number of channels, whatever the packets have.
pub struct Decoder {
    inner: libopus::Decoder,
    channels: u8,
}

impl Decoder {
    pub fn new(channel_count: u8) -> Result<Self, OpusError> {
        let inner = libopus::Decoder::new(channels(channel_count)?, libopus::SampleRate::Hz48000)?;
        Ok(Self {
            inner,
            channels: channel_count,
        })
    }

    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// Appends the packet's samples, interleaved, and gives their number in one channel.
    pub fn decode(&mut self, packet: &[u8], out: &mut Vec<i16>) -> Result<usize, OpusError> {
        let samples = packet_samples(packet).ok_or(OpusError::Malformed)?;
        self.run(packet, samples, false, out)
    }

    /// Appends the `samples` before `next` by the copy that it carries of its predecessor
    /// ([`fec_samples`]). What the copy does not cover, at the front, is concealed.
    pub fn decode_fec(
        &mut self,
        next: &[u8],
        samples: usize,
        out: &mut Vec<i16>,
    ) -> Result<usize, OpusError> {
        if next.is_empty() {
            return Err(OpusError::Malformed);
        }
        self.run(next, whole_grains(samples), true, out)
    }

    /// Appends `samples`, rounded down to whole 2.5 ms, in the place of a packet that is missing. After
    /// silence that is comfort noise; after sound it fades.
    pub fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) -> Result<usize, OpusError> {
        self.run(&[], whole_grains(samples), false, out)
    }

    fn run(
        &mut self,
        packet: &[u8],
        samples: usize,
        fec: bool,
        out: &mut Vec<i16>,
    ) -> Result<usize, OpusError> {
        if samples == 0 {
            return Ok(0);
        }
        let channels = usize::from(self.channels);
        let start = out.len();
        out.resize(start + samples * channels, 0);
        let pcm = bytemuck::cast_slice_mut(out.get_mut(start..).unwrap_or_default());
        let decoded = self.inner.decode_to_slice(packet, pcm, fec);
        out.truncate(start + decoded.unwrap_or(0) * channels);
        Ok(decoded?)
    }
}

fn whole_grains(samples: usize) -> usize {
    samples.min(MAX_PACKET_SAMPLES) / GRAIN * GRAIN
}

/// Length of a packet in samples of one channel at 48 kHz; `None` where it is malformed.
pub fn packet_samples(packet: &[u8]) -> Option<usize> {
    Some(Toc::parse(packet)?.samples()? as usize)
}

/// Samples of one channel just before a packet that it carries a copy of, if it does: the LBRR flags that
/// speech frames begin with (RFC 6716 section 4.2.4), bare bits since each is as likely as not.
pub fn fec_samples(packet: &[u8]) -> Option<usize> {
    // 16 and above are music modes. Only the copy in the first frame is of another packet.
    let toc = Toc::parse(packet).filter(|toc| toc.config < 16)?;
    let first_frame = match packet.first().map(|toc| toc & 3) {
        Some(0 | 1) => packet.get(1),
        // The length of the first frame is in one byte, or two from 252.
        Some(2) => match packet.get(1) {
            Some(&length) if length >= 252 => packet.get(3),
            _ => packet.get(2),
        },
        // An arbitrary number of frames: their lengths vary, and padding can be between; none of the
        // common encoders packs speech so.
        _ => None,
    };
    let flags = *first_frame?;
    // Of a channel: one voice flag for each 20 ms, then whether there are copies.
    let voice_flags = (toc.frame_samples() / 960).max(1);
    let copy = |channel: u32| {
        let bit = channel * (voice_flags + 1) + voice_flags;
        flags & (0x80 >> bit) != 0
    };
    (copy(0) || (toc.stereo && copy(1))).then_some(toc.frame_samples() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomful_media::codec::opus::is_dtx;

    /// A voice-like buzz: harmonics of a wavering 140 Hz, four syllables a second.
    fn voice(frames: usize, channels: usize) -> Vec<i16> {
        let tau = std::f32::consts::TAU;
        (0..frames * 960)
            .flat_map(|n| {
                let t = n as f32 / 48_000.0;
                let turns = 140.0 * t + 2.0 * (2.0 * tau * t).sin();
                let buzz: f32 = (1..12)
                    .map(|k| (tau * k as f32 * turns).sin() / k as f32)
                    .sum();
                let loudness = 0.55 - 0.45 * (tau * 4.0 * t).cos();
                std::iter::repeat_n((buzz * loudness * 5_000.0) as i16, channels)
            })
            .collect()
    }

    fn encode_all(config: EncoderConfig, pcm: &[i16]) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(config).unwrap();
        let frame = config.frame_samples * usize::from(config.channels);
        pcm.chunks_exact(frame)
            .map(|frame| {
                let mut packet = Vec::new();
                encoder.encode(frame, &mut packet).unwrap();
                packet
            })
            .collect()
    }

    fn energy(pcm: &[i16]) -> f64 {
        pcm.iter().map(|&s| f64::from(s) * f64::from(s)).sum()
    }

    /// Signal over error in dB, at the shift of one channel's samples where they agree best.
    fn likeness(original: &[i16], decoded: &[i16]) -> f64 {
        (0..1_000)
            .map(|shift| {
                let (a, b) = (&original[..9_600], &decoded[shift..shift + 9_600]);
                let error: f64 = a
                    .iter()
                    .zip(b)
                    .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
                    .sum();
                10.0 * (energy(a) / error).log10()
            })
            .fold(f64::MIN, f64::max)
    }

    #[test]
    fn sound_survives_in_mono_and_stereo() {
        for channels in [1, 2] {
            let pcm = voice(20, usize::from(channels));
            let config = EncoderConfig {
                channels,
                bitrate: Some(96_000),
                application: Application::Audio,
                ..EncoderConfig::default()
            };
            let mut decoder = Decoder::new(channels).unwrap();
            let mut decoded = Vec::new();
            for packet in encode_all(config, &pcm) {
                assert_eq!(decoder.decode(&packet, &mut decoded), Ok(960));
            }
            assert_eq!(decoded.len(), pcm.len());
            let skip = 2 * usize::from(channels) * 960;
            assert!(likeness(&pcm[skip..], &decoded[skip..]) > 10.0);
        }
    }

    #[test]
    fn a_lost_packet_comes_back_from_the_next_one() {
        let pcm = voice(30, 1);
        let config = EncoderConfig {
            bitrate: Some(32_000),
            expected_loss: 20,
            ..EncoderConfig::default()
        };
        let packets = encode_all(config, &pcm);
        let plain = encode_all(
            EncoderConfig {
                fec: false,
                ..config
            },
            &pcm,
        );
        // Frames between syllables are not worth a copy.
        let copies = packets.iter().filter(|p| fec_samples(p).is_some()).count();
        assert!(
            copies > 20 && fec_samples(&packets[21]) == Some(960),
            "{copies}"
        );
        assert!(plain.iter().all(|packet| fec_samples(packet).is_none()));

        // Everything decoded, packet 20 lost and concealed, packet 20 lost and recovered.
        let run = |lost: Option<bool>| {
            let mut decoder = Decoder::new(1).unwrap();
            let mut out = Vec::new();
            for (index, packet) in packets.iter().enumerate() {
                let samples = match lost {
                    Some(true) if index == 20 => {
                        decoder.decode_fec(&packets[21], 960, &mut out).unwrap()
                    }
                    Some(false) if index == 20 => decoder.conceal(960, &mut out).unwrap(),
                    _ => decoder.decode(packet, &mut out).unwrap(),
                };
                assert_eq!(samples, 960);
            }
            out[20 * 960..22 * 960].to_vec()
        };
        let whole = run(None);
        let error = |other: &[i16]| {
            let difference: Vec<i16> = whole.iter().zip(other).map(|(a, b)| a - b).collect();
            energy(&difference) / energy(&whole)
        };
        let recovered = error(&run(Some(true)));
        assert!(recovered < 0.25, "{recovered}");
    }

    #[test]
    fn silence_is_next_to_nothing_with_dtx() {
        let config = EncoderConfig {
            dtx: true,
            ..EncoderConfig::default()
        };
        let mut pcm = voice(10, 1);
        pcm.resize(100 * 960, 0);
        let packets = encode_all(config, &pcm);
        let silent = packets.iter().filter(|packet| is_dtx(packet)).count();
        assert!(silent > 60, "{silent}");
        assert!(!packets[..10].iter().any(|packet| is_dtx(packet)));
    }

    #[test]
    fn bitrate_is_followed() {
        let pcm = voice(100, 1);
        let bytes = |bitrate| {
            let config = EncoderConfig {
                bitrate: Some(bitrate),
                ..EncoderConfig::default()
            };
            encode_all(config, &pcm).iter().map(Vec::len).sum::<usize>()
        };
        let (low, high) = (bytes(16_000), bytes(64_000));
        assert!((3_000..5_000).contains(&low), "{low}");
        assert!((10_000..20_000).contains(&high), "{high}");
    }

    #[test]
    fn what_opus_cannot_do_is_refused() {
        let config = EncoderConfig::default();
        let none = EncoderConfig {
            channels: 3,
            ..config
        };
        assert_eq!(Encoder::new(none).err(), Some(OpusError::Channels));
        let odd = EncoderConfig {
            frame_samples: 441,
            ..config
        };
        assert_eq!(Encoder::new(odd).err(), Some(OpusError::FrameLength));
        let mut out = vec![7];
        let mut encoder = Encoder::new(config).unwrap();
        assert_eq!(
            encoder.encode(&[0; 100], &mut out),
            Err(OpusError::FrameLength)
        );
        assert_eq!(out, [7]);
        assert_eq!(Decoder::new(0).err(), Some(OpusError::Channels));
    }

    #[test]
    fn malformed_packets_are_refused_and_leave_nothing() {
        let mut decoder = Decoder::new(1).unwrap();
        let mut out = Vec::new();
        for packet in [&[][..], &[3], &[3, 0], &[0x1B, 0x30], &[0xFE, 0xFC]] {
            assert!(decoder.decode(packet, &mut out).is_err(), "{packet:?}");
        }
        assert_eq!(
            decoder.decode_fec(&[], 960, &mut out),
            Err(OpusError::Malformed)
        );
        assert!(out.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, samples in 0usize..10_000) {
            let mut decoder = Decoder::new(2).unwrap();
            let mut out = Vec::new();
            let _ = fec_samples(&bytes);
            let _ = decoder.decode(&bytes, &mut out);
            let _ = decoder.decode_fec(&bytes, samples, &mut out);
            let concealed = decoder.conceal(samples, &mut out).unwrap();
            proptest::prop_assert_eq!(concealed, samples.min(MAX_PACKET_SAMPLES) / GRAIN * GRAIN);
        }
    }
}
