//! Candidate lines as peers send them (RFC 8839 §5.1), and what we take of them.

use std::net::{IpAddr, SocketAddr};

use is::Candidate;

use super::{LocalCandidate, OutgoingCandidate, Protocol, TransportError};

/// Longer lines are refused unread; real ones stay below 200 bytes.
const MAX_LINE: usize = 1_024;

/// Reads a peer's `candidate:…` line. `Ok(None)` is a candidate that is valid or at least customary, but of
/// no use to us: empty (end of candidates), mDNS and other names (nothing is resolved), TCP (a server never
/// connects out), another component than RTP, an address that no packet can go to.
pub fn parse_remote(line: &str) -> Result<Option<Candidate>, TransportError> {
    parse(line, false)
}

/// The address of a passive TCP candidate (RFC 6544), which somebody may connect to; `None` for any other line.
pub fn parse_passive(line: &str) -> Option<SocketAddr> {
    let candidate = parse(line, true).ok()??;
    (candidate.proto() == is::Protocol::Tcp).then(|| candidate.addr())
}

/// [`parse_remote`] for who may also connect to passive TCP candidates.
pub(super) fn parse(line: &str, connects: bool) -> Result<Option<Candidate>, TransportError> {
    let line = line.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    if line.is_empty() || line == "candidate:" {
        return Ok(None);
    }
    if line.len() > MAX_LINE {
        return Err(TransportError::Candidate("too long".into()));
    }
    let fields = line.strip_prefix("candidate:").unwrap_or(line);
    let mut words = fields.split_ascii_whitespace();
    let (
        Some(_foundation),
        Some(component),
        Some(protocol),
        Some(_priority),
        Some(address),
        Some(port),
    ) = (
        words.next(),
        words.next(),
        words.next(),
        words.next(),
        words.next(),
        words.next(),
    )
    else {
        return Err(TransportError::Candidate("too few fields".into()));
    };
    let passive = || fields.ends_with("tcptype passive") || fields.contains("tcptype passive ");
    let usable = protocol.eq_ignore_ascii_case("udp")
        || connects && protocol.eq_ignore_ascii_case("tcp") && passive();
    if component != "1" || !usable {
        return Ok(None);
    }
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Ok(None);
    };
    if !reachable(ip) || port == "0" {
        return Ok(None);
    }
    let candidate = Candidate::from_sdp_string(&format!("candidate:{fields}"))
        .map_err(|error| TransportError::Candidate(error.to_string()))?;
    Ok(Some(candidate))
}

/// Whether a unicast packet can be sent there at all. IPv4 in IPv6 clothes is refused: checks against
/// address rules must not be fooled by it.
fn reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => {
            !v6.is_unspecified() && !v6.is_multicast() && v6.to_ipv4_mapped().is_none()
        }
    }
}

/// Our own candidate for the agent. TCP candidates are passive: the peer connects.
pub(super) fn local(candidate: &LocalCandidate, index: usize) -> Option<Candidate> {
    match candidate.protocol {
        Protocol::Udp => Candidate::host(candidate.address, "udp").ok(),
        Protocol::Tcp => tcp(candidate.address, index, "passive", 4),
        Protocol::Memory => None,
    }
}

/// A candidate that a client opened.
pub(super) fn outgoing(candidate: OutgoingCandidate, index: usize) -> Option<Candidate> {
    match candidate {
        OutgoingCandidate::Relayed(address) => Candidate::relayed(address, address, "udp").ok(),
        OutgoingCandidate::ActiveTcp(address) => tcp(address, index, "active", 6),
    }
}

/// RFC 6544 §4.2: below UDP's type preference, and by direction.
fn tcp(address: SocketAddr, index: usize, kind: &str, direction: u32) -> Option<Candidate> {
    let preference = u32::try_from(8_191_usize.saturating_sub(index)).unwrap_or(0);
    let priority = (90 << 24) | (((direction << 13) | preference) << 8) | 255;
    let (ip, port) = (address.ip(), address.port());
    let line = format!("candidate:tcp{index} 1 tcp {priority} {ip} {port} typ host tcptype {kind}");
    Candidate::from_sdp_string(&line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_browser_lines_with_and_without_prefix() {
        for line in [
            "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.0.1 rport 46154 generation 0 ufrag EsAw network-cost 999",
            "a=candidate:1 1 UDP 2130706431 192.0.2.1 5000 typ host",
            "1 1 udp 2130706431 2001:db8::1 5000 typ host",
        ] {
            assert!(parse_remote(line).unwrap().is_some(), "{line}");
        }
    }

    #[test]
    fn ignores_what_is_of_no_use() {
        for line in [
            "",
            "candidate:",
            "candidate:1 1 udp 2113937151 0b9c1f2e-8a.local 51234 typ host",
            "candidate:1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
            "candidate:1 1 tcp 1518280447 192.0.2.1 443 typ host tcptype passive",
            "candidate:1 2 udp 2113937151 192.0.2.1 5000 typ host",
            "candidate:1 1 udp 2113937151 0.0.0.0 5000 typ host",
            "candidate:1 1 udp 2113937151 255.255.255.255 5000 typ host",
            "candidate:1 1 udp 2113937151 224.0.0.1 5000 typ host",
            "candidate:1 1 udp 2113937151 ::ffff:127.0.0.1 5000 typ host",
            "candidate:1 1 udp 2113937151 192.0.2.1 0 typ host",
        ] {
            assert!(parse_remote(line).unwrap().is_none(), "{line}");
        }
    }

    #[test]
    fn takes_passive_tcp_where_it_may_connect() {
        let tcp = "candidate:1 1 tcp 1518280447 203.0.113.7 7881 typ host tcptype";
        for (kind, expected) in [
            ("passive", true),
            ("passive generation 0", true),
            ("active", false),
            ("so", false),
        ] {
            let candidate = parse(&format!("{tcp} {kind}"), true).unwrap();
            assert_eq!(candidate.is_some(), expected, "{kind}");
        }
    }

    #[test]
    fn refuses_malformed_lines() {
        let long = format!(
            "candidate:1 1 udp 1 192.0.2.1 5000 typ host x {}",
            "y".repeat(2_000)
        );
        for line in [
            "candidate:1 1 udp",
            "hello",
            "candidate:1 1 udp 1 192.0.2.1 70000 typ host",
            "candidate:1 1 udp 99999999999 192.0.2.1 5000 typ host",
            "candidate:1 1 udp 1 192.0.2.1 5000 typ nonsense",
            "candidate:1 1 udp 1 192.0.2.1 5000 host",
            &long,
        ] {
            assert!(parse_remote(line).is_err(), "{line}");
        }
    }
}
