//! The syntax of STUN messages (RFC 8489 §5, §14) and of TURN's attributes (RFC 8656 §18).
//!
//! `is` parses only what ICE needs, and the STUN crates there are bring hashes and traits that a relay has no
//! use for: a message here is a checked view of the bytes that came.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

pub(crate) const HEADER: usize = 20;
const COOKIE: u32 = 0x2112_a442;
const INTEGRITY: usize = 20;

/// Methods (RFC 8489 §18.2, RFC 8656 §17).
pub(crate) mod method {
    pub(crate) const BINDING: u16 = 0x001;
    pub(crate) const ALLOCATE: u16 = 0x003;
    pub(crate) const REFRESH: u16 = 0x004;
    pub(crate) const SEND: u16 = 0x006;
    pub(crate) const DATA: u16 = 0x007;
    pub(crate) const CREATE_PERMISSION: u16 = 0x008;
    pub(crate) const CHANNEL_BIND: u16 = 0x009;
}

/// Attribute types (RFC 8489 §18.3, RFC 8656 §18).
pub(crate) mod attribute {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(crate) const CHANNEL_NUMBER: u16 = 0x000c;
    pub(crate) const LIFETIME: u16 = 0x000d;
    pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(crate) const DATA: u16 = 0x0013;
    pub(crate) const REALM: u16 = 0x0014;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(crate) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub(crate) const EVEN_PORT: u16 = 0x0018;
    pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(crate) const DONT_FRAGMENT: u16 = 0x001a;
    pub(crate) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(crate) const RESERVATION_TOKEN: u16 = 0x0022;
    /// What a server here understands, or may pass over: DONT-FRAGMENT, as no relayed datagram is on a network.
    pub(crate) const KNOWN: [u16; 14] = [
        USERNAME,
        MESSAGE_INTEGRITY,
        CHANNEL_NUMBER,
        LIFETIME,
        XOR_PEER_ADDRESS,
        DATA,
        REALM,
        NONCE,
        REQUESTED_ADDRESS_FAMILY,
        EVEN_PORT,
        REQUESTED_TRANSPORT,
        DONT_FRAGMENT,
        MESSAGE_INTEGRITY_SHA256,
        RESERVATION_TOKEN,
    ];
    /// Types from here on may be ignored by who does not know them.
    pub(crate) const COMPREHENSION_OPTIONAL: u16 = 0x8000;
}

pub(crate) const FAMILY_IPV4: u8 = 1;
pub(crate) const FAMILY_IPV6: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// Ties a response to its request.
pub(crate) type Transaction = [u8; 12];

/// A message whose attributes are all whole. Those behind MESSAGE-INTEGRITY are not seen, as nobody vouches
/// for them (RFC 8489 §14.5).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) class: Class,
    pub(crate) method: u16,
    pub(crate) transaction: Transaction,
    /// The whole message.
    bytes: &'a [u8],
    /// Attributes before MESSAGE-INTEGRITY, or all.
    attributes: &'a [u8],
    integrity: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// `None` for what is no STUN message from its first byte to its last.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, attributes) = bytes.split_first_chunk::<HEADER>()?;
        let [kind_high, kind_low, length_high, length_low, cookie @ ..] = *header;
        let kind = u16::from_be_bytes([kind_high, kind_low]);
        let length = u16::from_be_bytes([length_high, length_low]);
        if kind >= 0x4000
            || usize::from(length) != attributes.len()
            || length % 4 != 0
            || cookie.first_chunk() != Some(&COOKIE.to_be_bytes())
        {
            return None;
        }
        let mut message = Self {
            class: match kind & 0x0110 {
                0x0000 => Class::Request,
                0x0010 => Class::Indication,
                0x0100 => Class::Success,
                _ => Class::Error,
            },
            method: (kind & 0x000f) | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2,
            transaction: *cookie.last_chunk()?,
            bytes,
            attributes,
            integrity: None,
        };
        let mut rest = attributes;
        while !rest.is_empty() {
            let (kind, value, behind) = split(rest)?;
            if kind == attribute::MESSAGE_INTEGRITY && message.integrity.is_none() {
                message.attributes = attributes.get(..attributes.len() - rest.len())?;
                message.integrity = Some(value);
            }
            rest = behind;
        }
        Some(message)
    }

    /// Bytes of the whole message.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The attributes in their order.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = self.attributes;
        std::iter::from_fn(move || {
            let (kind, value, behind) = split(rest)?;
            rest = behind;
            Some((kind, value))
        })
    }

    /// The first attribute of a type: the one that counts (RFC 8489 §14).
    pub(crate) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes()
            .find_map(|(it, value)| (it == kind).then_some(value))
    }

    pub(crate) fn text(&self, kind: u16) -> Option<&'a str> {
        std::str::from_utf8(self.get(kind)?).ok()
    }

    /// An attribute of four bytes that begins with a number of `N` bytes.
    fn four<const N: usize>(&self, kind: u16) -> Option<[u8; N]> {
        let value: &[u8; 4] = self.get(kind)?.try_into().ok()?;
        value.first_chunk().copied()
    }

    /// REQUESTED-TRANSPORT or REQUESTED-ADDRESS-FAMILY.
    pub(crate) fn u8(&self, kind: u16) -> Option<u8> {
        self.four(kind).map(u8::from_be_bytes)
    }

    /// CHANNEL-NUMBER.
    pub(crate) fn u16(&self, kind: u16) -> Option<u16> {
        self.four(kind).map(u16::from_be_bytes)
    }

    /// LIFETIME.
    pub(crate) fn u32(&self, kind: u16) -> Option<u32> {
        self.four(kind).map(u32::from_be_bytes)
    }

    /// The first XOR-…-ADDRESS of a type.
    pub(crate) fn address(&self, kind: u16) -> Option<SocketAddr> {
        unmask(self.get(kind)?, &self.transaction)
    }

    /// All addresses of a type; `None` in place of one that is malformed.
    pub(crate) fn addresses(
        &self,
        kind: u16,
    ) -> impl Iterator<Item = Option<SocketAddr>> + use<'a> {
        let transaction = self.transaction;
        self.attributes()
            .filter(move |(it, _)| *it == kind)
            .map(move |(_, value)| unmask(value, &transaction))
    }

    /// Code and reason of an error response.
    pub(crate) fn error(&self) -> Option<(u16, &'a str)> {
        let ([_, _, class, number], reason) =
            self.get(attribute::ERROR_CODE)?.split_first_chunk()?;
        let code = u16::from(class & 0x07) * 100 + u16::from(*number);
        Some((code, std::str::from_utf8(reason).unwrap_or_default()))
    }

    /// Whether there is a MESSAGE-INTEGRITY to check.
    pub(crate) fn is_signed(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether MESSAGE-INTEGRITY was made with this key, in constant time.
    pub(crate) fn is_signed_by(&self, key: &hmac::Key) -> bool {
        let covered = self.bytes.get(..HEADER + self.attributes.len());
        match (self.integrity, covered) {
            (Some(integrity), Some(covered)) => sign(key, covered)
                .is_some_and(|tag| verify_slices_are_equal(tag.as_ref(), integrity).is_ok()),
            _ => false,
        }
    }
}

/// The first attribute and what is behind its padding.
fn split(attributes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let ([a, b, c, d], rest) = attributes.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([*c, *d]));
    let value = rest.get(..length)?;
    let behind = rest.get(length.next_multiple_of(4)..)?;
    Some((u16::from_be_bytes([*a, *b]), value, behind))
}

/// HMAC-SHA1 over a message that ends where its MESSAGE-INTEGRITY begins, with the length as if it ended
/// behind it.
fn sign(key: &hmac::Key, covered: &[u8]) -> Option<hmac::Tag> {
    let length = u16::try_from(covered.len() - HEADER + 4 + INTEGRITY).ok()?;
    let mut context = hmac::Context::with_key(key);
    context.update(covered.get(..2)?);
    context.update(&length.to_be_bytes());
    context.update(covered.get(4..)?);
    Some(context.sign())
}

/// Cookie and transaction: what addresses are masked with.
fn mask(transaction: &Transaction) -> [u8; 16] {
    let mut mask = [0; 16];
    let (cookie, rest) = mask.split_at_mut(4);
    cookie.copy_from_slice(&COOKIE.to_be_bytes());
    rest.copy_from_slice(transaction);
    mask
}

fn xor<const N: usize>(mut bytes: [u8; N], transaction: &Transaction) -> [u8; N] {
    bytes
        .iter_mut()
        .zip(mask(transaction))
        .for_each(|(byte, mask)| *byte ^= mask);
    bytes
}

fn unmask(value: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let ([_, family, port @ ..], ip) = value.split_first_chunk::<4>()?;
    let ip = match *family {
        FAMILY_IPV4 => IpAddr::V4(Ipv4Addr::from(xor::<4>(ip.try_into().ok()?, transaction))),
        FAMILY_IPV6 => IpAddr::V6(Ipv6Addr::from(xor::<16>(ip.try_into().ok()?, transaction))),
        _ => return None,
    };
    Some(SocketAddr::new(
        ip,
        u16::from_be_bytes(xor(*port, transaction)),
    ))
}

/// Writes one message.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
    transaction: Transaction,
}

impl<'a> Writer<'a> {
    /// Begins a message in an emptied buffer.
    pub(crate) fn new(
        bytes: &'a mut Vec<u8>,
        class: Class,
        method: u16,
        transaction: Transaction,
    ) -> Self {
        let class = match class {
            Class::Request => 0x0000,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        let kind = class | method & 0x000f | (method & 0x0070) << 1 | (method & 0x0f80) << 2;
        bytes.clear();
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&COOKIE.to_be_bytes());
        bytes.extend_from_slice(&transaction);
        Self { bytes, transaction }
    }

    /// Adds an attribute. `value` is shorter than 64 KiB: all here are ours or of a datagram.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes
            .extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = (self.bytes.len() - HEADER) as u16;
        if let Some(field) = self.bytes.get_mut(2..4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        self
    }

    pub(crate) fn put_address(&mut self, kind: u16, address: SocketAddr) -> &mut Self {
        let [high, low] = xor(address.port().to_be_bytes(), &self.transaction);
        let mut value = [0, FAMILY_IPV4, high, low].to_vec();
        match address.ip() {
            IpAddr::V4(ip) => value.extend(xor(ip.octets(), &self.transaction)),
            IpAddr::V6(ip) => {
                value[1] = FAMILY_IPV6;
                value.extend(xor(ip.octets(), &self.transaction));
            }
        }
        self.put(kind, &value)
    }

    pub(crate) fn put_error(&mut self, code: u16, reason: &str) -> &mut Self {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.put(attribute::ERROR_CODE, &value)
    }

    /// Adds MESSAGE-INTEGRITY; nothing may follow.
    pub(crate) fn sign(&mut self, key: &hmac::Key) {
        if let Some(tag) = sign(key, self.bytes) {
            self.put(attribute::MESSAGE_INTEGRITY, tag.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::credentials::integrity_key;
    use super::*;

    /// The request of RFC 5769 §2.4: long-term credentials, SASLprep left out of it.
    const SAMPLE: &[u8] = &[
        0x00, 0x01, 0x00, 0x60, 0x21, 0x12, 0xa4, 0x42, 0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72,
        0xc0, 0x29, 0xda, 0x41, 0x2e, 0x00, 0x06, 0x00, 0x12, 0xe3, 0x83, 0x9e, 0xe3, 0x83, 0x88,
        0xe3, 0x83, 0xaa, 0xe3, 0x83, 0x83, 0xe3, 0x82, 0xaf, 0xe3, 0x82, 0xb9, 0x00, 0x00, 0x00,
        0x15, 0x00, 0x1c, 0x66, 0x2f, 0x2f, 0x34, 0x39, 0x39, 0x6b, 0x39, 0x35, 0x34, 0x64, 0x36,
        0x4f, 0x4c, 0x33, 0x34, 0x6f, 0x4c, 0x39, 0x46, 0x53, 0x54, 0x76, 0x79, 0x36, 0x34, 0x73,
        0x41, 0x00, 0x14, 0x00, 0x0b, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x2e, 0x6f, 0x72,
        0x67, 0x00, 0x00, 0x08, 0x00, 0x14, 0xf6, 0x70, 0x24, 0x65, 0x6d, 0xd6, 0x4a, 0x3e, 0x02,
        0xb8, 0xe0, 0x71, 0x2e, 0x85, 0xc9, 0xa2, 0x8c, 0xa8, 0x96, 0x66,
    ];

    #[test]
    fn the_rfcs_request_with_long_term_credentials_is_verified() {
        let message = Message::parse(SAMPLE).unwrap();
        assert_eq!(
            (message.class, message.method),
            (Class::Request, method::BINDING)
        );
        let username = message.text(attribute::USERNAME).unwrap();
        assert_eq!(username, "マトリックス");
        assert_eq!(message.text(attribute::REALM), Some("example.org"));
        assert!(message.is_signed_by(&integrity_key(username, "example.org", "TheMatrIX")));
        assert!(!message.is_signed_by(&integrity_key(username, "example.org", "thematrix")));
    }

    #[test]
    fn classes_methods_and_addresses_are_read_as_they_were_written() {
        for class in [
            Class::Request,
            Class::Indication,
            Class::Success,
            Class::Error,
        ] {
            for method in (0..12).map(|bit| 1 << bit) {
                for address in ["203.0.113.7:7882", "[2001:db8::7]:1"] {
                    let address = address.parse().unwrap();
                    let mut bytes = Vec::new();
                    Writer::new(&mut bytes, class, method, [9; 12])
                        .put(0x8022, b"odd")
                        .put_address(attribute::XOR_PEER_ADDRESS, address);
                    let message = Message::parse(&bytes).unwrap();
                    assert_eq!((message.class, message.method), (class, method));
                    assert_eq!(message.address(attribute::XOR_PEER_ADDRESS), Some(address));
                }
            }
        }
    }
}
