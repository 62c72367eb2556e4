//! The Data Channel Establishment Protocol (RFC 8832 §5).

use super::{ChannelSpec, Reliability};

const ACK: u8 = 0x02;
const OPEN: u8 = 0x03;
const UNORDERED: u8 = 0x80;
const PARTIAL_RETRANSMITS: u8 = 0x01;
const PARTIAL_LIFETIME: u8 = 0x02;
/// Labels and protocols are names, not payload.
const MAX_NAME: usize = 1_024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dcep {
    Open(ChannelSpec),
    Ack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DcepError {
    #[error("truncated")]
    Truncated,
    #[error("unknown message type")]
    UnknownMessage,
    #[error("unknown channel type")]
    UnknownChannel,
    #[error("label or protocol too long or not UTF-8")]
    BadName,
}

/// Reads one message.
pub fn parse(message: &[u8]) -> Result<Dcep, DcepError> {
    match message.first() {
        None => Err(DcepError::Truncated),
        Some(&ACK) => Ok(Dcep::Ack),
        Some(&OPEN) => parse_open(message).map(Dcep::Open),
        Some(_) => Err(DcepError::UnknownMessage),
    }
}

fn parse_open(message: &[u8]) -> Result<ChannelSpec, DcepError> {
    let (header, names) = message
        .split_first_chunk::<12>()
        .ok_or(DcepError::Truncated)?;
    let [_, kind, _, _, p0, p1, p2, p3, l0, l1, n0, n1] = *header;
    let parameter = u32::from_be_bytes([p0, p1, p2, p3]);
    let reliability = match kind & !UNORDERED {
        0 => Reliability::Reliable,
        PARTIAL_RETRANSMITS => Reliability::MaxRetransmits(parameter),
        PARTIAL_LIFETIME => Reliability::MaxLifetime(parameter),
        _ => return Err(DcepError::UnknownChannel),
    };
    let label = usize::from(u16::from_be_bytes([l0, l1]));
    let protocol = usize::from(u16::from_be_bytes([n0, n1]));
    if label > MAX_NAME || protocol > MAX_NAME {
        return Err(DcepError::BadName);
    }
    let (label, rest) = names.split_at_checked(label).ok_or(DcepError::Truncated)?;
    let protocol = rest.get(..protocol).ok_or(DcepError::Truncated)?;
    let text = |name: &[u8]| {
        std::str::from_utf8(name)
            .map(str::to_owned)
            .map_err(|_| DcepError::BadName)
    };
    Ok(ChannelSpec {
        label: text(label)?,
        protocol: text(protocol)?,
        ordered: kind & UNORDERED == 0,
        reliability,
    })
}

/// Writes one message. Names are cut at 1,024 bytes' worth of characters.
pub fn write(message: &Dcep) -> Vec<u8> {
    let Dcep::Open(spec) = message else {
        return vec![ACK];
    };
    let (kind, parameter) = match spec.reliability {
        Reliability::Reliable => (0, 0),
        Reliability::MaxRetransmits(count) => (PARTIAL_RETRANSMITS, count),
        Reliability::MaxLifetime(ms) => (PARTIAL_LIFETIME, ms),
    };
    let label = cut(&spec.label);
    let protocol = cut(&spec.protocol);
    let mut out = Vec::with_capacity(12 + label.len() + protocol.len());
    // Priority 256 is "normal" (RFC 8831 §6.4).
    out.extend_from_slice(&[OPEN, kind | if spec.ordered { 0 } else { UNORDERED }, 1, 0]);
    out.extend_from_slice(&parameter.to_be_bytes());
    for name in [label, protocol] {
        out.extend_from_slice(&(name.len() as u16).to_be_bytes());
    }
    out.extend_from_slice(label.as_bytes());
    out.extend_from_slice(protocol.as_bytes());
    out
}

fn cut(name: &str) -> &str {
    name.get(..name.floor_char_boundary(MAX_NAME))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(label: &str, ordered: bool, reliability: Reliability) -> ChannelSpec {
        ChannelSpec {
            label: label.into(),
            protocol: "p".into(),
            ordered,
            reliability,
        }
    }

    #[test]
    fn every_channel_type_survives_the_wire() {
        for reliability in [
            Reliability::Reliable,
            Reliability::MaxRetransmits(0),
            Reliability::MaxLifetime(300),
        ] {
            for ordered in [false, true] {
                let message = Dcep::Open(spec("_lossy", ordered, reliability));
                assert_eq!(parse(&write(&message)), Ok(message));
            }
        }
        assert_eq!(parse(&write(&Dcep::Ack)), Ok(Dcep::Ack));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let whole = write(&Dcep::Open(spec("label", true, Reliability::Reliable)));
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Err(DcepError::Truncated), "{end}");
        }
        assert_eq!(parse(&[9]), Err(DcepError::UnknownMessage));
        let mut unknown = whole.clone();
        unknown[1] = 5;
        assert_eq!(parse(&unknown), Err(DcepError::UnknownChannel));
        let mut binary = whole.clone();
        binary[12] = 0xff;
        assert_eq!(parse(&binary), Err(DcepError::BadName));
        let mut long = whole;
        long[8..10].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(parse(&long), Err(DcepError::BadName));
    }

    #[test]
    fn long_labels_are_cut_at_a_character() {
        let message = Dcep::Open(spec(&"é".repeat(1_000), true, Reliability::Reliable));
        let Ok(Dcep::Open(read)) = parse(&write(&message)) else {
            panic!("not an open")
        };
        assert_eq!(read.label, "é".repeat(512));
    }
}
