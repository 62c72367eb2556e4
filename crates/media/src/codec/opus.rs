//! What an Opus packet tells without being decoded (RFC 6716 section 3.1).

/// Payload bytes of the frame that encoders repeat for comfort noise: TOC, and at most one byte.
const DTX_MAX_LEN: usize = 2;

/// Whether the packet holds silence: encoders in discontinuous transmission send frames of a byte or two
/// every 400 ms.
pub fn is_dtx(payload: &[u8]) -> bool {
    !payload.is_empty() && payload.len() <= DTX_MAX_LEN
}

/// A packet that decodes to 20 ms of silence, to end a stream cleanly.
pub const SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];

/// The table-of-contents byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toc {
    /// 0..=31: mode, bandwidth and frame length.
    pub config: u8,
    pub stereo: bool,
    /// Frames in the packet, up to 48.
    pub frames: u8,
}

impl Toc {
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (&toc, rest) = payload.split_first()?;
        let frames = match toc & 3 {
            0 => 1,
            1 | 2 => 2,
            _ => rest.first()? & 0x3F,
        };
        (1..=48).contains(&frames).then_some(Self {
            config: toc >> 3,
            stereo: toc & 4 != 0,
            frames,
        })
    }

    /// Length of one frame in samples at 48 kHz.
    pub fn frame_samples(self) -> u32 {
        match self.config {
            0..=11 => [480, 960, 1_920, 2_880][usize::from(self.config & 3)],
            12..=15 => [480, 960][usize::from(self.config & 1)],
            _ => [120, 240, 480, 960][usize::from(self.config & 3)],
        }
    }

    /// Length of the packet in samples at 48 kHz, or `None` above the 120 ms that a packet may hold.
    pub fn samples(self) -> Option<u32> {
        let samples = self.frame_samples() * u32::from(self.frames);
        (samples <= 5_760).then_some(samples)
    }
}

#[cfg(test)]
#[expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]
mod tests {
    use super::*;

    #[test]
    fn toc_tells_length_and_channels() {
        assert_eq!(Toc::parse(&SILENCE).unwrap().samples(), Some(960));
        let toc = Toc::parse(&[0b01111_1_01, 0]).unwrap();
        assert_eq!(
            (toc.config, toc.stereo, toc.frames, toc.samples()),
            (15, true, 2, Some(1_920))
        );
        assert_eq!(Toc::parse(&[0x03, 0x03]).unwrap().samples(), Some(1_440));
        assert_eq!(Toc::parse(&[0b00011_0_11, 48]).unwrap().samples(), None);
    }

    #[test]
    fn malformed_packets_have_no_toc() {
        assert_eq!(Toc::parse(&[]), None);
        assert_eq!(Toc::parse(&[3]), None);
        assert_eq!(Toc::parse(&[3, 0]), None);
        assert_eq!(Toc::parse(&[3, 63]), None);
    }

    #[test]
    fn short_frames_are_dtx() {
        assert!(is_dtx(&[0xF8]) && is_dtx(&[0xF8, 0xFF]));
        assert!(!is_dtx(&[]) && !is_dtx(&SILENCE));
    }
}
