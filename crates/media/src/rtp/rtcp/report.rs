//! Sender and receiver reports, source descriptions and goodbyes (RFC 3550 section 6).

use super::{
    GOODBYE, RECEIVER_REPORT, RtcpPacket, SENDER_REPORT, SOURCE_DESCRIPTION, read_u32, write_packet,
};

/// The most report blocks (and sources) one packet can hold.
pub const MAX_BLOCKS: usize = 31;

const BLOCK_LEN: usize = 24;
const SENDER_INFO_LEN: usize = 24;
const CNAME: u8 = 1;

/// What a sender says of its clocks and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP time, 32.32 fixed point.
    pub ntp: u64,
    /// The same moment in the stream's clock.
    pub rtp_timestamp: u32,
    pub packets: u32,
    /// Payload bytes, without headers and padding.
    pub octets: u32,
}

/// What a receiver says of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// Loss since the last report, in 256ths.
    pub fraction_lost: u8,
    /// 24 bits with sign; may be negative with duplicates.
    pub cumulative_lost: i32,
    /// Cycles in the upper, sequence number in the lower 16 bits.
    pub highest_sequence: u32,
    /// In units of the codec's clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report, or 0.
    pub last_sr: u32,
    /// Time since that report arrived, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn parse(b: &[u8; BLOCK_LEN]) -> Self {
        let word = |at: usize| read_u32(b, at).unwrap_or_default();
        Self {
            ssrc: word(0),
            fraction_lost: b[4],
            cumulative_lost: (word(4) << 8) as i32 >> 8,
            highest_sequence: word(8),
            jitter: word(12),
            last_sr: word(16),
            delay_since_last_sr: word(20),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7F_FFFF) as u32 & 0xFF_FFFF;
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ];
        for word in words {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }

    /// Round-trip time told by this block in 1/65536 s, for one that arrived at `now_ntp`.
    pub fn round_trip(&self, now_ntp: u64) -> Option<u32> {
        if self.last_sr == 0 {
            return None;
        }
        let elapsed = middle_ntp(now_ntp)
            .wrapping_sub(self.last_sr)
            .wrapping_sub(self.delay_since_last_sr);
        // A negative result comes from clocks that drift or a receiver that lies.
        (elapsed < 1 << 31).then_some(elapsed)
    }
}

/// The middle 32 bits of an NTP time: seconds in 16.16 fixed point.
pub fn middle_ntp(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// The report blocks of a packet.
#[derive(Clone, Copy, Debug)]
pub struct ReportBlocks<'a>(&'a [[u8; BLOCK_LEN]]);

impl<'a> ReportBlocks<'a> {
    fn parse(count: u8, bytes: &'a [u8]) -> Option<Self> {
        // What follows the blocks is a profile's own extension.
        bytes.as_chunks().0.get(..usize::from(count)).map(Self)
    }

    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.0.iter().map(ReportBlock::parse)
    }
}

pub(super) fn parse_sender(count: u8, body: &[u8]) -> Option<RtcpPacket<'_>> {
    let (fixed, blocks) = body.split_at_checked(SENDER_INFO_LEN)?;
    let word = |at: usize| read_u32(fixed, at);
    let info = SenderInfo {
        ntp: u64::from(word(4)?) << 32 | u64::from(word(8)?),
        rtp_timestamp: word(12)?,
        packets: word(16)?,
        octets: word(20)?,
    };
    Some(RtcpPacket::SenderReport {
        ssrc: word(0)?,
        info,
        blocks: ReportBlocks::parse(count, blocks)?,
    })
}

pub(super) fn parse_receiver(count: u8, body: &[u8]) -> Option<RtcpPacket<'_>> {
    let ssrc = read_u32(body, 0)?;
    Some(RtcpPacket::ReceiverReport {
        ssrc,
        blocks: ReportBlocks::parse(count, body.get(4..)?)?,
    })
}

/// Appends a sender report with at most [`MAX_BLOCKS`] blocks; more are left out.
pub fn write_sender_report(
    out: &mut Vec<u8>,
    ssrc: u32,
    info: &SenderInfo,
    blocks: &[ReportBlock],
) {
    let blocks = blocks.get(..MAX_BLOCKS).unwrap_or(blocks);
    write_packet(out, SENDER_REPORT, blocks.len() as u8, |out| {
        out.extend_from_slice(&ssrc.to_be_bytes());
        out.extend_from_slice(&info.ntp.to_be_bytes());
        for word in [info.rtp_timestamp, info.packets, info.octets] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        blocks.iter().for_each(|block| block.write(out));
    });
}

/// Appends a receiver report with at most [`MAX_BLOCKS`] blocks; more are left out.
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: u32, blocks: &[ReportBlock]) {
    let blocks = blocks.get(..MAX_BLOCKS).unwrap_or(blocks);
    write_packet(out, RECEIVER_REPORT, blocks.len() as u8, |out| {
        out.extend_from_slice(&ssrc.to_be_bytes());
        blocks.iter().for_each(|block| block.write(out));
    });
}

/// A source description.
#[derive(Clone, Copy, Debug)]
pub struct Sdes<'a> {
    count: u8,
    chunks: &'a [u8],
}

impl<'a> Sdes<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let sdes = Self {
            count,
            chunks: body,
        };
        let mut rest = body;
        for _ in 0..count {
            (_, _, rest) = next_chunk(rest)?;
        }
        Some(sdes)
    }

    /// SSRC and CNAME of each chunk that has one.
    pub fn cnames(&self) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        let mut rest = self.chunks;
        (0..self.count)
            .map_while(move |_| {
                let (ssrc, cname, after) = next_chunk(rest)?;
                rest = after;
                Some((ssrc, cname))
            })
            .filter_map(|(ssrc, cname)| Some((ssrc, cname?)))
    }
}

type Chunk<'a> = (u32, Option<&'a [u8]>, &'a [u8]);

fn next_chunk(bytes: &[u8]) -> Option<Chunk<'_>> {
    let ssrc = read_u32(bytes, 0)?;
    let mut at = 4;
    let mut cname = None;
    loop {
        let kind = *bytes.get(at)?;
        at += 1;
        if kind == 0 {
            break;
        }
        let len = usize::from(*bytes.get(at)?);
        let value = bytes.get(at + 1..at + 1 + len)?;
        if kind == CNAME {
            cname = Some(value);
        }
        at += 1 + len;
    }
    // The list ends with zeros up to the next word.
    Some((ssrc, cname, bytes.get(at.next_multiple_of(4)..)?))
}

/// Appends a source description with a CNAME, cut to 255 bytes.
pub fn write_cname(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let cname = cname.as_bytes();
    let cname = cname.get(..255).unwrap_or(cname);
    write_packet(out, SOURCE_DESCRIPTION, 1, |out| {
        out.extend_from_slice(&ssrc.to_be_bytes());
        out.extend_from_slice(&[CNAME, cname.len() as u8]);
        out.extend_from_slice(cname);
        out.push(0);
    });
}

/// Sources that leave.
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a>(&'a [[u8; 4]]);

impl<'a> Bye<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        body.as_chunks().0.get(..usize::from(count)).map(Self)
    }

    pub fn sources(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.iter().map(|word| u32::from_be_bytes(*word))
    }
}

/// Appends a goodbye for at most [`MAX_BLOCKS`] sources; more are left out.
pub fn write_bye(out: &mut Vec<u8>, sources: &[u32]) {
    let sources = sources.get(..MAX_BLOCKS).unwrap_or(sources);
    write_packet(out, GOODBYE, sources.len() as u8, |out| {
        sources
            .iter()
            .for_each(|ssrc| out.extend_from_slice(&ssrc.to_be_bytes()));
    });
}

#[cfg(test)]
mod tests {
    use super::super::{RtcpPacket, parse_compound};
    use super::*;

    fn only(bytes: &[u8]) -> RtcpPacket<'_> {
        parse_compound(bytes).unwrap().next().unwrap().unwrap()
    }

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 7,
        fraction_lost: 128,
        cumulative_lost: -3,
        highest_sequence: 0x1_0005,
        jitter: 90,
        last_sr: 0x8000_0000,
        delay_since_last_sr: 0x8000,
    };

    #[test]
    fn sender_report_reads_back() {
        let info = SenderInfo {
            ntp: 0xE000_0001_8000_0000,
            rtp_timestamp: 90_000,
            packets: 5,
            octets: 6_000,
        };
        let mut out = Vec::new();
        write_sender_report(&mut out, 1, &info, &[BLOCK, BLOCK]);
        assert_eq!(out.len(), 28 + 2 * 24);
        let RtcpPacket::SenderReport {
            ssrc: 1,
            info: read,
            blocks,
        } = only(&out)
        else {
            panic!()
        };
        assert_eq!(read, info);
        assert_eq!(blocks.iter().collect::<Vec<_>>(), [BLOCK, BLOCK]);
    }

    #[test]
    fn receiver_report_reads_back_and_holds_31_blocks() {
        let mut out = Vec::new();
        write_receiver_report(&mut out, 9, &[BLOCK; 40]);
        let RtcpPacket::ReceiverReport { ssrc: 9, blocks } = only(&out) else {
            panic!()
        };
        assert_eq!(blocks.iter().count(), MAX_BLOCKS);
    }

    #[test]
    fn cumulative_loss_is_clamped_to_24_bits() {
        let mut out = Vec::new();
        write_receiver_report(
            &mut out,
            9,
            &[ReportBlock {
                cumulative_lost: i32::MAX,
                ..BLOCK
            }],
        );
        let RtcpPacket::ReceiverReport { blocks, .. } = only(&out) else {
            panic!()
        };
        let read = blocks.iter().next().unwrap();
        assert_eq!((read.cumulative_lost, read.fraction_lost), (0x7F_FFFF, 128));
    }

    #[test]
    fn round_trip_is_what_remains_after_the_delay() {
        // Now is 1.5 s after the report was sent, of which the receiver held it 0.5 s.
        let now = (u64::from(BLOCK.last_sr) << 16) + (3 << 31);
        assert_eq!(BLOCK.round_trip(now), Some(1 << 16));
        assert_eq!(BLOCK.round_trip(u64::from(BLOCK.last_sr) << 16), None);
        assert_eq!(ReportBlock::default().round_trip(now), None);
    }

    #[test]
    fn cname_and_bye_read_back() {
        for name in ["", "a", "ab", "abc", "somebody@host"] {
            let mut out = Vec::new();
            write_cname(&mut out, 5, name);
            let RtcpPacket::Sdes(sdes) = only(&out) else {
                panic!()
            };
            assert_eq!(sdes.cnames().collect::<Vec<_>>(), [(5, name.as_bytes())]);
        }
        let mut out = Vec::new();
        write_bye(&mut out, &[1, 2]);
        let RtcpPacket::Bye(bye) = only(&out) else {
            panic!()
        };
        assert_eq!(bye.sources().collect::<Vec<_>>(), [1, 2]);
    }
}
