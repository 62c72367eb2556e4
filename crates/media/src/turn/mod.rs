//! TURN (RFC 8656) without sockets: a relay to our own media and to nothing else.
//!
//! A client reaches the relay over UDP, TCP or TLS by a [`Leg`]. What it sends to one of our media's addresses
//! is unwrapped and handed to the worker that owns the address; what a worker sends to a relayed
//! address is wrapped and goes to the client. So a relayed address is only a name, in networks
//! where no host can be ([`is_relayed`]), and no datagram ever leaves for anybody else: what relays are
//! abused for does not exist here, whatever form an address is written in ([`MediaAddresses`]).
//!
//! Nothing is stored for somebody who has not signed with [`credentials`]: these and nonces are derived
//! from the process's secret, and answers to strangers are short and counted by network. Credentials count
//! as long as the participant is there ([`Server::admit`]), and nothing that it allocated outlives it.
//!
//! [`Client`] is the other side, for programs of ours that are behind a network of their own.

mod addresses;
mod allocation;
pub(crate) mod binding;
pub(crate) mod bucket;
mod channel;
mod client;
mod credentials;
mod framing;
pub(crate) mod message;
pub(crate) mod relay;
mod server;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use aws_lc_rs::hmac;

pub use addresses::{MediaAddresses, Route, is_relayed};
pub use client::{Client, ClientConfig, ClientError};
pub use credentials::credentials;
pub use framing::{Framing, FramingError};
pub use server::{Server, ServerConfig};

/// How a client reaches the relay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Leg {
    pub transport: LegTransport,
    /// Our address on it.
    pub local: SocketAddr,
    /// The client's, perhaps after a NAT.
    pub remote: SocketAddr,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LegTransport {
    Udp,
    /// TCP or TLS; the number is unique to the connection as long as the server runs.
    Stream(u64),
    /// A stream by way of whoever ends TLS in front of us; the remote address is theirs, and tells nothing of
    /// the client.
    Proxied(u64),
}

/// A datagram of a client for the media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToMedia<'a> {
    /// Index of the worker that owns `local`.
    pub worker: usize,
    /// The worker's socket: what the datagram is addressed to.
    pub local: SocketAddr,
    /// Whom the datagram comes from, as the media is to see it.
    pub relayed: SocketAddr,
    pub data: &'a [u8],
}

/// A key for one purpose. Purposes have no colon, so none is a username of [`credentials`].
fn derive(secret: &[u8; 32], purpose: &str) -> [u8; 32] {
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        purpose.as_bytes(),
    );
    let mut key = [0; 32];
    key.iter_mut()
        .zip(tag.as_ref())
        .for_each(|(into, from)| *into = *from);
    key
}
