//! RTCP (RFC 3550, 4585, 5104, 5506): compounds read without copies, packets appended to a buffer.

pub mod feedback;
pub mod report;
pub mod transport_cc;

pub use feedback::{Fir, Nack, Remb};
pub use report::{Bye, ReportBlock, ReportBlocks, Sdes, SenderInfo};
pub use transport_cc::{TransportFeedback, TransportFeedbackBuilder};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

const FORMAT_NACK: u8 = 1;
const FORMAT_TRANSPORT_CC: u8 = 15;
const FORMAT_PLI: u8 = 1;
const FORMAT_FIR: u8 = 4;
const FORMAT_APPLICATION: u8 = 15;

const HEADER_LEN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    #[error("shorter than its length field says")]
    Truncated,
    #[error("not RTP version 2")]
    Version,
    #[error("padding count does not fit the packet")]
    Padding,
    /// The body contradicts the header (counts, formats).
    #[error("malformed packet of type {0}")]
    Malformed(u8),
}

/// One packet of a compound. Kinds the server does not act on (APP, XR, other feedback) are
/// [`RtcpPacket::Other`].
#[derive(Clone, Copy, Debug)]
pub enum RtcpPacket<'a> {
    SenderReport {
        ssrc: u32,
        info: SenderInfo,
        blocks: ReportBlocks<'a>,
    },
    ReceiverReport {
        ssrc: u32,
        blocks: ReportBlocks<'a>,
    },
    Sdes(Sdes<'a>),
    Bye(Bye<'a>),
    Nack(Nack<'a>),
    TransportFeedback(TransportFeedback<'a>),
    /// Picture loss: `media` must send a key frame.
    Pli {
        sender: u32,
        media: u32,
    },
    Fir(Fir<'a>),
    Remb(Remb<'a>),
    Other {
        packet_type: u8,
        format: u8,
    },
}

/// Reads a datagram of RTCP packets, full or reduced-size. The framing of all packets is checked first,
/// so a truncated compound is refused as a whole; a malformed body is an error in its place only.
pub fn parse_compound(datagram: &[u8]) -> Result<Compound<'_>, RtcpError> {
    if datagram.is_empty() {
        return Err(RtcpError::Truncated);
    }
    let mut rest = datagram;
    while !rest.is_empty() {
        (_, rest) = split_packet(rest)?;
    }
    Ok(Compound { rest: datagram })
}

/// See [`parse_compound`].
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<RtcpPacket<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match split_packet(self.rest) {
            Ok((packet, rest)) => {
                self.rest = rest;
                Some(packet.parse())
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

struct RawPacket<'a> {
    packet_type: u8,
    /// Report count, source count or feedback format.
    count: u8,
    /// After the common header, without padding.
    body: &'a [u8],
}

fn split_packet(datagram: &[u8]) -> Result<(RawPacket<'_>, &[u8]), RtcpError> {
    let (&[first, packet_type, l0, l1], after) =
        datagram.split_first_chunk().ok_or(RtcpError::Truncated)?;
    if first >> 6 != 2 {
        return Err(RtcpError::Version);
    }
    let len = 4 * usize::from(u16::from_be_bytes([l0, l1]));
    let (mut body, rest) = after.split_at_checked(len).ok_or(RtcpError::Truncated)?;
    if first & 0x20 != 0 {
        let count = usize::from(*body.last().ok_or(RtcpError::Padding)?);
        if count == 0 {
            return Err(RtcpError::Padding);
        }
        body = body
            .len()
            .checked_sub(count)
            .and_then(|len| body.get(..len))
            .ok_or(RtcpError::Padding)?;
    }
    Ok((
        RawPacket {
            packet_type,
            count: first & 0x1F,
            body,
        },
        rest,
    ))
}

impl<'a> RawPacket<'a> {
    fn parse(self) -> Result<RtcpPacket<'a>, RtcpError> {
        let Self {
            packet_type,
            count,
            body,
        } = self;
        let parsed = match (packet_type, count) {
            (SENDER_REPORT, _) => report::parse_sender(count, body),
            (RECEIVER_REPORT, _) => report::parse_receiver(count, body),
            (SOURCE_DESCRIPTION, _) => Sdes::parse(count, body).map(RtcpPacket::Sdes),
            (GOODBYE, _) => Bye::parse(count, body).map(RtcpPacket::Bye),
            (TRANSPORT_FEEDBACK, FORMAT_NACK) => Nack::parse(body).map(RtcpPacket::Nack),
            (TRANSPORT_FEEDBACK, FORMAT_TRANSPORT_CC) => {
                TransportFeedback::parse(body).map(RtcpPacket::TransportFeedback)
            }
            (PAYLOAD_FEEDBACK, FORMAT_PLI) => feedback::parse_pli(body),
            (PAYLOAD_FEEDBACK, FORMAT_FIR) => Fir::parse(body).map(RtcpPacket::Fir),
            (PAYLOAD_FEEDBACK, FORMAT_APPLICATION) => Some(match Remb::parse(body) {
                Some(remb) => RtcpPacket::Remb(remb),
                None => RtcpPacket::Other {
                    packet_type,
                    format: count,
                },
            }),
            _ => Some(RtcpPacket::Other {
                packet_type,
                format: count,
            }),
        };
        parsed.ok_or(RtcpError::Malformed(packet_type))
    }
}

/// The first of several packets written one after the other, and the others; `None` at their end.
pub fn split_first_packet(packets: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = 4 * (usize::from(read_u16(packets, 2)?) + 1);
    packets.split_at_checked(len)
}

pub fn is_receiver_report(packet: &[u8]) -> bool {
    packet.get(1) == Some(&RECEIVER_REPORT)
}

/// Appends the common header and what `body` appends, padded with zeros to whole words, and fills in the
/// length.
fn write_packet(out: &mut Vec<u8>, packet_type: u8, count: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0x80 | (count & 0x1F), packet_type, 0, 0]);
    body(out);
    let words = (out.len() - start).div_ceil(4);
    out.resize(start + 4 * words, 0);
    // Bodies written here stay far below the 256 KiB that the field can tell.
    if let Some(length) = out.get_mut(start + 2..start + HEADER_LEN) {
        length.copy_from_slice(&((words - 1) as u16).to_be_bytes());
    }
}

#[inline]
fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| u32::from_be_bytes(*word))
}

#[inline]
fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| u16::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(datagram: &[u8]) {
        let Ok(compound) = parse_compound(datagram) else {
            return;
        };
        for packet in compound.flatten() {
            match packet {
                RtcpPacket::SenderReport { blocks, .. }
                | RtcpPacket::ReceiverReport { blocks, .. } => {
                    assert!(blocks.iter().count() < 32);
                }
                RtcpPacket::Sdes(sdes) => assert!(sdes.cnames().count() < 32),
                RtcpPacket::Bye(bye) => assert!(bye.sources().count() < 32),
                RtcpPacket::Nack(nack) => {
                    assert!(nack.sequences().count() <= datagram.len() * 17 / 4)
                }
                RtcpPacket::TransportFeedback(feedback) => {
                    assert!(feedback.received().count() <= datagram.len());
                }
                RtcpPacket::Fir(fir) => assert!(fir.entries().count() <= datagram.len() / 8),
                RtcpPacket::Remb(remb) => assert!(remb.ssrcs().count() <= 255),
                RtcpPacket::Pli { .. } | RtcpPacket::Other { .. } => {}
            }
        }
    }

    #[test]
    fn compound_is_read_in_order() {
        let mut out = Vec::new();
        report::write_receiver_report(&mut out, 1, &[]);
        report::write_cname(&mut out, 1, "somebody");
        feedback::write_pli(&mut out, 1, 2);
        let packets: Vec<_> = parse_compound(&out).unwrap().collect();
        assert!(matches!(
            packets[0],
            Ok(RtcpPacket::ReceiverReport { ssrc: 1, .. })
        ));
        assert!(matches!(packets[1], Ok(RtcpPacket::Sdes(_))));
        assert!(matches!(
            packets[2],
            Ok(RtcpPacket::Pli {
                sender: 1,
                media: 2
            })
        ));
        assert_eq!(packets.len(), 3);
    }

    #[test]
    fn reduced_size_feedback_stands_alone() {
        let mut out = Vec::new();
        feedback::write_pli(&mut out, 1, 2);
        assert_eq!(out.len(), 12);
        assert_eq!(parse_compound(&out).unwrap().count(), 1);
    }

    #[test]
    fn truncated_compound_is_refused_as_a_whole() {
        let mut out = Vec::new();
        feedback::write_pli(&mut out, 1, 2);
        let whole = out.len();
        report::write_receiver_report(&mut out, 1, &[ReportBlock::default()]);
        for len in (0..out.len()).filter(|len| *len != whole) {
            assert_eq!(
                parse_compound(&out[..len]).err(),
                Some(RtcpError::Truncated),
                "{len}"
            );
        }
        out[whole] = 0x41;
        assert_eq!(parse_compound(&out).err(), Some(RtcpError::Version));
    }

    #[test]
    fn malformed_body_spoils_only_itself() {
        let mut out = Vec::new();
        // A receiver report that claims two blocks and has none.
        out.extend_from_slice(&[0x82, 201, 0, 1, 0, 0, 0, 1]);
        feedback::write_pli(&mut out, 1, 2);
        let packets: Vec<_> = parse_compound(&out).unwrap().collect();
        assert_eq!(packets[0].err(), Some(RtcpError::Malformed(201)));
        assert!(matches!(packets[1], Ok(RtcpPacket::Pli { .. })));
    }

    #[test]
    fn unknown_kinds_are_skipped() {
        let out = [
            0x80, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', b'e', 0x80, 207, 0, 1, 0, 0, 0, 1,
        ];
        let packets: Vec<_> = parse_compound(&out).unwrap().map(Result::unwrap).collect();
        assert!(matches!(
            packets[0],
            RtcpPacket::Other {
                packet_type: 204,
                ..
            }
        ));
        assert!(matches!(
            packets[1],
            RtcpPacket::Other {
                packet_type: 207,
                ..
            }
        ));
    }

    #[test]
    fn padding_must_fit_the_body() {
        let padded = |count: u8| [0xA1, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, count];
        assert!(matches!(
            parse_compound(&padded(4)).unwrap().next(),
            Some(Ok(RtcpPacket::Pli { media: 2, .. }))
        ));
        assert_eq!(parse_compound(&padded(0)).err(), Some(RtcpError::Padding));
        assert_eq!(parse_compound(&padded(13)).err(), Some(RtcpError::Padding));
        assert_eq!(
            parse_compound(&[0xA1, 206, 0, 0]).err(),
            Some(RtcpError::Padding)
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            touch(&bytes);
        }

        #[test]
        fn any_body_of_a_known_kind_is_parsed_or_refused(
            kind in 200u8..=207, count in 0u8..32, padded: bool, words in 0u8..40, body: [u8; 160],
        ) {
            let mut bytes = vec![0x80 | count | if padded { 0x20 } else { 0 }, kind, 0, words];
            bytes.extend_from_slice(&body[..4 * usize::from(words)]);
            touch(&bytes);
        }
    }
}
