//! Which protocol a datagram speaks (RFC 7983), and whom an unknown sender's STUN names.

/// Protocols that share a transport's 5-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
}

/// Tells the protocol by the first byte, RTP from RTCP by the second (RFC 5761 §4).
#[inline]
pub fn classify(datagram: &[u8]) -> Option<Kind> {
    match *datagram.first()? {
        0..=3 => Some(Kind::Stun),
        20..=63 => Some(Kind::Dtls),
        128..=191 => match datagram.get(1)? & 0x7f {
            64..=95 => Some(Kind::Rtcp),
            _ => Some(Kind::Rtp),
        },
        _ => None,
    }
}

/// Whether that is RTP or RTCP, which may be lost.
#[inline]
pub fn is_media(datagram: &[u8]) -> bool {
    matches!(classify(datagram), Some(Kind::Rtp | Kind::Rtcp))
}

const HEADER: usize = 20;
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0, 1];
const USERNAME: u16 = 0x0006;
/// RFC 8445 §5.3 allows 256 characters a fragment; RFC 8489 509 bytes a username.
const MAX_USERNAME: usize = 513;

/// The local half of a binding request's USERNAME (`local:remote`): the key to find a new 5-tuple's transport
/// by. Nothing is verified here; the transport checks message integrity.
pub fn stun_local_ufrag(datagram: &[u8]) -> Option<&str> {
    if datagram.get(..2)? != BINDING_REQUEST || datagram.get(4..8)? != MAGIC {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([*datagram.get(2)?, *datagram.get(3)?]));
    let mut attributes = datagram.get(HEADER..HEADER.checked_add(length)?)?;
    loop {
        let (header, rest) = attributes.split_at_checked(4)?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let value = rest.get(..length)?;
        if kind == USERNAME {
            if length > MAX_USERNAME {
                return None;
            }
            let (local, _remote) = std::str::from_utf8(value).ok()?.split_once(':')?;
            return (!local.is_empty()).then_some(local);
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(username: &[u8]) -> Vec<u8> {
        let mut attributes = vec![0x00, 0x24, 0, 4, 1, 2, 3, 4, 0, 6];
        attributes.extend_from_slice(&u16::try_from(username.len()).unwrap().to_be_bytes());
        attributes.extend_from_slice(username);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        let mut datagram = vec![0, 1];
        datagram.extend_from_slice(&u16::try_from(attributes.len()).unwrap().to_be_bytes());
        datagram.extend_from_slice(&MAGIC);
        datagram.extend_from_slice(&[7; 12]);
        datagram.extend_from_slice(&attributes);
        datagram
    }

    #[test]
    fn finds_the_local_fragment() {
        assert_eq!(stun_local_ufrag(&request(b"local1:remote")), Some("local1"));
        assert_eq!(stun_local_ufrag(&request(b"abc:d")), Some("abc"));
    }

    #[test]
    fn finds_nothing_in_what_is_no_request() {
        assert_eq!(stun_local_ufrag(&request(b"nocolon")), None);
        assert_eq!(stun_local_ufrag(&request(b":remote")), None);
        assert_eq!(stun_local_ufrag(&request(b"\xff\xfe:x")), None);
        assert_eq!(stun_local_ufrag(&request(&[b'a'; 600])), None);
        let mut response = request(b"local:remote");
        response[0] = 1;
        assert_eq!(stun_local_ufrag(&response), None);
        let whole = request(b"local:remote");
        for end in 0..whole.len() {
            assert_eq!(stun_local_ufrag(&whole[..end]), None, "{end}");
        }
    }

    #[test]
    fn tells_protocols_apart() {
        assert_eq!(classify(&[0, 1]), Some(Kind::Stun));
        assert_eq!(classify(&[22, 254]), Some(Kind::Dtls));
        assert_eq!(classify(&[0x80, 111]), Some(Kind::Rtp));
        assert_eq!(classify(&[0x80, 0x80 | 96]), Some(Kind::Rtp));
        assert_eq!(classify(&[0x80, 200]), Some(Kind::Rtcp));
        assert_eq!(classify(&[0x81, 206]), Some(Kind::Rtcp));
        assert_eq!(classify(&[0x80]), None);
        assert_eq!(classify(&[]), None);
        assert_eq!(classify(&[64, 0]), None);
        assert_eq!(classify(&[255, 0]), None);
    }
}
