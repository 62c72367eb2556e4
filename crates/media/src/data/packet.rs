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
                // Occurrences merge: what the last one says, all of them say.
                let ours = (users == summary.users).then_some((sender, &summary.identities[..]));
                stamp_user(body, ours, out)?;
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

/// Writes a user packet without the sender's fields, and with `ours`: the sender and the destinations.
fn stamp_user(
    body: &[u8],
    ours: Option<(&Sender<'_>, &[&str])>,
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
    if let Some((sender, destinations)) = ours {
        put_user_sender(&mut stamped, sender);
        for identity in destinations {
            wire::put_bytes(
                &mut stamped,
                user::DESTINATION_IDENTITIES,
                identity.as_bytes(),
            );
        }
    }
    wire::put_bytes(out, field::USER, &stamped);
    Ok(())
}

fn put_user_sender(user: &mut Vec<u8>, sender: &Sender<'_>) {
    wire::put_string(user, user::PARTICIPANT_SID, sender.shown_user_sid());
    wire::put_string(user, user::PARTICIPANT_IDENTITY, sender.shown_identity());
}

/// A reliable user packet around the raw payload of a channel with a label of its own.
pub fn wrap_raw(payload: &[u8], sender: &Sender<'_>, out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(payload.len() + 64);
    wire::put_bytes(&mut body, user::PAYLOAD, payload);
    put_user_sender(&mut body, sender);
    out.reserve(body.len() + 128);
    wire::put_bytes(out, field::USER, &body);
    wire::put_string(out, field::PARTICIPANT_SID, sender.sid);
    wire::put_string(out, field::PARTICIPANT_IDENTITY, sender.shown_identity());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;

    const ALICE: Sender<'_> = Sender {
        sid: "PA_alice",
        identity: "alice",
        hidden: false,
        agent: false,
    };
    const GHOST: Sender<'_> = Sender {
        hidden: true,
        ..ALICE
    };
    const AGENT: Sender<'_> = Sender {
        sid: "PA_agent",
        identity: "agent",
        hidden: false,
        agent: true,
    };

    /// What a decoder makes of a packet: the last scalar wins, lists gather, messages merge.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Decoded {
        kind: u64,
        sid: String,
        identity: String,
        destinations: Vec<String>,
        sequence: u64,
        user: Vec<u8>,
        user_sid: String,
        user_identity: String,
        user_destinations: Vec<String>,
        user_payload: Vec<u8>,
        chat: Vec<u8>,
        header: Vec<u8>,
        others: Vec<u8>,
    }

    fn string(value: Value<'_>) -> String {
        String::from_utf8(value.bytes().unwrap().to_vec()).unwrap()
    }

    fn decode(packet: &[u8]) -> Decoded {
        let mut decoded = Decoded::default();
        for field in fields(packet).map(|f| f.unwrap()) {
            match field.number {
                1 => decoded.kind = field.value.varint().unwrap(),
                2 => decoded.user.extend_from_slice(field.value.bytes().unwrap()),
                4 => decoded.identity = string(field.value),
                5 => decoded.destinations.push(string(field.value)),
                9 => decoded.chat.extend_from_slice(field.value.bytes().unwrap()),
                13 => decoded
                    .header
                    .extend_from_slice(field.value.bytes().unwrap()),
                16 => decoded.sequence = field.value.varint().unwrap(),
                17 => decoded.sid = string(field.value),
                _ => decoded.others.extend_from_slice(&packet[field.range]),
            }
        }
        for field in fields(&decoded.user.clone()).map(|f| f.unwrap()) {
            match field.number {
                1 => decoded.user_sid = string(field.value),
                2 => decoded.user_payload = field.value.bytes().unwrap().to_vec(),
                5 => decoded.user_identity = string(field.value),
                6 => decoded.user_destinations.push(string(field.value)),
                _ => {}
            }
        }
        decoded
    }

    fn stamped(packet: &[u8], sender: &Sender<'_>, reliable: bool) -> Result<Vec<u8>, PacketError> {
        let mut out = Vec::new();
        stamp(packet, &Summary::parse(packet)?, sender, reliable, &mut out)?;
        Ok(out)
    }

    fn message(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        build(&mut out);
        out
    }

    fn user_packet(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        message(|out| wire::put_bytes(out, 2, &message(build)))
    }

    #[test]
    fn sender_and_kind_are_the_servers() {
        let packet = message(|out| {
            wire::put_number(out, 1, 1);
            wire::put_string(out, 4, "bob");
            wire::put_string(out, 17, "PA_bob");
            wire::put_number(out, 16, 7);
            wire::put_bytes(out, 6, b"\x18\x01");
        });
        let decoded = decode(&stamped(&packet, &ALICE, true).unwrap());
        assert_eq!((decoded.kind, decoded.sequence), (0, 7));
        assert_eq!((&*decoded.sid, &*decoded.identity), ("PA_alice", "alice"));
        assert_eq!(decode(&stamped(&packet, &ALICE, false).unwrap()).kind, 1);
    }

    #[test]
    fn the_nested_sender_of_a_user_packet_is_replaced_too() {
        let packet = user_packet(|user| {
            wire::put_string(user, 1, "PA_bob");
            wire::put_bytes(user, 2, b"hello");
            wire::put_string(user, 5, "bob");
            wire::put_string(user, 4, "topic");
        });
        let decoded = decode(&stamped(&packet, &ALICE, true).unwrap());
        assert_eq!(
            (&*decoded.user_sid, &*decoded.user_identity),
            ("PA_alice", "alice")
        );
        assert_eq!(decoded.user_payload, b"hello");
        assert!(
            fields(&decoded.user)
                .flatten()
                .any(|f| f.value == Value::Bytes(b"topic"))
        );
    }

    #[test]
    fn a_hidden_sender_has_no_identity() {
        let packet = user_packet(|user| {
            wire::put_string(user, 1, "PA_bob");
            wire::put_string(user, 5, "bob");
        });
        let out = stamped(&packet, &GHOST, true).unwrap();
        let decoded = decode(&out);
        assert_eq!((&*decoded.sid, &*decoded.identity), ("PA_alice", ""));
        assert_eq!((&*decoded.user_sid, &*decoded.user_identity), ("", ""));
        assert!(!out.windows(3).any(|w| w == b"bob"));
    }

    #[test]
    fn unknown_kinds_and_fields_pass_byte_for_byte() {
        let unknown = message(|out| {
            wire::put_bytes(out, 99, b"\xff\x00 a kind of tomorrow");
            wire::put_number(out, 100, u64::MAX);
            out.extend_from_slice(&[0xab, 0x06, 0x08, 0x01, 0xac, 0x06]); // a group, number 101
            out.extend_from_slice(&[0xb5, 0x06, 1, 2, 3, 4]); // a fixed32, number 102
        });
        let nested = message(|user| {
            wire::put_bytes(user, 2, b"x");
            wire::put_bytes(user, 77, b"field of tomorrow");
        });
        let packet = [
            unknown.clone(),
            message(|out| wire::put_bytes(out, 2, &nested)),
        ]
        .concat();
        assert_eq!(Summary::parse(&unknown).unwrap().value, None);
        let decoded = decode(&stamped(&packet, &ALICE, true).unwrap());
        assert_eq!(decoded.others, unknown);
        assert!(decoded.user.starts_with(&nested));
    }

    #[test]
    fn destinations_are_filled_both_ways() {
        let from_packet = message(|out| {
            wire::put_string(out, 5, "bob");
            wire::put_string(out, 5, "carol");
            wire::put_bytes(
                out,
                2,
                &message(|user| wire::put_string(user, 6, "mallory")),
            );
        });
        let from_user = user_packet(|user| {
            wire::put_string(user, 6, "bob");
            wire::put_string(user, 6, "carol");
        });
        for packet in [from_packet, from_user] {
            assert_eq!(
                Summary::parse(&packet).unwrap().identities,
                ["bob", "carol"]
            );
            let decoded = decode(&stamped(&packet, &ALICE, true).unwrap());
            assert_eq!(decoded.destinations, ["bob", "carol"]);
            assert_eq!(decoded.user_destinations, ["bob", "carol"]);
        }
    }

    #[test]
    fn legacy_sids_are_destinations() {
        let packet = user_packet(|user| wire::put_string(user, 3, "PA_bob"));
        let summary = Summary::parse(&packet).unwrap();
        assert_eq!(summary.sids, ["PA_bob"]);
        assert!(!summary.is_broadcast());
    }

    #[test]
    fn transcriptions_come_from_agents_only() {
        let hidden_behind_another_kind = message(|out| {
            wire::put_bytes(out, 7, b"");
            wire::put_bytes(out, 99, b"");
        });
        for packet in [
            message(|out| wire::put_bytes(out, 7, b"")),
            hidden_behind_another_kind,
        ] {
            assert_eq!(
                stamped(&packet, &ALICE, true),
                Err(PacketError::TranscriptionNotAllowed)
            );
            assert!(stamped(&packet, &AGENT, true).is_ok());
        }
    }

    #[test]
    fn metrics_end_here() {
        let packet = message(|out| wire::put_bytes(out, 8, b""));
        assert_eq!(stamped(&packet, &AGENT, true), Err(PacketError::Metrics));
    }

    #[test]
    fn every_other_kind_is_forwarded_untouched() {
        for number in [3, 6, 9, 10, 11, 12, 13, 14, 15, 18] {
            let packet = message(|out| wire::put_bytes(out, number, b"\x0a\x01v"));
            assert_eq!(Summary::parse(&packet).unwrap().value, Some(number));
            assert!(
                stamped(&packet, &ALICE, true).unwrap().starts_with(&packet),
                "{number}"
            );
        }
    }

    #[test]
    fn an_agent_may_speak_for_another_and_is_marked() {
        let chat = message(|out| {
            wire::put_string(out, 4, "bob");
            wire::put_bytes(out, 9, b"\x22\x02hi");
        });
        let decoded = decode(&stamped(&chat, &AGENT, true).unwrap());
        assert_eq!((&*decoded.identity, &*decoded.sid), ("bob", "PA_agent"));
        assert_eq!(decoded.chat, b"\x22\x02hi\x30\x01");
        assert_eq!(
            decode(&stamped(&chat, &ALICE, true).unwrap()).identity,
            "alice"
        );

        let stream = |header: &[u8]| {
            message(|out| {
                wire::put_string(out, 4, "bob");
                wire::put_bytes(out, 13, header);
            })
        };
        let decoded = decode(&stamped(&stream(b"\x4a\x02\x10\x01"), &AGENT, true).unwrap());
        assert_eq!(decoded.identity, "bob");
        assert_eq!(decoded.header, b"\x4a\x02\x10\x01\x4a\x02\x28\x01");
        assert_eq!(
            decode(&stamped(&stream(b"\x52\x00"), &AGENT, true).unwrap()).identity,
            "agent"
        );
    }

    #[test]
    fn an_agent_keeps_no_other_identity_elsewhere() {
        for number in [2, 7, 10, 14] {
            let packet = message(|out| {
                wire::put_string(out, 4, "bob");
                wire::put_bytes(out, 9, b"");
                wire::put_bytes(out, number, b"");
            });
            assert_eq!(
                decode(&stamped(&packet, &AGENT, true).unwrap()).identity,
                "agent",
                "{number}"
            );
        }
    }

    #[test]
    fn nonces_have_sixteen_bytes() {
        let nonce = |bytes: &[u8]| {
            Summary::parse(&user_packet(|u| wire::put_bytes(u, 11, bytes)))
                .unwrap()
                .nonce
        };
        assert_eq!(nonce(&[9; 16]), Some([9; 16]));
        assert_eq!(nonce(&[9; 15]), None);
        assert_eq!(nonce(&[]), None);
    }

    #[test]
    fn a_sequence_is_read_as_decoders_read_it() {
        let packet = message(|out| wire::put_number(out, 16, (1 << 32) + 5));
        assert_eq!(Summary::parse(&packet).unwrap().sequence, 5);
    }

    #[test]
    fn malformed_packets_are_refused() {
        let whole = user_packet(|user| {
            wire::put_bytes(user, 2, &[1; 200]);
            wire::put_string(user, 5, "bob");
        });
        for cut in 1..whole.len() {
            assert_eq!(
                Summary::parse(&whole[..cut]),
                Err(PacketError::Malformed),
                "{cut}"
            );
        }
        for bad in [
            &b"\x12\x02\x2a\x05"[..],
            b"\x2a\x01\xff",
            b"\x6a\x01\x80",
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        ] {
            assert_eq!(Summary::parse(bad), Err(PacketError::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn the_sender_is_named_once_however_often_a_user_packet_is_split() {
        let packet = message(|out| (0..10_000).for_each(|_| wire::put_bytes(out, 2, b"")));
        let out = stamped(&packet, &ALICE, true).unwrap();
        assert!(out.len() < packet.len() + 128);
        assert_eq!(decode(&out).user_identity, "alice");
    }

    #[test]
    fn many_fields_cost_no_more_than_their_bytes() {
        let packet = user_packet(|user| (0..10_000).for_each(|_| wire::put_string(user, 6, "b")));
        let out = stamped(&packet, &ALICE, true).unwrap();
        assert!(out.len() < 2 * packet.len() + 128);
        let packet = message(|out| (0..10_000).for_each(|_| wire::put_string(out, 4, "b")));
        assert_eq!(
            stamped(&packet, &ALICE, true).unwrap(),
            stamped(b"", &ALICE, true).unwrap()
        );
    }

    #[test]
    fn a_raw_message_becomes_a_reliable_user_packet() {
        let mut out = Vec::new();
        wrap_raw(b"\xff\x01", &ALICE, &mut out);
        let decoded = decode(&out);
        assert_eq!(
            (decoded.kind, &decoded.user_payload[..]),
            (0, &b"\xff\x01"[..])
        );
        assert_eq!(
            (&*decoded.identity, &*decoded.user_identity),
            ("alice", "alice")
        );
    }

    #[derive(Clone, Debug)]
    enum Part {
        Claim(u32, String),
        User(Vec<(u32, String)>),
        Other(u32, Vec<u8>),
    }

    fn part() -> impl Strategy<Value = Part> {
        let claim = (prop_oneof![Just(4u32), Just(17), Just(5)], "[a-z]{0,6}");
        let nested = (
            prop_oneof![Just(1u32), Just(5), Just(6), Just(3), Just(4)],
            "[a-z]{0,6}",
        );
        prop_oneof![
            claim.prop_map(|(number, value)| Part::Claim(number, value)),
            proptest::collection::vec(nested, 0..6).prop_map(Part::User),
            (19u32..2000, proptest::collection::vec(any::<u8>(), 0..20))
                .prop_map(|(n, v)| Part::Other(n, v)),
        ]
    }

    fn encode(parts: &[Part]) -> Vec<u8> {
        message(|out| {
            for part in parts {
                match part {
                    Part::Claim(number, value) => wire::put_bytes(out, *number, value.as_bytes()),
                    Part::Other(number, value) => wire::put_bytes(out, *number, value),
                    Part::User(nested) => wire::put_bytes(
                        out,
                        2,
                        &message(|user| {
                            nested
                                .iter()
                                .for_each(|(n, v)| wire::put_bytes(user, *n, v.as_bytes()));
                        }),
                    ),
                }
            }
        })
    }

    proptest! {
        #[test]
        fn nobody_poses_as_another(parts in proptest::collection::vec(part(), 0..12), hidden: bool) {
            let sender = Sender { hidden, ..ALICE };
            let packet = encode(&parts);
            let before = decode(&packet);
            let after = decode(&stamped(&packet, &sender, true).unwrap());
            let shown = if hidden { "" } else { "alice" };
            prop_assert_eq!(&*after.sid, "PA_alice");
            prop_assert_eq!(&*after.identity, shown);
            if parts.iter().any(|p| matches!(p, Part::User(_))) {
                prop_assert_eq!(&*after.user_identity, shown);
                prop_assert_eq!(&*after.user_sid, if hidden { "" } else { "PA_alice" });
                prop_assert_eq!(&after.user_destinations, &after.destinations);
            }
            prop_assert_eq!(after.others, before.others);
            let wanted = if before.destinations.is_empty() { before.user_destinations } else { before.destinations };
            prop_assert_eq!(after.destinations, wanted);
        }

        #[test]
        fn any_bytes_are_stamped_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            parts in proptest::collection::vec(part(), 0..4),
            at: Index,
            agent: bool,
        ) {
            // A valid packet with noise inside reaches deeper than noise alone.
            let mut packet = encode(&parts);
            let at = at.index(packet.len() + 1);
            packet.splice(at..at, bytes);
            if let Ok(out) = stamped(&packet, &Sender { agent, ..ALICE }, true) {
                prop_assert!(out.len() <= 2 * packet.len() + 128);
                let summary = Summary::parse(&out).unwrap();
                prop_assert!(agent || summary.claimed == "alice");
            }
        }
    }
}
