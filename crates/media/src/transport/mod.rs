//! One peer connection's transport: ICE, DTLS, SRTP keys and SCTP data channels, without I/O.
//!
//! A [`Transport`] is role-symmetrical: controlling or controlled ([`IceRole`]), DTLS client or
//! server ([`DtlsRole`]). Drive it as any sans-IO machine: make one call that changes it
//! ([`Transport::handle_datagram`], [`Transport::handle_timeout`], [`Transport::send_data`], …), then drain
//! [`Transport::poll_transmit`] and [`Transport::poll_event`] and arm one timer for
//! [`Transport::poll_timeout`].
//!
//! Nothing passes before its check: STUN before its message integrity, DTLS before its 5-tuple is
//! validated by ICE, media and data before the certificate's fingerprint matched.

mod tuple;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use tuple::{FiveTuple, Protocol, Transmit};

/// ICE username fragment and password (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IceCredentials {
    pub ufrag: String,
    pub password: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

impl IceCredentials {
    /// Fresh credentials from 24 random bytes: 8 characters of ufrag, 24 of password.
    pub fn from_random(random: [u8; 24]) -> Self {
        let _ = random;
        unimplemented!()
    }

    /// Fresh credentials from the system's generator.
    pub fn generate() -> Self {
        unimplemented!()
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
    pub address: std::net::SocketAddr,
    /// What the socket calls itself, when another (mapped ports, 1:1 NAT).
    pub base: Option<std::net::SocketAddr>,
}

/// Certificate, key and DTLS configuration, made once a process and shared by all transports.
pub struct Identity {}

impl Identity {
    /// A fresh self-signed ECDSA P-256 certificate.
    pub fn generate() -> Result<Arc<Self>, TransportError> {
        unimplemented!()
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> &Fingerprint {
        unimplemented!()
    }
}

/// A certificate's fingerprint as in SDP's `a=fingerprint` (RFC 8122): `sha-256 AB:CD:…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Lower case: "sha-256".
    pub algorithm: String,
    pub digest: Vec<u8>,
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

/// One peer connection's transport.
pub struct Transport {}

#[allow(unused_variables)]
impl Transport {
    pub fn new(config: TransportConfig, now: Instant) -> Self {
        Self {}
    }

    pub fn state(&self) -> TransportState {
        unimplemented!()
    }

    pub fn local_credentials(&self) -> &IceCredentials {
        unimplemented!()
    }

    /// `candidate:…` lines of our candidates, for SDP and trickle.
    pub fn local_candidates(&self) -> Vec<String> {
        unimplemented!()
    }

    /// Offers another address while running.
    pub fn add_local_candidate(&mut self, now: Instant, candidate: LocalCandidate) {}

    /// Whether the peer restarted ICE: then [`Self::restart_ice`] before [`Self::set_remote`].
    pub fn is_restart(&self, remote: &IceCredentials) -> bool {
        unimplemented!()
    }

    /// Applies the peer's description; later ones too, unchanged or after a restart.
    pub fn set_remote(
        &mut self,
        now: Instant,
        remote: &RemoteParameters,
    ) -> Result<(), TransportError> {
        unimplemented!()
    }

    /// A `candidate:…` line. Empty lines, mDNS names, TCP candidates and those above the cap are ignored:
    /// `Ok(false)`.
    pub fn add_remote_candidate(
        &mut self,
        now: Instant,
        line: &str,
    ) -> Result<bool, TransportError> {
        unimplemented!()
    }

    /// New local credentials; media goes on over the old path until a new one is found.
    pub fn restart_ice(&mut self, now: Instant, credentials: IceCredentials) {}

    /// Takes one datagram. SRTP is decrypted in place.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        tuple: &FiveTuple,
        datagram: &mut [u8],
    ) -> Received {
        unimplemented!()
    }

    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        unimplemented!()
    }

    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        unimplemented!()
    }

    /// When [`Self::handle_timeout`] wants to be called; changes with every call that takes `&mut self`.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        unimplemented!()
    }

    pub fn handle_timeout(&mut self, now: Instant) {}

    /// Where media goes.
    pub fn destination(&self) -> Option<FiveTuple> {
        unimplemented!()
    }

    /// When the peer last proved to be there: authenticated STUN or SRTP.
    pub fn last_authenticated(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// Round trip of the last consent check (full agents only).
    pub fn round_trip(&self) -> Option<Duration> {
        unimplemented!()
    }

    /// Encrypts an RTP packet in place and appends its tag.
    pub fn seal_rtp(&mut self, packet: &mut Vec<u8>) -> Result<(), SealError> {
        unimplemented!()
    }

    /// Encrypts an RTCP compound in place and appends index and tag.
    pub fn seal_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), SealError> {
        unimplemented!()
    }

    /// Opens a channel in band (RFC 8832), now or as soon as the association is up.
    pub fn open_channel(
        &mut self,
        now: Instant,
        spec: ChannelSpec,
    ) -> Result<ChannelId, TransportError> {
        unimplemented!()
    }

    /// Queues a message. Lossy channels drop their oldest messages above their budget.
    pub fn send_data(
        &mut self,
        now: Instant,
        channel: ChannelId,
        data: Bytes,
        binary: bool,
    ) -> Result<(), SendError> {
        unimplemented!()
    }

    /// Bytes queued on a channel and not yet handed to SCTP.
    pub fn buffered(&self, channel: ChannelId) -> usize {
        unimplemented!()
    }

    /// Says goodbye (SCTP ABORT, DTLS close_notify): drain [`Self::poll_transmit`] once more.
    pub fn close(&mut self, now: Instant) {}

    /// For logs and errors: what was offered, what was tried, what answered.
    pub fn diagnosis(&self) -> String {
        unimplemented!()
    }
}
