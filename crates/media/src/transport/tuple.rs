//! Addresses of a path and datagrams to be sent on it.

use std::net::SocketAddr;

/// How a datagram travels. TCP means RFC 4571 frames, which whoever has the stream makes and cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Udp,
    Tcp,
    /// Within this process. Nothing from a network has it.
    Memory,
}

/// A path: protocol, our address (of the socket, as the datagram came in) and the peer's.
///
/// IPv4 addresses mapped into IPv6 are canonicalised by the socket layer before they get here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FiveTuple {
    pub protocol: Protocol,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// A datagram to send as it is: STUN or DTLS. Media is sealed by the caller and goes to
/// [`super::Transport::destination`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    pub tuple: FiveTuple,
    pub contents: Vec<u8>,
}
