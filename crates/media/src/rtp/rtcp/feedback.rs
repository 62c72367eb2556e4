//! Feedback of receivers: NACK and PLI (RFC 4585), FIR (RFC 5104) and REMB.

use super::{
    FORMAT_APPLICATION, FORMAT_FIR, FORMAT_NACK, FORMAT_PLI, PAYLOAD_FEEDBACK, RtcpPacket,
    TRANSPORT_FEEDBACK, read_u32, write_packet,
};

/// Packets that a receiver misses.
#[derive(Clone, Copy, Debug)]
pub struct Nack<'a> {
    pub sender: u32,
    pub media: u32,
    items: &'a [[u8; 4]],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let items = body.get(8..)?.as_chunks().0;
        Some(Self {
            sender: read_u32(body, 0)?,
            media: read_u32(body, 4)?,
            items,
        })
    }

    /// The missing sequence numbers, as they were asked for.
    pub fn sequences(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.items.iter().flat_map(|&[p0, p1, b0, b1]| {
            let first = u16::from_be_bytes([p0, p1]);
            let mask = u32::from(u16::from_be_bytes([b0, b1])) << 1 | 1;
            (0..17u16)
                .filter(move |bit| mask >> bit & 1 == 1)
                .map(move |bit| first.wrapping_add(bit))
        })
    }
}

/// Appends a NACK for the numbers given, which must rise (across the wrap). Nothing for none.
pub fn write_nack(out: &mut Vec<u8>, sender: u32, media: u32, lost: impl IntoIterator<Item = u16>) {
    let mut lost = lost.into_iter();
    let Some(mut first) = lost.next() else { return };
    write_packet(out, TRANSPORT_FEEDBACK, FORMAT_NACK, |out| {
        write_ssrcs(out, sender, media);
        let mut mask = 0u16;
        for sequence in lost {
            match sequence.wrapping_sub(first) {
                0 => {}
                distance @ 1..=16 => mask |= 1 << (distance - 1),
                _ => {
                    write_nack_item(out, first, mask);
                    (first, mask) = (sequence, 0);
                }
            }
        }
        write_nack_item(out, first, mask);
    });
}

fn write_nack_item(out: &mut Vec<u8>, first: u16, mask: u16) {
    out.extend_from_slice(&first.to_be_bytes());
    out.extend_from_slice(&mask.to_be_bytes());
}

fn write_ssrcs(out: &mut Vec<u8>, sender: u32, media: u32) {
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media.to_be_bytes());
}

pub(super) fn parse_pli(body: &[u8]) -> Option<RtcpPacket<'_>> {
    Some(RtcpPacket::Pli {
        sender: read_u32(body, 0)?,
        media: read_u32(body, 4)?,
    })
}

/// Appends a picture loss indication.
pub fn write_pli(out: &mut Vec<u8>, sender: u32, media: u32) {
    write_packet(out, PAYLOAD_FEEDBACK, FORMAT_PLI, |out| {
        write_ssrcs(out, sender, media)
    });
}

/// Full intra requests.
#[derive(Clone, Copy, Debug)]
pub struct Fir<'a> {
    pub sender: u32,
    entries: &'a [[u8; 8]],
}

impl<'a> Fir<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        Some(Self {
            sender: read_u32(body, 0)?,
            entries: body.get(8..)?.as_chunks().0,
        })
    }

    /// The stream asked and the number of the command: a repeated number is the same command.
    pub fn entries(&self) -> impl Iterator<Item = (u32, u8)> + use<'a> {
        self.entries
            .iter()
            .map(|&[a, b, c, d, number, ..]| (u32::from_be_bytes([a, b, c, d]), number))
    }
}

/// Appends a full intra request to one stream.
pub fn write_fir(out: &mut Vec<u8>, sender: u32, media: u32, command: u8) {
    write_packet(out, PAYLOAD_FEEDBACK, FORMAT_FIR, |out| {
        write_ssrcs(out, sender, 0);
        out.extend_from_slice(&media.to_be_bytes());
        out.extend_from_slice(&[command, 0, 0, 0]);
    });
}

/// The receiver's estimate of the bandwidth it has (draft-alvestrand-rmcat-remb).
#[derive(Clone, Copy, Debug)]
pub struct Remb<'a> {
    pub sender: u32,
    /// In bits per second.
    pub bitrate: u64,
    ssrcs: &'a [[u8; 4]],
}

impl<'a> Remb<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        if body.get(8..12)? != b"REMB" {
            return None;
        }
        let word = read_u32(body, 12)?;
        let count = (word >> 24) as usize;
        let mantissa = u64::from(word & 0x3_FFFF);
        let exponent = word >> 18 & 0x3F;
        let bitrate = u64::try_from(u128::from(mantissa) << exponent).unwrap_or(u64::MAX);
        Some(Self {
            sender: read_u32(body, 0)?,
            bitrate,
            ssrcs: body.get(16..)?.as_chunks().0.get(..count)?,
        })
    }

    /// The streams that the estimate covers.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.ssrcs.iter().map(|word| u32::from_be_bytes(*word))
    }
}

/// Appends an estimate in bits per second, rounded down to 18 significant bits, for at most 255 streams.
pub fn write_remb(out: &mut Vec<u8>, sender: u32, bitrate: u64, ssrcs: &[u32]) {
    let ssrcs = ssrcs.get(..255).unwrap_or(ssrcs);
    let exponent = (64 - bitrate.leading_zeros()).saturating_sub(18);
    let mantissa = (bitrate >> exponent) as u32;
    write_packet(out, PAYLOAD_FEEDBACK, FORMAT_APPLICATION, |out| {
        write_ssrcs(out, sender, 0);
        out.extend_from_slice(b"REMB");
        out.extend_from_slice(
            &((ssrcs.len() as u32) << 24 | exponent << 18 | mantissa).to_be_bytes(),
        );
        ssrcs
            .iter()
            .for_each(|ssrc| out.extend_from_slice(&ssrc.to_be_bytes()));
    });
}

#[cfg(test)]
mod tests {
    use super::super::parse_compound;
    use super::*;

    fn only(bytes: &[u8]) -> RtcpPacket<'_> {
        parse_compound(bytes).unwrap().next().unwrap().unwrap()
    }

    fn nacked(lost: &[u16]) -> (usize, Vec<u16>) {
        let mut out = Vec::new();
        write_nack(&mut out, 1, 2, lost.iter().copied());
        let RtcpPacket::Nack(nack) = only(&out) else {
            panic!()
        };
        assert_eq!((nack.sender, nack.media), (1, 2));
        (out.len(), nack.sequences().collect())
    }

    #[test]
    fn nack_packs_seventeen_numbers_an_item_and_crosses_the_wrap() {
        for (lost, len) in [
            (vec![5u16], 16),
            ((5..=21).collect(), 16),
            ((5..=22).collect(), 20),
            (vec![65_530, 65_535, 0, 10], 16),
            (vec![65_530, 65_535, 0, 11], 20),
            (vec![5, 100, 101, 40_000], 24),
        ] {
            assert_eq!(nacked(&lost), (len, lost));
        }
        let mut out = Vec::new();
        write_nack(&mut out, 1, 2, []);
        assert!(out.is_empty());
        assert_eq!(nacked(&[5, 5, 6]).1, [5, 6]);
    }

    #[test]
    fn fir_reads_back() {
        let mut out = Vec::new();
        write_fir(&mut out, 1, 2, 3);
        let RtcpPacket::Fir(fir) = only(&out) else {
            panic!()
        };
        assert_eq!(
            (fir.sender, fir.entries().collect::<Vec<_>>()),
            (1, vec![(2, 3)])
        );
    }

    #[test]
    fn remb_keeps_eighteen_bits() {
        for bitrate in [0, 1, 262_143, 262_144, 2_500_000, 10_000_000_000, u64::MAX] {
            let mut out = Vec::new();
            write_remb(&mut out, 1, bitrate, &[8, 9]);
            let RtcpPacket::Remb(remb) = only(&out) else {
                panic!()
            };
            assert!(remb.bitrate <= bitrate && bitrate - remb.bitrate <= bitrate >> 17);
            assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [8, 9]);
        }
    }

    #[test]
    fn remb_with_more_streams_than_it_has_is_not_one() {
        let mut out = Vec::new();
        write_remb(&mut out, 1, 5, &[8]);
        out[16] = 200;
        assert!(matches!(only(&out), RtcpPacket::Other { .. }));
        out[12] = b'X';
        assert!(matches!(only(&out), RtcpPacket::Other { .. }));
    }

    #[test]
    fn largest_exponent_saturates() {
        let mut out = Vec::new();
        write_remb(&mut out, 1, 5, &[]);
        out[17..20].copy_from_slice(&[0xFF, 0xFF, 0xFF]);
        let RtcpPacket::Remb(remb) = only(&out) else {
            panic!()
        };
        assert_eq!(remb.bitrate, u64::MAX);
    }
}
