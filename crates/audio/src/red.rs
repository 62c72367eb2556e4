//! Redundant audio (RFC 2198) as LiveKit's clients send it: each packet carries the frames before it
//! too. Reading it is [`roomful_media::codec::red`], and what to do with it the jitter buffer's part.

use std::collections::VecDeque;

use roomful_media::codec::red;

/// A packet that would grow beyond this carries fewer earlier frames.
const MAX_PAYLOAD: usize = 1_200;
/// What a block and the primary cost beside their data.
const BLOCK_HEADER: usize = 4;
const PRIMARY_HEADER: usize = 1;

/// Packs the frames of one stream, each with the `levels` before it.
#[derive(Debug)]
pub struct Packer {
    payload_type: u8,
    levels: usize,
    sent: VecDeque<(u32, Vec<u8>)>,
}

impl Packer {
    /// `payload_type` is that of the frames (Opus), not RED's own. One level covers single losses, two
    /// also pairs.
    pub fn new(payload_type: u8, levels: usize) -> Self {
        Self {
            payload_type,
            levels,
            sent: VecDeque::with_capacity(levels),
        }
    }

    /// Appends the payload for a frame. Earlier frames are left out, the oldest first, where all would not
    /// fit a datagram, and where a pause puts them out of the format's reach.
    pub fn pack(&mut self, timestamp: u32, frame: &[u8], out: &mut Vec<u8>) {
        let mut room = MAX_PAYLOAD.saturating_sub(PRIMARY_HEADER + frame.len());
        let fitting = self
            .sent
            .iter()
            .rev()
            .take_while(|(_, earlier)| {
                let cost = BLOCK_HEADER + earlier.len();
                let fits = cost <= room;
                room = room.saturating_sub(cost);
                fits
            })
            .count();
        let redundant = self
            .sent
            .range(self.sent.len() - fitting..)
            .map(|(earlier, data)| (timestamp.wrapping_sub(*earlier), data.as_slice()));
        red::write(out, self.payload_type, redundant, frame);
        if self.levels == 0 {
            return;
        }
        let mut kept = if self.sent.len() >= self.levels {
            self.sent
                .pop_front()
                .map_or_else(Vec::new, |(_, data)| data)
        } else {
            Vec::new()
        };
        kept.clear();
        kept.extend_from_slice(frame);
        self.sent.push_back((timestamp, kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use red::Red;

    fn blocks(payload: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let red = Red::parse(payload).unwrap();
        red.redundant()
            .map(|block| (block.timestamp_offset, block.data.to_vec()))
            .collect()
    }

    fn packed(packer: &mut Packer, timestamp: u32, frame: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        packer.pack(timestamp, frame, &mut out);
        assert_eq!(Red::parse(&out).unwrap().primary, frame);
        out
    }

    #[test]
    fn each_packet_has_the_frames_before_it() {
        let mut packer = Packer::new(111, 2);
        let start = u32::MAX - 100;
        let at = |n: u32| start.wrapping_add(n * 960);
        assert!(blocks(&packed(&mut packer, at(0), b"a")).is_empty());
        assert_eq!(
            blocks(&packed(&mut packer, at(1), b"b")),
            [(960, b"a".to_vec())]
        );
        let third = packed(&mut packer, at(2), b"c");
        assert_eq!(
            blocks(&third),
            [(1_920, b"a".to_vec()), (960, b"b".to_vec())]
        );
        let fourth = packed(&mut packer, at(3), b"d");
        assert_eq!(
            blocks(&fourth),
            [(1_920, b"b".to_vec()), (960, b"c".to_vec())]
        );
    }

    #[test]
    fn a_datagram_is_not_outgrown_and_pauses_are_not_bridged() {
        let mut packer = Packer::new(111, 2);
        packed(&mut packer, 0, &[1; 500]);
        packed(&mut packer, 960, &[2; 500]);
        let large = packed(&mut packer, 1_920, &[3; 500]);
        assert!(large.len() <= MAX_PAYLOAD);
        assert_eq!(blocks(&large), [(960, vec![2; 500])]);
        assert!(blocks(&packed(&mut packer, 48_000, b"later")).is_empty());
    }

    #[test]
    fn no_level_is_the_frame_alone() {
        let mut packer = Packer::new(111, 0);
        packed(&mut packer, 0, b"a");
        assert!(blocks(&packed(&mut packer, 960, b"b")).is_empty());
    }
}
