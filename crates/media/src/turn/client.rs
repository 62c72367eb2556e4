//! The other side: a client that has itself relayed, over UDP, TCP or TLS alike.
//!
//! Each peer gets a channel, as one request then both permits the peer and saves 32 bytes a packet. The
//! caller owns the socket: on a stream it cuts what comes by [`Framing`](super::Framing).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

use super::channel;
use super::credentials::integrity_key;
use super::message::{Class, FAMILY_IPV6, Message, Transaction, Writer, attribute, method};

/// First wait for an answer over UDP; doubled each time (RFC 8489 §6.2.1).
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// When a request counts as unanswered: five datagrams were sent by then.
const PATIENCE: Duration = Duration::from_millis(9_500);
/// Answers that only bring a new realm or nonce, to one request.
const MAX_CHALLENGES: u8 = 3;
/// Permissions last 300 s.
const BIND_AGAIN: Duration = Duration::from_secs(240);
/// How long before its end an allocation is refreshed.
const REFRESH_BEFORE: Duration = Duration::from_secs(60);
/// However short an allocation lives, it is refreshed no sooner: servers are to grant ten minutes
/// (RFC 8656 §3.2).
const REFRESH_SOONEST: Duration = Duration::from_secs(10);
const MAX_PEERS: usize = 64;
/// Times that an older allocation in our place is given back.
const MAX_RELEASES: u8 = 2;
/// RFC 8656 §19: what our address and port have allocated is not what the request goes by.
const MISMATCH: u16 = 437;

/// Why a client is not relayed, or not to a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("no answer from the TURN server")]
    NoAnswer,
    #[error("the TURN server answered what is no answer to the question")]
    Malformed,
    /// Error codes are those of RFC 8656 §19.
    #[error("{} ({code} {reason})", explain(*.code))]
    Refused { code: u16, reason: String },
    /// Of a peer; some servers say 401 here, and mean 403.
    #[error("the TURN server does not relay to that address ({code} {reason})")]
    Denied { code: u16, reason: String },
}

fn explain(code: u16) -> &'static str {
    match code {
        401 => "wrong or expired credentials",
        MISMATCH => "an older allocation of the same address and port still lives",
        441 => "an older allocation of somebody else has the same address and port",
        438 => "the TURN server takes none of its own nonces",
        486 => "the participant has as many allocations as it may",
        508 => "the TURN server has as many allocations as it may",
        _ => "refused by the TURN server",
    }
}

/// How a client is set up.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    pub username: String,
    pub password: String,
    /// Over a stream, where nothing is lost and ChannelData is padded.
    pub stream: bool,
    /// Ask for a relayed IPv6 address.
    pub ipv6: bool,
    /// Random: where the numbers of requests begin.
    pub seed: u64,
}

/// A TURN client without sockets: it allocates at once, and keeps what it got until it is dropped.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    realm: String,
    nonce: Vec<u8>,
    key: Option<hmac::Key>,
    allocation: Option<Granted>,
    peers: Vec<Peer>,
    pending: Vec<Pending>,
    /// Older allocations that were given back.
    releases: u8,
    requests: u32,
    outgoing: VecDeque<Vec<u8>>,
    failure: Option<ClientError>,
}

#[derive(Clone, Copy, Debug)]
struct Granted {
    relayed: SocketAddr,
    mapped: SocketAddr,
    refresh_at: Instant,
}

/// The channel of the peer with index `n` is the n-th.
#[derive(Debug)]
struct Peer {
    address: SocketAddr,
    bound: Result<bool, ClientError>,
    bind_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Allocate,
    Refresh,
    /// A refresh that ends the allocation.
    Release,
    /// Of the peer with that index.
    Bind(usize),
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Pending {
    question: Question,
    transaction: Transaction,
    packet: Vec<u8>,
    give_up: Instant,
    again_at: Instant,
    wait: Duration,
    challenges: u8,
}

impl Client {
    #[must_use]
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        let mut client = Self {
            config,
            realm: String::new(),
            nonce: Vec::new(),
            key: None,
            allocation: None,
            peers: Vec::new(),
            pending: Vec::new(),
            releases: 0,
            requests: 0,
            outgoing: VecDeque::new(),
            failure: None,
        };
        client.ask(now, Question::Allocate, 0);
        client
    }

    /// The address that peers see, once it is granted.
    #[must_use]
    pub fn relayed(&self) -> Option<SocketAddr> {
        self.allocation.map(|it| it.relayed)
    }

    /// Our own address as the server sees it.
    #[must_use]
    pub fn mapped(&self) -> Option<SocketAddr> {
        self.allocation.map(|it| it.mapped)
    }

    /// Why there is no allocation, or none any more.
    #[must_use]
    pub fn failure(&self) -> Option<&ClientError> {
        self.failure.as_ref()
    }

    /// Asks for a channel to a peer, and keeps it. Without effect before there is an allocation, and on
    /// more than 64 peers.
    pub fn bind(&mut self, now: Instant, peer: SocketAddr) {
        let known = self.peers.iter().any(|it| it.address == peer);
        if known || self.allocation.is_none() || self.peers.len() >= MAX_PEERS {
            return;
        }
        self.peers.push(Peer {
            address: peer,
            bound: Ok(false),
            bind_at: now + BIND_AGAIN,
        });
        self.ask(now, Question::Bind(self.peers.len() - 1), 0);
    }

    /// Whether data reaches a peer.
    ///
    /// # Errors
    /// Why the server does not let it.
    pub fn is_bound(&self, peer: SocketAddr) -> Result<bool, ClientError> {
        let known = self.peers.iter().find(|it| it.address == peer);
        known.map_or(Ok(false), |it| it.bound.clone())
    }

    /// Wraps a datagram for a peer into `out`. `false` drops it: there is no channel to that peer yet.
    pub fn send(&self, peer: SocketAddr, data: &[u8], out: &mut Vec<u8>) -> bool {
        let known = self
            .peers
            .iter()
            .position(|it| it.address == peer && it.bound == Ok(true));
        let Some(index) = known.filter(|_| data.len() <= usize::from(u16::MAX)) else {
            return false;
        };
        channel::write(out, number(index), data, self.config.stream);
        true
    }

    /// Takes a packet of the server. Returns what it relays, and of which peer.
    pub fn handle<'a>(&mut self, now: Instant, packet: &'a [u8]) -> Option<(SocketAddr, &'a [u8])> {
        if let Some((number, data)) = channel::parse(packet) {
            let index = usize::from(number - channel::NUMBERS.start());
            return Some((self.peers.get(index)?.address, data));
        }
        let message = Message::parse(packet)?;
        match (message.class, message.method) {
            (Class::Indication, method::DATA) => {
                let peer = message.address(attribute::XOR_PEER_ADDRESS)?;
                let data = message.get(attribute::DATA)?;
                self.peers
                    .iter()
                    .any(|it| it.address == peer)
                    .then_some((peer, data))
            }
            (Class::Success | Class::Error, _) => {
                let waits = |it: &Pending| it.transaction == message.transaction;
                let index = self.pending.iter().position(waits)?;
                let signed = self
                    .key
                    .as_ref()
                    .is_some_and(|key| message.is_signed_by(key));
                if signed || message.class == Class::Error && !message.is_signed() {
                    let pending = self.pending.swap_remove(index);
                    self.answered(now, &pending, &message);
                }
                None
            }
            _ => None,
        }
    }

    /// The next packet for the server.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let refresh = self.allocation.iter().map(|it| it.refresh_at);
        let bind = self.bound_peers().map(|(_, it)| it.bind_at);
        let again = self.pending.iter().map(|it| it.again_at.min(it.give_up));
        refresh.chain(bind).chain(again).min()
    }

    /// Asks again what was not answered, and refreshes what would end.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut unanswered = Vec::new();
        self.pending.retain_mut(|pending| {
            if pending.give_up <= now {
                unanswered.push(pending.question);
                return false;
            }
            if pending.again_at <= now {
                pending.wait *= 2;
                pending.again_at = now + pending.wait;
                self.outgoing.push_back(pending.packet.clone());
            }
            true
        });
        for question in unanswered {
            self.fail(question, ClientError::NoAnswer);
        }
        if let Some(granted) = &mut self.allocation
            && granted.refresh_at <= now
        {
            // The answer says when next; if there is none, the allocation is lost.
            granted.refresh_at = now + PATIENCE * 2;
            self.ask(now, Question::Refresh, 0);
        }
        let due = self.bound_peers().filter(|(_, it)| it.bind_at <= now);
        for index in due.map(|(index, _)| index).collect::<Vec<_>>() {
            if let Some(peer) = self.peers.get_mut(index) {
                peer.bind_at = now + BIND_AGAIN;
            }
            self.ask(now, Question::Bind(index), 0);
        }
    }

    /// Gives back the allocation, or the one that is asked for: one packet to send, for which no answer is
    /// awaited.
    #[must_use]
    pub fn close(mut self) -> Option<Vec<u8>> {
        let asked = |it: &Pending| it.question == Question::Allocate;
        let coming = self.key.is_some() && self.pending.iter().any(asked);
        if self.allocation.is_none() && !coming {
            return None;
        }
        let transaction = self.next_transaction();
        Some(self.write(Question::Release, transaction))
    }

    fn bound_peers(&self) -> impl Iterator<Item = (usize, &Peer)> {
        let peers = self.peers.iter().enumerate();
        peers.filter(|(_, it)| self.allocation.is_some() && it.bound == Ok(true))
    }

    fn ask(&mut self, now: Instant, question: Question, challenges: u8) {
        let transaction = self.next_transaction();
        let packet = self.write(question, transaction);
        self.outgoing.push_back(packet.clone());
        let give_up = now + PATIENCE;
        self.pending.push(Pending {
            question,
            transaction,
            packet,
            give_up,
            again_at: if self.config.stream {
                give_up
            } else {
                now + FIRST_WAIT
            },
            wait: FIRST_WAIT,
            challenges,
        });
    }

    fn next_transaction(&mut self) -> Transaction {
        self.requests = self.requests.wrapping_add(1);
        let mut transaction = [0; 12];
        let (seed, number) = transaction.split_at_mut(8);
        seed.copy_from_slice(&self.config.seed.to_be_bytes());
        number.copy_from_slice(&self.requests.to_be_bytes());
        transaction
    }

    fn write(&self, question: Question, transaction: Transaction) -> Vec<u8> {
        let mut packet = Vec::new();
        let method = match question {
            Question::Allocate => method::ALLOCATE,
            Question::Refresh | Question::Release => method::REFRESH,
            Question::Bind(_) => method::CHANNEL_BIND,
        };
        let mut writer = Writer::new(&mut packet, Class::Request, method, transaction);
        match question {
            Question::Allocate => {
                writer.put(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
                if self.config.ipv6 {
                    writer.put(attribute::REQUESTED_ADDRESS_FAMILY, &[FAMILY_IPV6, 0, 0, 0]);
                }
            }
            Question::Refresh => {}
            Question::Release => {
                writer.put(attribute::LIFETIME, &0_u32.to_be_bytes());
            }
            Question::Bind(index) => {
                let [high, low] = number(index).to_be_bytes();
                writer.put(attribute::CHANNEL_NUMBER, &[high, low, 0, 0]);
                if let Some(peer) = self.peers.get(index) {
                    writer.put_address(attribute::XOR_PEER_ADDRESS, peer.address);
                }
            }
        }
        if let Some(key) = &self.key {
            writer
                .put(attribute::USERNAME, self.config.username.as_bytes())
                .put(attribute::REALM, self.realm.as_bytes())
                .put(attribute::NONCE, &self.nonce)
                .sign(key);
        }
        packet
    }

    fn answered(&mut self, now: Instant, pending: &Pending, message: &Message<'_>) {
        let question = pending.question;
        if message.class == Class::Success {
            let taken = match question {
                Question::Allocate | Question::Refresh => self.granted(now, question, message),
                Question::Release => {
                    self.ask(now, Question::Allocate, 0);
                    Some(())
                }
                Question::Bind(index) => {
                    if let Some(peer) = self.peers.get_mut(index) {
                        peer.bound = Ok(true);
                    }
                    Some(())
                }
            };
            if taken.is_none() {
                self.fail(question, ClientError::Malformed);
            }
            return;
        }
        let Some((code, reason)) = message.error() else {
            return self.fail(question, ClientError::Malformed);
        };
        let challenged = code == 438 || code == 401 && self.key.is_none();
        if challenged && pending.challenges < MAX_CHALLENGES && self.take_challenge(message) {
            return self.ask(now, question, pending.challenges + 1);
        }
        // One of ours whose goodbye was lost, as far as we may end it; or it is gone by now.
        if code == MISMATCH && question == Question::Allocate && self.releases < MAX_RELEASES {
            self.releases += 1;
            return self.ask(now, Question::Release, 0);
        }
        if code == MISMATCH && question == Question::Release {
            return self.ask(now, Question::Allocate, 0);
        }
        let reason = reason
            .chars()
            .filter(|it| !it.is_control())
            .take(100)
            .collect();
        let error = match question {
            Question::Bind(_) => ClientError::Denied { code, reason },
            _ => ClientError::Refused { code, reason },
        };
        self.fail(question, error);
    }

    /// Takes realm and nonce; `false` if there are none.
    fn take_challenge(&mut self, message: &Message<'_>) -> bool {
        let (Some(realm), Some(nonce)) = (
            message.text(attribute::REALM),
            message.get(attribute::NONCE),
        ) else {
            return false;
        };
        self.realm = realm.into();
        self.nonce = nonce.into();
        let ClientConfig {
            username, password, ..
        } = &self.config;
        self.key = Some(integrity_key(username, realm, password));
        true
    }

    fn granted(&mut self, now: Instant, question: Question, message: &Message<'_>) -> Option<()> {
        let lifetime = Duration::from_secs(message.u32(attribute::LIFETIME)?.into());
        let refresh_at = now + refresh_after(lifetime);
        if question == Question::Refresh {
            self.allocation.as_mut()?.refresh_at = refresh_at;
        } else {
            self.allocation = Some(Granted {
                relayed: message.address(attribute::XOR_RELAYED_ADDRESS)?,
                mapped: message.address(attribute::XOR_MAPPED_ADDRESS)?,
                refresh_at,
            });
        }
        Some(())
    }

    fn fail(&mut self, question: Question, error: ClientError) {
        match question {
            Question::Allocate | Question::Refresh | Question::Release => {
                self.allocation = None;
                self.failure.get_or_insert(error);
            }
            Question::Bind(index) => {
                if let Some(peer) = self.peers.get_mut(index) {
                    peer.bound = Err(error);
                }
            }
        }
    }
}

fn refresh_after(lifetime: Duration) -> Duration {
    let early = lifetime.saturating_sub(REFRESH_BEFORE).max(lifetime / 2);
    early.max(REFRESH_SOONEST)
}

fn number(index: usize) -> u16 {
    channel::NUMBERS.start() + index as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_is_refreshed_in_time_but_never_all_the_time() {
        for (lifetime, after) in [(600, 540), (100, 50), (30, 15), (1, 10), (0, 10)] {
            let after = Duration::from_secs(after);
            assert_eq!(refresh_after(Duration::from_secs(lifetime)), after);
        }
    }
}
