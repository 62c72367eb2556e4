//! Redundant audio data (RFC 2198): one payload with earlier frames in front of the newest.

use super::CodecError;

/// A redundant block can lie at most this many timestamp units back.
pub const MAX_TIMESTAMP_OFFSET: u32 = (1 << 14) - 1;
/// The most bytes one redundant block can hold.
pub const MAX_BLOCK_LEN: usize = (1 << 10) - 1;

const BLOCK_HEADER_LEN: usize = 4;

/// A payload split into its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Red<'a> {
    pub primary_type: u8,
    pub primary: &'a [u8],
    headers: &'a [[u8; BLOCK_HEADER_LEN]],
    data: &'a [u8],
}

/// An earlier frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    pub payload_type: u8,
    /// How far before the packet's own timestamp, in units of the clock.
    pub timestamp_offset: u16,
    pub data: &'a [u8],
}

impl<'a> Red<'a> {
    /// Splits a payload. All lengths are checked here.
    pub fn parse(payload: &'a [u8]) -> Result<Self, CodecError> {
        if payload.is_empty() {
            return Err(CodecError::Empty);
        }
        let all: &[[u8; BLOCK_HEADER_LEN]] = payload.as_chunks().0;
        let count = all
            .iter()
            .take_while(|header| header[0] & 0x80 != 0)
            .count();
        let (headers, rest) = payload
            .split_at_checked(count * BLOCK_HEADER_LEN)
            .ok_or(CodecError::Truncated)?;
        let (&last, rest) = rest.split_first().ok_or(CodecError::Truncated)?;
        if last & 0x80 != 0 {
            return Err(CodecError::Truncated);
        }
        let headers: &[[u8; BLOCK_HEADER_LEN]] = headers.as_chunks().0;
        let total = headers.iter().map(block_len).sum();
        let (data, primary) = rest.split_at_checked(total).ok_or(CodecError::Truncated)?;
        Ok(Self {
            primary_type: last,
            primary,
            headers,
            data,
        })
    }

    /// The redundant blocks, oldest first.
    pub fn redundant(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let mut data = self.data;
        self.headers.iter().map_while(move |header| {
            let (block, rest) = data.split_at_checked(block_len(header))?;
            data = rest;
            let offset = u16::from(header[1]) << 6 | u16::from(header[2]) >> 2;
            Some(Block {
                payload_type: header[0] & 0x7F,
                timestamp_offset: offset,
                data: block,
            })
        })
    }

    /// Rebuilds the packets missing between the newest one that was delivered (`after`: extended sequence
    /// number and timestamp) and this one (`number`, `timestamp`). Blocks carry no number, so each is taken
    /// to be one packet before the next; a block is left out unless both its number and its timestamp lie
    /// strictly between their neighbours.
    pub fn recover(
        &self,
        number: u64,
        timestamp: u64,
        after: (u64, u64),
    ) -> impl Iterator<Item = Recovered<'a>> + use<'a> {
        let count = self.headers.len() as u64;
        let mut previous = after;
        self.redundant().zip(0..).filter_map(move |(block, index)| {
            let number = number.checked_sub(count - index)?;
            let block_timestamp = timestamp.checked_sub(u64::from(block.timestamp_offset))?;
            let fits = number > previous.0
                && block_timestamp > previous.1
                && block_timestamp < timestamp
                && !block.data.is_empty();
            if !fits {
                return None;
            }
            previous = (number, block_timestamp);
            Some(Recovered {
                number,
                timestamp: block_timestamp,
                payload_type: block.payload_type,
                data: block.data,
            })
        })
    }
}

/// A packet rebuilt from a redundant block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered<'a> {
    pub number: u64,
    pub timestamp: u64,
    pub payload_type: u8,
    pub data: &'a [u8],
}

fn block_len(header: &[u8; BLOCK_HEADER_LEN]) -> usize {
    usize::from(u16::from(header[2] & 3) << 8 | u16::from(header[3]))
}

/// Appends a payload with the redundant blocks, oldest first, and the primary. Blocks that are empty, too
/// long or too far back for the format are left out.
pub fn write<'a>(
    out: &mut Vec<u8>,
    payload_type: u8,
    redundant: impl Iterator<Item = (u32, &'a [u8])> + Clone,
    primary: &[u8],
) {
    let fitting = redundant.filter(|(offset, data)| {
        (1..=MAX_TIMESTAMP_OFFSET).contains(offset) && (1..=MAX_BLOCK_LEN).contains(&data.len())
    });
    for (offset, data) in fitting.clone() {
        let word =
            1 << 31 | u32::from(payload_type & 0x7F) << 24 | offset << 10 | data.len() as u32;
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.push(payload_type & 0x7F);
    for (_, data) in fitting {
        out.extend_from_slice(data);
    }
    out.extend_from_slice(primary);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(blocks: &[(u32, &[u8])], primary: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, 111, blocks.iter().copied(), primary);
        out
    }

    #[test]
    fn blocks_read_back() {
        let bytes = packed(&[(1_920, b"first"), (960, b"second")], b"primary");
        let red = Red::parse(&bytes).unwrap();
        assert_eq!((red.primary_type, red.primary), (111, &b"primary"[..]));
        let blocks: Vec<_> = red.redundant().collect();
        assert_eq!(
            blocks[0],
            Block {
                payload_type: 111,
                timestamp_offset: 1_920,
                data: b"first"
            }
        );
        assert_eq!(
            blocks[1],
            Block {
                payload_type: 111,
                timestamp_offset: 960,
                data: b"second"
            }
        );
    }

    #[test]
    fn blocks_that_do_not_fit_the_format_are_left_out() {
        let long = [1; 1_024];
        let bytes = packed(
            &[
                (16_384, b"far"),
                (960, &long),
                (480, b""),
                (0, b"same"),
                (16_383, &long[..1_023]),
            ],
            b"p",
        );
        let red = Red::parse(&bytes).unwrap();
        let lens: Vec<_> = red
            .redundant()
            .map(|block| (block.timestamp_offset, block.data.len()))
            .collect();
        assert_eq!(lens, [(16_383, 1_023)]);
        assert_eq!(red.primary, b"p");
    }

    #[test]
    fn lengths_beyond_the_payload_are_refused() {
        let bytes = packed(&[(960, b"block")], b"");
        assert!(Red::parse(&bytes).is_ok());
        assert_eq!(Red::parse(&[]), Err(CodecError::Empty));
        for len in 1..bytes.len() {
            assert_eq!(
                Red::parse(&bytes[..len]),
                Err(CodecError::Truncated),
                "{len}"
            );
        }
    }

    /// Speech, a pause of 400 ms without packets, speech; each third packet is lost and rebuilt.
    #[test]
    fn recovered_packets_rise_in_number_and_time_across_a_pause() {
        let mut sent: Vec<(u64, u64)> = Vec::new();
        let mut timestamp = 100_000;
        for number in 1_000..1_100 {
            timestamp += if number % 20 == 0 { 19_200 } else { 960 };
            sent.push((number, timestamp));
        }
        let mut delivered: Vec<(u64, u64)> = vec![sent[1]];
        for (index, &(number, timestamp)) in sent.iter().enumerate().skip(2) {
            if index % 3 == 0 {
                continue;
            }
            let earlier = [sent[index - 2], sent[index - 1]];
            let blocks: Vec<(u32, &[u8])> = earlier
                .iter()
                .map(|&(_, t)| ((timestamp - t) as u32, &b"data"[..]))
                .collect();
            let bytes = packed(&blocks, b"data");
            let red = Red::parse(&bytes).unwrap();
            let after = *delivered.last().unwrap();
            delivered.extend(
                red.recover(number, timestamp, after)
                    .map(|packet| (packet.number, packet.timestamp)),
            );
            delivered.push((number, timestamp));
        }
        assert!(
            delivered
                .windows(2)
                .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1)
        );
        // Whatever was rebuilt is what was sent, and losses away from the pause are all rebuilt.
        assert!(delivered.iter().all(|packet| sent.contains(packet)));
        assert!(delivered.len() >= sent.len() - 1 - 5, "{}", delivered.len());
    }

    #[test]
    fn blocks_out_of_order_or_not_between_are_dropped() {
        let recover = |blocks: &[(u32, &[u8])], after| {
            let bytes = packed(blocks, b"p");
            let red = Red::parse(&bytes).unwrap();
            red.recover(10, 10_000, after)
                .map(|p| (p.number, p.timestamp))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            recover(&[(1_920, b"a"), (960, b"b")], (7, 7_120)),
            [(8, 8_080), (9, 9_040)]
        );
        assert_eq!(
            recover(&[(960, b"a"), (1_920, b"b")], (7, 7_120)),
            [(8, 9_040)]
        );
        assert_eq!(
            recover(&[(1_920, b"a"), (960, b"b")], (8, 8_080)),
            [(9, 9_040)]
        );
        assert_eq!(recover(&[(1_920, b"a"), (960, b"b")], (7, 9_040)), []);
        assert_eq!(recover(&[(12_000, b"a")], (8, 8_000)), []);
        assert_eq!(recover(&[(960, b"a")], (20, 8_000)), []);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>, number in 0u64..100, timestamp in 0u64..40_000) {
            if let Ok(red) = Red::parse(&bytes) {
                let len: usize = red.redundant().map(|block| block.data.len()).sum();
                proptest::prop_assert!(len + red.primary.len() < bytes.len());
                let mut last = (0, 0);
                for packet in red.recover(number, timestamp, last) {
                    proptest::prop_assert!(packet.number > last.0 && packet.number < number);
                    proptest::prop_assert!(packet.timestamp > last.1 && packet.timestamp < timestamp);
                    last = (packet.number, packet.timestamp);
                }
            }
        }
    }
}
