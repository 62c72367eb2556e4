//! A way through a TURN server for one transport: the allocation, and channels to those candidates of the
//! peer that it can reach.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Client, ClientConfig, ClientError, Framing, FramingError};
use crate::transport::parse_candidate;

/// Candidates of the peer that are looked at.
const MAX_WAITING: usize = 16;

/// See the module. It is driven as the [`Client`] that it holds.
#[derive(Debug)]
pub(crate) struct Relay {
    client: Client,
    stream: bool,
    frames: Framing,
    /// The peer's candidates that wait for a channel.
    waiting: Vec<(SocketAddr, String)>,
    /// Some candidate is reached.
    reachable: bool,
    /// Why one is not.
    refused: Option<String>,
}

impl Relay {
    pub(crate) fn new(config: ClientConfig, now: Instant) -> Self {
        Self {
            stream: config.stream,
            client: Client::new(config, now),
            frames: Framing::default(),
            waiting: Vec::new(),
            reachable: false,
            refused: None,
        }
    }

    /// The address that the server named, once it has.
    pub(crate) fn relayed(&self) -> Option<SocketAddr> {
        self.client.relayed()
    }

    pub(crate) fn failure(&self) -> Option<&ClientError> {
        self.client.failure()
    }

    /// Why the server relays to none of the peer's candidates, once that is sure.
    pub(crate) fn refused(&self) -> Option<&str> {
        let none = self.waiting.is_empty() && !self.reachable;
        self.refused.as_deref().filter(|_| none)
    }

    /// Keeps a candidate until there is a channel to it; [`Self::advance`] then gives it back.
    pub(crate) fn add_candidate(&mut self, line: &str) {
        if let Ok(Some(candidate)) = parse_candidate(line)
            && self.waiting.len() < MAX_WAITING
        {
            self.waiting.push((candidate.addr(), line.into()));
        }
    }

    /// Takes a packet of the server, or what was read of its stream, and gives the datagrams of peers.
    ///
    /// # Errors
    /// When the stream is not TURN: it is to be closed.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        bytes: &[u8],
        mut take: impl FnMut(SocketAddr, &mut [u8]),
    ) -> Result<(), FramingError> {
        if !self.stream {
            if let Some((peer, data)) = self.client.handle(now, bytes) {
                take(peer, &mut data.to_vec());
            }
            return Ok(());
        }
        self.frames.push(bytes);
        while let Some(packet) = self.frames.next_packet()? {
            if let Some((peer, data)) = self.client.handle(now, packet) {
                take(peer, &mut data.to_vec());
            }
        }
        Ok(())
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.client.poll_timeout()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.client.handle_timeout(now);
    }

    /// Asks for channels; the lines of candidates that are reached now, each once.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<String> {
        let mut bound = Vec::new();
        let Some(relayed) = self.client.relayed() else {
            return bound;
        };
        let (client, refused) = (&mut self.client, &mut self.refused);
        self.waiting.retain(|(peer, line)| {
            if peer.is_ipv4() != relayed.is_ipv4() {
                return false;
            }
            client.bind(now, *peer);
            match client.is_bound(*peer) {
                Ok(true) => bound.push(line.clone()),
                Ok(false) => return true,
                Err(error) => *refused = Some(format!("{peer}: {error}")),
            }
            false
        });
        self.reachable |= !bound.is_empty();
        bound
    }

    /// The next packet for the server.
    pub(crate) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.client.poll_transmit()
    }

    /// Wraps a datagram for a peer into `out`. `false` drops it: there is no channel to that peer.
    pub(crate) fn wrap(&self, peer: SocketAddr, data: &[u8], out: &mut Vec<u8>) -> bool {
        self.client.send(peer, data, out)
    }

    /// Gives the allocation back: a packet to send.
    pub(crate) fn close(self) -> Option<Vec<u8>> {
        self.client.close()
    }
}
