//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use super::{FORMAT_TRANSPORT_CC, TRANSPORT_FEEDBACK, read_u16, read_u32, write_packet};

/// Microseconds of one unit of a receive delta.
pub const DELTA_MICROS: i64 = 250;
/// Receive deltas in one unit of the reference time (64 ms).
const DELTAS_PER_REFERENCE: i64 = 256;

/// Bytes before the status chunks: SSRCs, base sequence, count, reference time and packet count.
const FIXED_LEN: usize = 16;
/// Most statuses one packet of ours tells, at worst seven in two bytes.
const MAX_STATUSES: u64 = 1_400;
/// Most packets one packet of ours tells the arrival of, at worst in two bytes each: together with the
/// statuses 900 bytes.
const MAX_ARRIVALS: usize = 240;

const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// What arrived of the numbers `base_sequence ..` (`status_count` of them), and when.
#[derive(Clone, Copy, Debug)]
pub struct TransportFeedback<'a> {
    pub sender: u32,
    pub media: u32,
    pub base_sequence: u16,
    /// How many numbers are told of; those not in [`Self::received`] did not arrive.
    pub status_count: u16,
    /// Arrival of the base in units of 64 ms, 24 bits with sign, on the receiver's own clock.
    pub reference_time: i32,
    /// Number of this feedback packet, modulo 256.
    pub feedback_count: u8,
    chunks: &'a [[u8; 2]],
    deltas: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let status_count = read_u16(body, 10)?;
        let time = read_u32(body, 12)?;
        let rest = body.get(FIXED_LEN..)?;
        // Chunks and deltas are counted up to the status count, so that reading cannot fail later.
        let mut open = status_count;
        let mut chunk_count = 0;
        let mut delta_len = 0;
        let all: &[[u8; 2]] = rest.as_chunks().0;
        while open > 0 {
            let chunk = Chunk::parse(*all.get(chunk_count)?);
            chunk_count += 1;
            let len = chunk.len().min(open);
            delta_len += chunk.delta_len(len);
            open -= len;
        }
        let (chunks, deltas) = rest.split_at_checked(2 * chunk_count)?;
        Some(Self {
            sender: read_u32(body, 0)?,
            media: read_u32(body, 4)?,
            base_sequence: read_u16(body, 8)?,
            status_count,
            reference_time: time as i32 >> 8,
            feedback_count: time as u8,
            chunks: chunks.as_chunks().0,
            deltas: deltas.get(..delta_len)?,
        })
    }

    /// Sequence number and arrival of each packet that arrived, in order of the numbers. The arrival is in
    /// microseconds on the receiver's clock (it wraps with the reference time after 12 days). The work is
    /// bounded by the packet's size, not by the number of statuses it claims.
    pub fn received(&self) -> impl Iterator<Item = (u16, i64)> + use<'a> {
        let mut chunks = self.chunks.iter();
        let mut current = Chunk::Run {
            status: NOT_RECEIVED,
            len: 0,
        };
        let mut index = 0;
        let mut open = self.status_count;
        let mut sequence = self.base_sequence;
        let mut time = i64::from(self.reference_time) * DELTAS_PER_REFERENCE;
        let mut deltas = self.deltas;
        std::iter::from_fn(move || {
            while open > 0 {
                if index == current.len() {
                    current = Chunk::parse(*chunks.next()?);
                    index = 0;
                }
                if let Chunk::Run { status, len } = current
                    && status != SMALL_DELTA
                    && status != LARGE_DELTA
                {
                    sequence = sequence.wrapping_add(len.min(open));
                    open -= len.min(open);
                    index = len;
                    continue;
                }
                let status = current.status(index);
                let this = sequence;
                index += 1;
                open -= 1;
                sequence = sequence.wrapping_add(1);
                match status {
                    SMALL_DELTA => {
                        let (delta, rest) = deltas.split_first()?;
                        deltas = rest;
                        time += i64::from(*delta);
                    }
                    LARGE_DELTA => {
                        let (delta, rest) = deltas.split_first_chunk()?;
                        deltas = rest;
                        time += i64::from(i16::from_be_bytes(*delta));
                    }
                    _ => continue,
                }
                return Some((this, time * DELTA_MICROS));
            }
            None
        })
    }
}

/// A status chunk.
#[derive(Clone, Copy)]
enum Chunk {
    Run {
        status: u8,
        len: u16,
    },
    /// 14 statuses of one bit.
    OneBit(u16),
    /// 7 statuses of two bits.
    TwoBit(u16),
}

impl Chunk {
    fn parse(bytes: [u8; 2]) -> Self {
        let word = u16::from_be_bytes(bytes);
        match word >> 14 {
            0 | 1 => Self::Run {
                status: (word >> 13 & 3) as u8,
                len: word & 0x1FFF,
            },
            2 => Self::OneBit(word),
            _ => Self::TwoBit(word),
        }
    }

    fn len(self) -> u16 {
        match self {
            Self::Run { len, .. } => len,
            Self::OneBit(_) => 14,
            Self::TwoBit(_) => 7,
        }
    }

    fn status(self, index: u16) -> u8 {
        match self {
            Self::Run { status, .. } => status,
            Self::OneBit(word) => (word >> 13u16.saturating_sub(index) & 1) as u8,
            Self::TwoBit(word) => (word >> (12u16.saturating_sub(2 * index)) & 3) as u8,
        }
    }

    /// Bytes of the deltas of its first `len` statuses.
    fn delta_len(self, len: u16) -> usize {
        let size = |status| match status {
            SMALL_DELTA => 1,
            LARGE_DELTA => 2,
            _ => 0,
        };
        match self {
            Self::Run { status, .. } => usize::from(len) * size(status),
            _ => (0..len).map(|index| size(self.status(index))).sum(),
        }
    }
}

/// Builds feedback packets. Keeps its scratch space and the number of the packet.
#[derive(Clone, Debug, Default)]
pub struct TransportFeedbackBuilder {
    feedback_count: u8,
    statuses: Vec<u8>,
    deltas: Vec<u8>,
}

impl TransportFeedbackBuilder {
    /// Appends one packet that tells of the numbers from `base` to that of the last arrival taken, and
    /// returns how many arrivals it took; call again with the rest while there is one, with the number
    /// after the last one taken as the next base.
    ///
    /// `arrivals` are extended numbers, strictly rising and not below `base`, with the arrival in
    /// microseconds on one clock. 0 when there is none, or the first lies more than 1,400 above the base:
    /// then a base nearer to it must be used.
    pub fn write(
        &mut self,
        out: &mut Vec<u8>,
        sender: u32,
        media: u32,
        base: u64,
        arrivals: &[(u64, i64)],
    ) -> usize {
        self.statuses.clear();
        self.deltas.clear();
        let Some(&(_, first)) = arrivals.first() else {
            return 0;
        };
        let reference = first.div_euclid(DELTA_MICROS * DELTAS_PER_REFERENCE);
        let mut time = reference * DELTAS_PER_REFERENCE;
        let mut next = base;
        let mut taken = 0;
        for &(sequence, arrival) in arrivals.iter().take(MAX_ARRIVALS) {
            let delta = arrival.div_euclid(DELTA_MICROS) - time;
            if sequence < next || sequence - base >= MAX_STATUSES {
                break;
            }
            let status = if let Ok(small) = u8::try_from(delta) {
                self.deltas.push(small);
                SMALL_DELTA
            } else if let Ok(large) = i16::try_from(delta) {
                self.deltas.extend_from_slice(&large.to_be_bytes());
                LARGE_DELTA
            } else {
                break;
            };
            self.statuses
                .resize((sequence - base) as usize, NOT_RECEIVED);
            self.statuses.push(status);
            time += delta;
            next = sequence + 1;
            taken += 1;
        }
        if taken == 0 {
            return 0;
        }
        let count = self.feedback_count;
        self.feedback_count = count.wrapping_add(1);
        write_packet(out, TRANSPORT_FEEDBACK, FORMAT_TRANSPORT_CC, |out| {
            out.extend_from_slice(&sender.to_be_bytes());
            out.extend_from_slice(&media.to_be_bytes());
            out.extend_from_slice(&(base as u16).to_be_bytes());
            out.extend_from_slice(&(self.statuses.len() as u16).to_be_bytes());
            out.extend_from_slice(&((reference as u32) << 8 | u32::from(count)).to_be_bytes());
            write_chunks(out, &self.statuses);
            out.extend_from_slice(&self.deltas);
        });
        taken
    }
}

/// Chooses for each stretch of statuses the chunk that covers most of it.
fn write_chunks(out: &mut Vec<u8>, mut statuses: &[u8]) {
    while let Some(&status) = statuses.first() {
        let run = statuses
            .iter()
            .take(0x1FFF)
            .take_while(|next| **next == status)
            .count();
        let one_bit = statuses
            .iter()
            .take(14)
            .take_while(|next| **next != LARGE_DELTA)
            .count();
        let one_bit_fits = one_bit == statuses.len().min(14);
        let vector_len = if one_bit_fits { 14 } else { 7 };
        let (word, len) = if run >= vector_len || run == statuses.len() {
            (u16::from(status) << 13 | run as u16, run)
        } else if one_bit_fits {
            (vector(0x8000, 1, 14, statuses), 14)
        } else {
            (vector(0xC000, 2, 7, statuses), 7)
        };
        out.extend_from_slice(&word.to_be_bytes());
        statuses = statuses.get(len..).unwrap_or_default();
    }
}

fn vector(kind: u16, bits: u16, len: u16, statuses: &[u8]) -> u16 {
    (0..len).zip(statuses).fold(kind, |word, (index, status)| {
        word | u16::from(*status) << (bits * (len - 1 - index))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{RtcpPacket, parse_compound};
    use super::*;

    fn only(bytes: &[u8]) -> TransportFeedback<'_> {
        match parse_compound(bytes).unwrap().next().unwrap().unwrap() {
            RtcpPacket::TransportFeedback(feedback) => feedback,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn known_bytes_are_read() {
        let bytes = [
            0x8F,
            205,
            0,
            7,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            2, // header and SSRCs
            0xFF,
            0xFE,
            0,
            6, // numbers 65534 to 3
            0xFF,
            0xFF,
            0xFE,
            9, // −2 × 64 ms, ninth packet
            0x20,
            0x02, // two small
            0b1100_0010,
            0b0100_0000, // two-bit: none, none, large, small, none…
            4,
            8,
            0xFF,
            0xF0,
            1,
            0,
            0,
            0,
        ];
        let feedback = only(&bytes);
        assert_eq!((feedback.base_sequence, feedback.status_count), (65_534, 6));
        assert_eq!((feedback.reference_time, feedback.feedback_count), (-2, 9));
        let start = -128_000;
        assert_eq!(
            feedback.received().collect::<Vec<_>>(),
            [
                (65_534, start + 1_000),
                (65_535, start + 3_000),
                (2, start - 1_000),
                (3, start - 750)
            ]
        );
    }

    #[test]
    fn large_delta_after_many_small_ones_keeps_its_place() {
        let mut arrivals: Vec<_> = (0..10).map(|n| (2 * n, n as i64 * 1_000)).collect();
        arrivals.push((20, 5_000_000));
        arrivals.push((22, 5_000_000));
        assert_eq!(round_trip(0, &arrivals), 1);
    }

    #[test]
    fn feedback_without_its_deltas_is_malformed() {
        let mut out = Vec::new();
        let arrivals: Vec<_> = (0..8).map(|n| (n, n as i64 * 1_000)).collect();
        TransportFeedbackBuilder::default().write(&mut out, 1, 2, 0, &arrivals);
        // More statuses than chunks and deltas are there for.
        out[14..16].copy_from_slice(&[0xFF, 0xFF]);
        assert!(parse_compound(&out).unwrap().next().unwrap().is_err());
    }

    #[test]
    fn huge_claims_cost_nothing() {
        // 65,535 packets not received, in nine chunks.
        let mut out = vec![
            0x8F, 205, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0,
        ];
        for _ in 0..9 {
            out.extend_from_slice(&[0x1F, 0xFF]);
        }
        out.extend_from_slice(&[0, 0]);
        let feedback = only(&out);
        assert_eq!(feedback.status_count, 65_535);
        assert_eq!(feedback.received().count(), 0);
    }

    fn round_trip(base: u64, arrivals: &[(u64, i64)]) -> usize {
        let mut builder = TransportFeedbackBuilder::default();
        let (mut base, mut rest, mut packets) = (base, arrivals, 0);
        while !rest.is_empty() {
            let mut out = Vec::new();
            let taken = builder.write(&mut out, 1, 2, base, rest);
            if taken == 0 {
                base = rest[0].0;
                continue;
            }
            assert!(out.len() <= 1_400 && out.len() % 4 == 0, "{}", out.len());
            let feedback = only(&out);
            assert_eq!(usize::from(feedback.feedback_count), packets);
            assert_eq!(feedback.base_sequence, base as u16);
            let read: Vec<_> = feedback.received().collect();
            let floor = |micros: i64| micros.div_euclid(DELTA_MICROS) * DELTA_MICROS;
            let want: Vec<_> = rest[..taken]
                .iter()
                .map(|&(n, at)| (n as u16, floor(at)))
                .collect();
            assert_eq!(read, want);
            base = rest[taken - 1].0 + 1;
            rest = &rest[taken..];
            packets += 1;
        }
        packets
    }

    #[test]
    fn steady_stream_fits_one_packet() {
        let arrivals: Vec<_> = (0..100)
            .map(|n| (70_000 + n, 5_000_000 + n as i64 * 1_000))
            .collect();
        assert_eq!(round_trip(70_000, &arrivals), 1);
        assert_eq!(round_trip(69_990, &arrivals), 1);
    }

    #[test]
    fn gaps_in_number_and_time_split_the_feedback() {
        assert_eq!(round_trip(0, &[(0, 0), (1, 60_000_000)]), 2);
        assert_eq!(round_trip(0, &[(0, 0), (30_000, 1_000)]), 2);
        assert_eq!(
            round_trip(0, &[(50, 1_000_000), (51, 900_000), (52, 900_100)]),
            1
        );
    }

    proptest::proptest! {
        #[test]
        fn any_arrivals_read_back(
            start in 0u64..200_000,
            steps in proptest::collection::vec((1u64..40, -200_000i64..2_000_000), 1..1_000),
        ) {
            let (mut sequence, mut time) = (start, 1_000_000_000);
            let arrivals: Vec<_> = steps.into_iter().map(|(step, delay)| {
                sequence += step;
                time += delay / 100;
                (sequence, time)
            }).collect();
            round_trip(start, &arrivals);
        }

        #[test]
        fn any_statuses_are_bounded(
            count: u16, chunks in proptest::collection::vec(0u16.., 0..20), deltas: [u8; 32],
        ) {
            let mut body = vec![0; 10];
            body.extend_from_slice(&count.to_be_bytes());
            body.extend_from_slice(&[0; 4]);
            for chunk in &chunks {
                body.extend_from_slice(&chunk.to_be_bytes());
            }
            body.extend_from_slice(&deltas);
            if let Some(feedback) = TransportFeedback::parse(&body) {
                proptest::prop_assert!(feedback.received().count() <= body.len());
            }
        }
    }
}
