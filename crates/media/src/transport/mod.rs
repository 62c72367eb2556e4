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

mod candidate;
mod channel;
mod data;
mod dcep;
pub mod demux;
mod dtls;
pub(crate) mod framing;
mod ice;
mod media;
pub(crate) mod memory;
mod sctp;
pub(crate) mod statistics;
#[cfg(test)]
mod tests;
mod tuple;
mod types;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use channel::Channels;
use data::max_send_message;
use demux::Kind;
use dtls::Session;
use ice::{Health, Ice, IceEvent, earliest};
use media::Srtp;
use memory::Memory;
use sctp::{Sctp, SctpEvent};

pub use candidate::{parse_passive, parse_remote as parse_candidate};
pub use dcep::{Dcep, DcepError, parse as parse_dcep, write as write_dcep};
pub use dtls::{Fingerprint, Identity};
pub use tuple::{FiveTuple, Protocol, Transmit};
pub use types::*;

/// From the first ICE path to keys.
const DTLS_TIMEOUT: Duration = Duration::from_secs(20);

/// One peer connection's transport.
pub struct Transport {
    identity: Arc<Identity>,
    limits: Limits,
    ice: Ice,
    remote: Option<RemoteParameters>,
    session: Option<Box<Session>>,
    srtp: Option<Box<Srtp>>,
    sctp: Option<Box<Sctp>>,
    /// In place of all of these, where the peer is in this process.
    memory: Option<Box<Memory>>,
    channels: Channels,
    /// Where the peer's DTLS came from last: answers go there until a pair is nominated.
    handshake_tuple: Option<FiveTuple>,
    /// When the first path was there.
    path_since: Option<Instant>,
    /// The peer's fingerprint matched and both sides have keys.
    secured: bool,
    state: TransportState,
    was_connected: bool,
    events: VecDeque<TransportEvent>,
    closing: Option<String>,
}

impl Transport {
    pub fn new(config: TransportConfig, now: Instant) -> Self {
        let ice = Ice::new(
            config.role,
            config.lite,
            config.credentials,
            config.tie_breaker,
            config.candidates,
            now,
        );
        Self {
            identity: config.identity,
            limits: config.limits,
            ice,
            remote: None,
            session: None,
            srtp: None,
            sctp: None,
            memory: None,
            channels: Channels::new(config.limits),
            handshake_tuple: None,
            path_since: None,
            secured: false,
            state: TransportState::Connecting,
            was_connected: false,
            events: VecDeque::new(),
            closing: None,
        }
    }

    /// As `new`, to a peer in this process. The client's end has an address, and calls.
    pub fn in_memory(config: TransportConfig, address: Option<SocketAddr>, now: Instant) -> Self {
        Self {
            memory: Some(Box::new(Memory::new(address))),
            ..Self::new(config, now)
        }
    }

    /// Whether the peer is in this process.
    pub fn is_in_memory(&self) -> bool {
        self.memory.is_some()
    }

    pub fn state(&self) -> TransportState {
        self.state
    }

    pub fn local_credentials(&self) -> &IceCredentials {
        self.ice.credentials()
    }

    /// `candidate:…` lines of our candidates, for SDP and trickle.
    pub fn local_candidates(&self) -> Vec<String> {
        self.ice.local_lines()
    }

    /// From now on only TCP candidates are offered and taken, or all again. The path in use stays until an ICE
    /// restart. Without TCP candidates of our own nothing changes.
    pub fn set_tcp_only(&mut self, tcp_only: bool) {
        self.ice.set_tcp_only(tcp_only);
    }

    /// Whether that is the selected path, and the peer was heard on it in the last seconds.
    pub fn holds(&self, now: Instant, tuple: &FiveTuple) -> bool {
        if let Some(memory) = &self.memory {
            return memory.path() == Some(*tuple);
        }
        self.ice.holds(now, tuple)
    }

    /// From now on only relayed candidates of our own are used, or all again. A path of another kind is left at
    /// once.
    pub fn set_relay_only(&mut self, now: Instant, relay_only: bool) {
        self.ice.set_relay_only(now, relay_only);
        self.advance(now);
    }

    /// Whether a path was agreed on since the last (re)start, and has not failed.
    pub fn has_path(&self) -> bool {
        match &self.memory {
            Some(memory) => memory.path().is_some(),
            None => self.ice.has_path(),
        }
    }

    /// How the selected path goes, or the last one that was: `None` before there was any.
    pub fn way(&self) -> Option<Way> {
        self.ice.way()
    }

    /// Offers another address while running; `false` when it is known or unusable.
    pub fn add_local_candidate(&mut self, now: Instant, candidate: LocalCandidate) -> bool {
        let added = self.ice.add_local(candidate);
        self.advance(now);
        added
    }

    /// Uses a way out that a client opened; `false` when it is unusable. Before the peer's candidates: passive
    /// TCP ones are ignored until there is a connection.
    pub fn add_outgoing_candidate(&mut self, now: Instant, candidate: OutgoingCandidate) -> bool {
        let added = self.ice.add_outgoing(candidate);
        self.advance(now);
        added
    }

    /// A way out that is closed. Where it was in use, another is looked for.
    pub fn remove_outgoing_candidate(&mut self, now: Instant, candidate: OutgoingCandidate) {
        self.ice.remove_outgoing(now, candidate);
        self.advance(now);
    }

    /// Whether the peer restarted ICE: then [`Self::restart_ice`] before [`Self::set_remote`].
    pub fn is_restart(&self, remote: &IceCredentials) -> bool {
        self.ice.is_restart(remote)
    }

    /// Applies the peer's description; later ones too, unchanged or after a restart.
    pub fn set_remote(
        &mut self,
        now: Instant,
        remote: &RemoteParameters,
    ) -> Result<(), TransportError> {
        if self.state == TransportState::Closed {
            return Err(TransportError::Closed);
        }
        let usable = |text: &str| (1..=256).contains(&text.len());
        if !usable(&remote.ice.ufrag) || !usable(&remote.ice.password) {
            return Err(TransportError::Credentials);
        }
        if remote.ice_lite && self.ice.lite() {
            return Err(TransportError::BothLite);
        }
        if !remote.fingerprints.iter().any(Fingerprint::checkable) {
            return Err(TransportError::NoFingerprint);
        }
        if let (Some(known), Some(session)) = (&self.remote, &self.session) {
            let same = match session.certificate() {
                Some(certificate) => remote
                    .fingerprints
                    .iter()
                    .any(|print| print.matches(certificate)),
                None => known.fingerprints == remote.fingerprints,
            };
            if !same {
                return Err(TransportError::PeerChanged);
            }
        }
        if remote.ice_lite {
            self.ice.set_controlling(true);
        }
        self.channels
            .set_max_message(max_send_message(remote) as usize);
        let ice = remote.ice.clone();
        self.remote = Some(remote.clone());
        if let Some(memory) = &mut self.memory {
            memory.described(now, &ice.ufrag);
        }
        self.ice.set_remote(now, &ice);
        self.advance(now);
        Ok(())
    }

    /// A `candidate:…` line. Empty lines, names (mDNS), TCP candidates and those above the cap are ignored:
    /// `Ok(false)`.
    pub fn add_remote_candidate(
        &mut self,
        now: Instant,
        line: &str,
    ) -> Result<bool, TransportError> {
        let added = self.ice.add_remote(now, line)?;
        self.advance(now);
        Ok(added)
    }

    /// New local credentials; media goes on over the old path until a new one is found.
    pub fn restart_ice(&mut self, now: Instant, credentials: IceCredentials) {
        self.ice.restart(now, credentials);
        self.advance(now);
    }

    /// Takes one datagram. SRTP is decrypted in place.
    #[inline]
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        tuple: &FiveTuple,
        datagram: &mut [u8],
    ) -> Received {
        if self.memory.is_some() {
            return self.handle_local(now, tuple, datagram);
        }
        match demux::classify(datagram) {
            Some(Kind::Rtp) => self.handle_srtp(now, tuple, datagram, false),
            Some(Kind::Rtcp) => self.handle_srtp(now, tuple, datagram, true),
            Some(Kind::Stun) => self.handle_stun(now, tuple, datagram),
            Some(Kind::Dtls) => self.handle_dtls(now, tuple, datagram),
            None => Received::Dropped(DropReason::Unknown),
        }
    }

    /// Takes a packet of a peer in this process.
    fn handle_local(&mut self, now: Instant, tuple: &FiveTuple, packet: &[u8]) -> Received {
        let Some(memory) = self.memory.as_mut() else {
            return Received::Dropped(DropReason::Unknown);
        };
        if self.state == TransportState::Closed {
            return Received::Dropped(DropReason::Closed);
        }
        if tuple.protocol != Protocol::Memory {
            return Received::Dropped(DropReason::NotValidated);
        }
        let ours = memory.path() == Some(*tuple);
        match demux::classify(packet) {
            Some(Kind::Rtp) if ours => Received::Rtp(0..packet.len()),
            Some(Kind::Rtcp) if ours => Received::Rtcp(0..packet.len()),
            Some(Kind::Dtls) if memory.handle(tuple, packet).is_some() => {
                self.advance(now);
                Received::Consumed
            }
            _ => Received::Dropped(DropReason::NotValidated),
        }
    }

    /// [`Self::advance`] without a network.
    fn advance_in_memory(&mut self) -> Result<(), String> {
        // What comes before the peer's description waits for it.
        let (Some(memory), Some(remote)) = (&mut self.memory, &self.remote) else {
            return Ok(());
        };
        if memory.path().is_some() {
            self.channels.connected(remote.dtls);
        }
        while let Some(event) = memory.events.pop_front() {
            match event {
                SctpEvent::Connected => {}
                SctpEvent::Message { stream, ppid, data } => {
                    self.channels
                        .receive(memory.as_mut(), stream, ppid, data, &mut self.events)?;
                }
                SctpEvent::StreamClosed(stream) => {
                    self.channels.stream_closed(stream, &mut self.events);
                }
                SctpEvent::Lost(reason) => return Err(reason),
            }
        }
        self.channels.pump(memory.as_mut());
        if memory.path().is_some() {
            self.enter(TransportState::Connected);
        }
        Ok(())
    }

    fn handle_stun(&mut self, now: Instant, tuple: &FiveTuple, datagram: &[u8]) -> Received {
        if self.state == TransportState::Closed {
            return Received::Dropped(DropReason::Closed);
        }
        match self.ice.handle_stun(now, tuple, datagram) {
            Ok(()) => {
                self.advance(now);
                Received::Consumed
            }
            Err(reason) => Received::Dropped(reason),
        }
    }

    fn handle_dtls(&mut self, now: Instant, tuple: &FiveTuple, datagram: &[u8]) -> Received {
        if self.state == TransportState::Closed {
            return Received::Dropped(DropReason::Closed);
        }
        if self.ice.find(tuple).is_none() {
            return Received::Dropped(DropReason::NotValidated);
        }
        // Without the peer's fingerprint there is nothing to check a handshake against.
        let Some(remote) = &self.remote else {
            return Received::Dropped(DropReason::Dtls);
        };
        if self.session.is_none() {
            match Session::new(&self.identity, remote.dtls, now) {
                Ok(session) => self.session = Some(session),
                Err(reason) => {
                    self.end(reason);
                    return Received::Dropped(DropReason::Dtls);
                }
            }
        }
        self.handshake_tuple = Some(*tuple);
        let Some(session) = &mut self.session else {
            return Received::Dropped(DropReason::Dtls);
        };
        // The engine keeps time by its timer calls only.
        let outcome = session
            .handle_timeout(now)
            .and_then(|()| session.handle_datagram(datagram));
        self.settle(now, outcome);
        Received::Consumed
    }

    /// After something moved in the DTLS session: fingerprint, keys, data, goodbyes.
    fn settle(&mut self, now: Instant, outcome: Result<(), String>) {
        let outcome = outcome.and_then(|()| self.secure());
        match outcome {
            Ok(()) => self.advance(now),
            Err(reason) => self.end(reason),
        }
    }

    /// Takes the session's keys once it is connected and the certificate is the one that was signalled.
    fn secure(&mut self) -> Result<(), String> {
        let (Some(session), Some(remote), false) = (&mut self.session, &self.remote, self.secured)
        else {
            return Ok(());
        };
        if let Some(certificate) = session.certificate()
            && !remote
                .fingerprints
                .iter()
                .any(|fingerprint| fingerprint.matches(certificate))
        {
            return Err("the peer's certificate does not match its signalled fingerprint".into());
        }
        if !session.connected() || session.certificate().is_none() {
            return Ok(());
        }
        if let Some(keys) = session.take_keys() {
            let client = session.role() == DtlsRole::Client;
            self.srtp = Some(Box::new(Srtp::new(&keys, client)?));
        }
        // A peer without use_srtp has data channels only.
        self.secured = true;
        Ok(())
    }

    /// Runs what can run: handshake, association, queues; then says what changed.
    fn advance(&mut self, now: Instant) {
        if self.state == TransportState::Closed {
            return;
        }
        if self.memory.is_some() {
            if let Err(reason) = self.advance_in_memory() {
                self.end(reason);
            }
            return;
        }
        while let Some(event) = self.ice.poll_event() {
            self.events.push_back(match event {
                IceEvent::TupleAdded(tuple) => TransportEvent::TupleAdded(tuple),
                IceEvent::TupleRemoved(tuple) => TransportEvent::TupleRemoved(tuple),
                IceEvent::Selected(tuple) => TransportEvent::Selected(tuple),
            });
        }
        if self.path_since.is_none() && self.ice.selected().is_some() {
            self.path_since = Some(now);
        }
        if let Err(reason) = self.start_session(now).and_then(|()| self.run_data(now)) {
            self.end(reason);
            return;
        }
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.closed())
        {
            self.end("closed by the peer".into());
            return;
        }
        let overdue = self
            .handshake_deadline()
            .is_some_and(|deadline| now >= deadline);
        if overdue {
            self.end("DTLS handshake timed out".into());
            return;
        }
        self.assess(now);
    }

    /// As a DTLS client we speak first, as soon as ICE knows a way.
    fn start_session(&mut self, now: Instant) -> Result<(), String> {
        let (None, Some(remote)) = (&self.session, &self.remote) else {
            return Ok(());
        };
        if remote.dtls == DtlsRole::Client && self.ice.latest().is_some() {
            self.session = Some(Session::new(&self.identity, DtlsRole::Client, now)?);
        }
        Ok(())
    }

    fn handshake_deadline(&self) -> Option<Instant> {
        self.path_since
            .filter(|_| !self.secured)
            .map(|since| since + DTLS_TIMEOUT)
    }

    fn assess(&mut self, now: Instant) {
        let state = match self.ice.health(now) {
            Health::Failed => TransportState::Failed,
            Health::Connected if self.secured => TransportState::Connected,
            Health::Disconnected if self.was_connected => TransportState::Disconnected,
            Health::Checking if self.was_connected => TransportState::Disconnected,
            Health::Checking | Health::Connected | Health::Disconnected => {
                TransportState::Connecting
            }
        };
        self.was_connected |= state == TransportState::Connected;
        self.enter(state);
    }

    fn enter(&mut self, state: TransportState) {
        if self.state != state {
            self.state = state;
            self.events.push_back(TransportEvent::StateChanged(state));
        }
    }

    /// The end, by a fault or by the peer: nothing passes any more.
    fn end(&mut self, reason: String) {
        if self.state == TransportState::Closed {
            return;
        }
        if let Some(session) = &mut self.session {
            session.inbox.clear();
            session.close();
        }
        if let Some(memory) = &mut self.memory {
            memory.close();
        }
        self.srtp = None;
        self.sctp = None;
        self.secured = false;
        self.enter(TransportState::Closed);
        self.events.push_back(TransportEvent::Closed {
            reason: reason.clone(),
        });
        self.closing = Some(reason);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self, _now: Instant) -> Option<Transmit> {
        if let Some(memory) = &mut self.memory {
            return memory.poll_transmit();
        }
        if self.state != TransportState::Closed
            && let Some(transmit) = self.ice.poll_transmit()
        {
            return Some(transmit);
        }
        let session = self
            .session
            .as_mut()
            .filter(|session| !session.outbox.is_empty())?;
        if self.state == TransportState::Failed {
            // Nobody has consented to be sent anything (RFC 7675, 5.1).
            session.outbox.clear();
            return None;
        }
        let tuple = self
            .ice
            .selected()
            .or(self.handshake_tuple)
            .or_else(|| self.ice.latest());
        match tuple {
            Some(tuple) => session
                .outbox
                .pop_front()
                .map(|contents| Transmit { tuple, contents }),
            // Nowhere to go: the peer's retransmission will ask again.
            None => {
                session.outbox.clear();
                None
            }
        }
    }

    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called; may change with every call that takes `&mut self`.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        if self.state == TransportState::Closed {
            return None;
        }
        if let Some(memory) = &self.memory {
            return memory.deadline();
        }
        let session = self
            .session
            .as_ref()
            .and_then(|session| session.poll_timeout());
        let sctp = self.sctp.as_ref().and_then(|sctp| sctp.poll_timeout());
        let handshake = self.handshake_deadline();
        [session, sctp, handshake]
            .into_iter()
            .fold(self.ice.poll_timeout(), earliest)
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state == TransportState::Closed {
            return;
        }
        if let Some(memory) = &mut self.memory {
            if memory.is_overdue(now) {
                self.enter(TransportState::Failed);
            }
            return;
        }
        self.ice.handle_timeout(now);
        if let Some(sctp) = &mut self.sctp {
            sctp.handle_timeout(now);
        }
        let outcome = match &mut self.session {
            Some(session) => session.handle_timeout(now),
            None => Ok(()),
        };
        self.settle(now, outcome);
    }

    /// Whether datagrams on that path may be the peer's. Paths that were only checked are forgotten when ICE
    /// restarts.
    pub fn uses(&self, tuple: &FiveTuple) -> bool {
        if let Some(memory) = &self.memory {
            return memory.path() == Some(*tuple);
        }
        self.ice.uses(tuple)
    }

    /// Where media goes; `None` before a path is found and after it failed.
    #[inline]
    pub fn destination(&self) -> Option<FiveTuple> {
        match &self.memory {
            Some(memory) => memory.path(),
            None => self.ice.selected(),
        }
    }

    /// When the peer last proved to be there: authenticated STUN or SRTP.
    #[inline]
    pub fn last_authenticated(&self) -> Option<Instant> {
        self.ice.last_authenticated()
    }

    /// Round trip of the last consent check (full agents only).
    pub fn round_trip(&self) -> Option<Duration> {
        self.ice.round_trip()
    }

    /// Says goodbye (DTLS close_notify): drain [`Self::poll_transmit`] once more.
    pub fn close(&mut self, _now: Instant) {
        self.end("closed".into());
    }

    /// For logs and errors: what was offered, what was tried, what answered. Holds addresses.
    pub fn diagnosis(&self) -> String {
        if self.memory.is_some() {
            return match (&self.closing, self.state) {
                (Some(reason), _) => format!("in this process; closed: {reason}"),
                (None, TransportState::Failed) => "in this process; the peer did not come".into(),
                (None, _) => "in this process".into(),
            };
        }
        let mut out = String::new();
        self.ice.describe(&mut out);
        let dtls = match &self.session {
            None => "not begun",
            Some(_) if self.secured => "up",
            Some(session) if session.connected() => "up, certificate not accepted",
            Some(_) => "handshaking",
        };
        out.push_str("; DTLS ");
        out.push_str(dtls);
        if let Some(reason) = &self.closing {
            out.push_str("; closed: ");
            out.push_str(reason);
        } else if let Some(hint) = self.ice.hint() {
            out.push_str(". Probably ");
            out.push_str(hint);
        } else if self.session.is_some() && !self.secured {
            out.push_str(". Probably the large packets of a handshake are lost on the way: lower the MTU there");
        }
        out
    }
}
