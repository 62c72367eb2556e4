//! `livekit.DataPacket`, read and stamped on the wire.
//!
//! A packet is never decoded and encoded again: kinds and fields that this server does not know pass
//! byte for byte. The sender's fields are taken out wherever they occur, nested ones included, and ours
//! put in, because protobuf decoders merge repeated occurrences and let the last one win.

use super::wire::{self, Malformed, Value, fields};

/// Field numbers of `livekit.DataPacket`.
mod field {
    pub(super) const KIND: u32 = 1;
    pub(super) const USER: u32 = 2;
    pub(super) const PARTICIPANT_IDENTITY: u32 = 4;
    pub(super) const DESTINATION_IDENTITIES: u32 = 5;
    pub(super) const TRANSCRIPTION: u32 = 7;
    pub(super) const METRICS: u32 = 8;
    pub(super) const CHAT_MESSAGE: u32 = 9;
    pub(super) const STREAM_HEADER: u32 = 13;
    pub(super) const SEQUENCE: u32 = 16;
    pub(super) const PARTICIPANT_SID: u32 = 17;
    /// The values of the oneof, as far as they are known.
    pub(super) const VALUES: [u32; 13] = [2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 18];
}

/// Field numbers of `livekit.UserPacket`.
mod user {
    pub(super) const PARTICIPANT_SID: u32 = 1;
    pub(super) const PAYLOAD: u32 = 2;
    pub(super) const DESTINATION_SIDS: u32 = 3;
    pub(super) const PARTICIPANT_IDENTITY: u32 = 5;
    pub(super) const DESTINATION_IDENTITIES: u32 = 6;
    pub(super) const NONCE: u32 = 11;
}

const CHAT_GENERATED: u32 = 6;
const HEADER_TEXT: u32 = 9;
const HEADER_BYTE: u32 = 10;
const TEXT_GENERATED: u32 = 5;

/// Who a packet comes from, as the server knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender<'a> {
    pub sid: &'a str,
    pub identity: &'a str,
    /// A hidden sender's identity is kept from the receivers.
    pub hidden: bool,
    /// May send transcriptions, and chat messages and text streams in another's name.
    pub agent: bool,
}

impl Sender<'_> {
    fn shown_identity(&self) -> &str {
        if self.hidden { "" } else { self.identity }
    }

    /// User packets carry a legacy copy of the sid, which is kept back as well.
    fn shown_user_sid(&self) -> &str {
        if self.hidden { "" } else { self.sid }
    }
}

/// Why a packet goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error("malformed data packet")]
    Malformed,
    #[error("transcription from a participant that is not an agent")]
    TranscriptionNotAllowed,
    /// Metrics end at the server; no fault of the sender's.
    #[error("metrics are not forwarded")]
    Metrics,
}

impl From<Malformed> for PacketError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What routing needs to know of a packet, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary<'a> {
    /// The sender's own number of a reliable packet; 0 = not numbered.
    pub sequence: u32,
    /// Field number of the last oneof value that is known, `None` for a kind newer than this server.
    pub value: Option<u32>,
    /// Destinations by identity: the packet's own, or the legacy ones of its user packet.
    pub identities: Vec<&'a str>,
    /// Legacy destinations of a user packet, by sid.
    pub sids: Vec<&'a str>,
    /// A user packet's nonce, when it has the proper size.
    pub nonce: Option<[u8; 16]>,
    /// The identity the sender claims.
    claimed: &'a str,
    /// Several known oneof values; receivers take the last.
    mixed: bool,
    has_transcription: bool,
    has_metrics: bool,
    users: usize,
    text_header: bool,
    /// The identities come from the user packet and are missing in the packet itself.
    legacy_identities: bool,
}

impl<'a> Summary<'a> {
    /// Reads a packet of at most [`super::MAX_MESSAGE_SIZE`] bytes.
    pub fn parse(packet: &'a [u8]) -> Result<Self, PacketError> {
        let mut summary = Self::default();
        let mut user_identities = Vec::new();
        for field in fields(packet) {
            let field = field?;
            let number = field.number;
            match (number, field.value) {
                (field::PARTICIPANT_IDENTITY, Value::Bytes(bytes)) => {
                    summary.claimed = text(bytes)?
                }
                (field::DESTINATION_IDENTITIES, Value::Bytes(bytes)) => {
                    summary.identities.push(text(bytes)?)
                }
                // Decoders cut a uint32 to its low half.
                (field::SEQUENCE, Value::Varint(value)) => summary.sequence = value as u32,
                (_, Value::Bytes(bytes)) if field::VALUES.contains(&number) => {
                    summary.mixed |= summary.value.is_some_and(|earlier| earlier != number);
                    summary.value = Some(number);
                    summary.has_transcription |= number == field::TRANSCRIPTION;
                    summary.has_metrics |= number == field::METRICS;
                    match number {
                        field::USER => summary.read_user(bytes, &mut user_identities)?,
                        field::STREAM_HEADER => summary.read_stream_header(bytes)?,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        if summary.identities.is_empty() {
            summary.legacy_identities = !user_identities.is_empty();
            summary.identities = user_identities;
        }
        Ok(summary)
    }

    fn read_user(
        &mut self,
        packet: &'a [u8],
        identities: &mut Vec<&'a str>,
    ) -> Result<(), PacketError> {
        self.users += 1;
        for field in fields(packet) {
            let field = field?;
            match (field.number, field.value) {
                (user::DESTINATION_SIDS, Value::Bytes(bytes)) => self.sids.push(text(bytes)?),
                (user::DESTINATION_IDENTITIES, Value::Bytes(bytes)) => {
                    identities.push(text(bytes)?)
                }
                (user::NONCE, Value::Bytes(bytes)) => self.nonce = bytes.try_into().ok(),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_stream_header(&mut self, header: &[u8]) -> Result<(), PacketError> {
        for field in fields(header) {
            match field?.number {
                HEADER_TEXT => self.text_header = true,
                HEADER_BYTE => self.text_header = false,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the packet has no destination, so that it goes to all others.
    pub fn is_broadcast(&self) -> bool {
        self.identities.is_empty() && self.sids.is_empty()
    }

    /// Whether an agent speaks in another's name where it may.
    fn keeps_claimed_identity(&self, sender: &Sender<'_>) -> bool {
        sender.agent
            && !self.mixed
            && !self.claimed.is_empty()
            && self.claimed != sender.identity
            && match self.value {
                Some(field::CHAT_MESSAGE) => true,
                Some(field::STREAM_HEADER) => self.text_header,
                _ => false,
            }
    }
}

fn text(bytes: &[u8]) -> Result<&str, PacketError> {
    std::str::from_utf8(bytes).map_err(|_| PacketError::Malformed)
}

/// Writes `packet` to `out` with the sender and the channel's kind that the server knows.
///
/// `summary` must come from the same packet.
pub fn stamp(
    packet: &[u8],
    summary: &Summary<'_>,
    sender: &Sender<'_>,
    reliable: bool,
    out: &mut Vec<u8>,
) -> Result<(), PacketError> {
    if summary.has_transcription && !sender.agent {
        return Err(PacketError::TranscriptionNotAllowed);
    }
    if summary.has_metrics {
        return Err(PacketError::Metrics);
    }
    let keeps_claimed = summary.keeps_claimed_identity(sender);
    out.reserve(packet.len() + 128);
    let mut users = 0;
    for field in fields(packet) {
        let field = field?;
        match (field.number, field.value) {
            (field::KIND | field::PARTICIPANT_SID | field::PARTICIPANT_IDENTITY, _) => {}
            (field::USER, Value::Bytes(body)) => {
                users += 1;
                let destinations = if users == summary.users {
                    &summary.identities[..]
                } else {
                    &[]
                };
                stamp_user(body, sender, destinations, out)?;
            }
            (number @ field::CHAT_MESSAGE, Value::Bytes(body)) if keeps_claimed => {
                let mut body = body.to_vec();
                wire::put_number(&mut body, CHAT_GENERATED, 1);
                wire::put_bytes(out, number, &body);
            }
            (number @ field::STREAM_HEADER, Value::Bytes(body)) if keeps_claimed => {
                // A second text header merges with the first.
                let (mut body, mut generated) = (body.to_vec(), Vec::new());
                wire::put_number(&mut generated, TEXT_GENERATED, 1);
                wire::put_bytes(&mut body, HEADER_TEXT, &generated);
                wire::put_bytes(out, number, &body);
            }
            _ => out.extend_from_slice(packet.get(field.range).unwrap_or_default()),
        }
    }
    wire::put_number(out, field::KIND, u64::from(!reliable));
    wire::put_string(out, field::PARTICIPANT_SID, sender.sid);
    wire::put_string(
        out,
        field::PARTICIPANT_IDENTITY,
        if keeps_claimed {
            summary.claimed
        } else {
            sender.shown_identity()
        },
    );
    if summary.legacy_identities {
        for identity in &summary.identities {
            wire::put_bytes(out, field::DESTINATION_IDENTITIES, identity.as_bytes());
        }
    }
    Ok(())
}

fn stamp_user(
    body: &[u8],
    sender: &Sender<'_>,
    destinations: &[&str],
    out: &mut Vec<u8>,
) -> Result<(), PacketError> {
    let mut stamped = Vec::with_capacity(body.len() + 64);
    for field in fields(body) {
        let field = field?;
        match field.number {
            user::PARTICIPANT_SID | user::PARTICIPANT_IDENTITY | user::DESTINATION_IDENTITIES => {}
            _ => stamped.extend_from_slice(body.get(field.range).unwrap_or_default()),
        }
    }
    wire::put_string(&mut stamped, user::PARTICIPANT_SID, sender.shown_user_sid());
    wire::put_string(
        &mut stamped,
        user::PARTICIPANT_IDENTITY,
        sender.shown_identity(),
    );
    for identity in destinations {
        wire::put_bytes(
            &mut stamped,
            user::DESTINATION_IDENTITIES,
            identity.as_bytes(),
        );
    }
    wire::put_bytes(out, field::USER, &stamped);
    Ok(())
}

/// A reliable user packet around the raw payload of a channel with a label of its own.
pub fn wrap_raw(payload: &[u8], sender: &Sender<'_>, out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(payload.len() + 64);
    wire::put_bytes(&mut body, user::PAYLOAD, payload);
    wire::put_string(&mut body, user::PARTICIPANT_SID, sender.shown_user_sid());
    wire::put_string(
        &mut body,
        user::PARTICIPANT_IDENTITY,
        sender.shown_identity(),
    );
    out.reserve(body.len() + 128);
    wire::put_bytes(out, field::USER, &body);
    wire::put_string(out, field::PARTICIPANT_SID, sender.sid);
    wire::put_string(out, field::PARTICIPANT_IDENTITY, sender.shown_identity());
}
