//! What a transport is told, and what it tells.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::rand;
use bytes::Bytes;

use super::{Fingerprint, FiveTuple, Identity, Protocol};

/// ICE username fragment and password (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IceCredentials {
    pub ufrag: String,
    pub password: String,
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

impl IceCredentials {
    /// Fresh credentials from random bytes: a ufrag of 48 bits and a password of 144.
    pub fn from_random(random: [u8; 32]) -> Self {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut letters = random.iter().map(|byte| {
            char::from(
                ALPHABET
                    .get(usize::from(byte % 64))
                    .copied()
                    .unwrap_or(b'A'),
            )
        });
        let ufrag = letters.by_ref().take(8).collect();
        Self {
            ufrag,
            password: letters.collect(),
        }
    }

    /// Fresh credentials from the system's generator.
    pub fn generate() -> Self {
        let mut random = [0; 32];
        // The generator aborts the process rather than fail once it is seeded.
        if rand::fill(&mut random).is_err() {
            log::error!("no randomness for ICE credentials");
        }
        Self::from_random(random)
    }
}

/// Who nominates (RFC 8445 §6.1.1): the offerer of a full/full pair; a full agent against a lite one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceRole {
    Controlling,
    Controlled,
}

/// Our side of the DTLS handshake: `Client` is SDP's `active`, `Server` is `passive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    Client,
    Server,
}

/// An address that the peer can reach us by; always offered as a host candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalCandidate {
    pub protocol: Protocol,
    /// What the peer is told.
    pub address: SocketAddr,
    /// What the socket calls itself, when another (mapped ports, 1:1 NAT).
    pub base: Option<SocketAddr>,
}

/// A way out that a client opened, beside its host candidates. Not for servers: these offer addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutgoingCandidate {
    /// The address that a TURN server relays for us.
    Relayed(SocketAddr),
    /// Our end of a TCP connection to the peer's passive candidate (RFC 6544).
    ActiveTcp(SocketAddr),
}

/// How a path goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Udp,
    /// ICE over TCP (RFC 6544).
    Tcp,
    /// Through a TURN server, however the peer reaches that.
    Relay,
}

#[derive(Clone)]
pub struct TransportConfig {
    pub identity: Arc<Identity>,
    pub role: IceRole,
    /// Answers checks only; for hosts with an address that everybody can reach. Implies `Controlled`.
    pub lite: bool,
    pub credentials: IceCredentials,
    /// Random; decides role conflicts.
    pub tie_breaker: u64,
    pub candidates: Vec<LocalCandidate>,
    pub limits: Limits,
}

/// What one transport may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes queued on a reliable channel before [`SendError::Overflow`].
    pub reliable_queue: usize,
    /// Bytes queued on a lossy channel; the oldest messages are dropped above it.
    pub lossy_queue: usize,
    /// Largest message taken from the peer, and `a=max-message-size`.
    pub receive_message: usize,
    /// Data channels at once.
    pub channels: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A whole file for one with little bandwidth; its receivers share the messages.
            reliable_queue: 64 << 20,
            lossy_queue: 128 << 10,
            receive_message: 256 << 10,
            channels: 64,
        }
    }
}

/// What the peer's description says.
#[derive(Clone, Debug)]
pub struct RemoteParameters {
    pub ice: IceCredentials,
    pub ice_lite: bool,
    /// Any of them may match; at least one must be sha-256, sha-384 or sha-512.
    pub fingerprints: Vec<Fingerprint>,
    /// *Our* role, as `a=setup` was negotiated.
    pub dtls: DtlsRole,
    /// The description has a data section: a DTLS client then opens the SCTP association.
    pub data: bool,
    /// The peer's `a=max-message-size`; `None` is 65,536 (RFC 8841), 0 is "any".
    pub max_message_size: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportState {
    Connecting,
    /// ICE and DTLS are up.
    Connected,
    /// Nothing authenticated came for 10 s; may come back.
    Disconnected,
    /// 5 s more: only an ICE restart brings it back.
    Failed,
    Closed,
}

/// A data channel of this transport: its SCTP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u16);

/// How a data channel delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    Reliable,
    /// At most that many retransmissions of a message; 0 is "lossy".
    MaxRetransmits(u32),
    /// Given up after that many milliseconds.
    MaxLifetime(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSpec {
    pub label: String,
    pub protocol: String,
    pub ordered: bool,
    pub reliability: Reliability,
}

impl ChannelSpec {
    /// Ordered and reliable, as `_reliable` is.
    pub fn reliable(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            protocol: String::new(),
            ordered: true,
            reliability: Reliability::Reliable,
        }
    }

    /// Unordered and sent once, as `_lossy` and `_data_track` are.
    pub fn lossy(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            protocol: String::new(),
            ordered: false,
            reliability: Reliability::MaxRetransmits(0),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    StateChanged(TransportState),
    /// ICE validated this 5-tuple: datagrams on it belong to this transport.
    TupleAdded(FiveTuple),
    /// It is forgotten again.
    TupleRemoved(FiveTuple),
    /// Media goes here from now on.
    Selected(FiveTuple),
    /// Open both ways. Raised for channels of either side.
    ChannelOpen {
        channel: ChannelId,
        spec: ChannelSpec,
    },
    ChannelMessage {
        channel: ChannelId,
        data: Bytes,
        binary: bool,
    },
    ChannelClosed {
        channel: ChannelId,
    },
    /// The transport closed itself or was closed by the peer; says why. Nothing follows.
    Closed {
        reason: String,
    },
}

/// What became of a datagram. Ranges are into the buffer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A decrypted RTP packet.
    Rtp(Range<usize>),
    /// A decrypted RTCP compound.
    Rtcp(Range<usize>),
    Consumed,
    Dropped(DropReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// First byte of no protocol we speak (RFC 7983), or too short.
    Unknown,
    /// STUN that is malformed, not for us, or fails its integrity check.
    Stun,
    /// A new 5-tuple above the cap.
    TooManyTuples,
    /// DTLS or SRTP from a 5-tuple that ICE did not validate.
    NotValidated,
    Dtls,
    /// SRTP before there are keys.
    NoKeys,
    /// SRTP that fails authentication, is a replay or is malformed.
    Srtp,
    Closed,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    #[error("certificate: {0}")]
    Certificate(String),
    /// A re-offer with another certificate is another peer: a new transport is needed.
    #[error("the peer's certificate fingerprint changed: a new peer connection is needed")]
    PeerChanged,
    #[error("no fingerprint that can be checked (sha-256, sha-384 or sha-512)")]
    NoFingerprint,
    #[error("both sides are ICE-lite")]
    BothLite,
    #[error("ICE ufrag or password missing or too long")]
    Credentials,
    #[error("too many data channels")]
    TooManyChannels,
    #[error("malformed candidate: {0}")]
    Candidate(String),
    #[error("the transport is closed")]
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("no such channel, or it is closed")]
    NoChannel,
    #[error("the message is larger than the peer takes")]
    TooLarge,
    /// The peer does not read its reliable channel: this transport should be closed.
    #[error("the reliable queue is full")]
    Overflow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No keys yet, or closed.
    #[error("no SRTP keys")]
    NoKeys,
    #[error("malformed packet or exhausted key")]
    Refused,
}
