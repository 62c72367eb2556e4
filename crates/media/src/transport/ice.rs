//! The ICE agent (RFC 8445), its 5-tuples and its liveness.
//!
//! The agent of the `is` crate bounds nothing for a peer that authenticates: what it may hear of is
//! bounded here.

mod diagnosis;
mod statistics;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket};
use is::{IceAgent, IceAgentEvent, IceCreds};

use super::candidate;
use super::{
    DropReason, FiveTuple, IceCredentials, IceRole, LocalCandidate, OutgoingCandidate, Protocol,
    Transmit, TransportError, Way,
};
use crate::turn::is_relayed;

/// 5-tuples at once.
const MAX_TUPLES: usize = 16;
/// New 5-tuples between two ICE restarts: a phone that walks between networks uses a dozen.
const MAX_ADMISSIONS: u32 = 64;
/// A 5-tuple that was silent for that long makes room for a new one.
const TUPLE_IDLE: Duration = Duration::from_secs(30);
/// A selected 5-tuple is in use as long as it was heard on so lately: peers ask for consent every few seconds (RFC 7675).
const TUPLE_IN_USE: Duration = Duration::from_secs(8);
/// Media that comes on another 5-tuple is followed there once none came on the selected one for that long.
const FOLLOW_AFTER: Duration = Duration::from_secs(1);
/// Candidates taken from the peer's description and by trickle, until the next restart.
const MAX_REMOTE_CANDIDATES: usize = 16;
/// Checks sent to an address that never answered: nobody is flooded on a peer's word.
const MAX_UNANSWERED_CHECKS: u8 = 12;
/// What an answer is given before the first check leaves: a peer that gets the check first drops it, or keeps it
/// until its next tick, and either costs more.
const ANSWER_FIRST: Duration = Duration::from_millis(10);
/// Silence until "disconnected", until "failed", and how long to wait for a first path.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(10);
const FAILED_AFTER: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// No path yet.
    Checking,
    Connected,
    Disconnected,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IceEvent {
    TupleAdded(FiveTuple),
    TupleRemoved(FiveTuple),
    Selected(FiveTuple),
}

/// A 5-tuple that carried an authenticated check.
#[derive(Clone, Copy)]
struct Validated {
    tuple: FiveTuple,
    /// Our candidate's address that the agent knows it by.
    candidate: SocketAddr,
    last_used: Instant,
    last_media: Option<Instant>,
    /// A check of ours was answered over it: whoever asks in its name can also hear there.
    answered: bool,
}

/// An address that was checked and has not answered.
struct Unanswered {
    remote: SocketAddr,
    checks: u8,
}

#[derive(Default)]
struct Counters {
    checks_sent: u64,
    checks_withheld: u64,
    stun_received: u64,
    stun_rejected: u64,
    tuples_refused: u64,
    candidates_taken: u32,
    candidates_ignored: u32,
}

pub(super) struct Ice {
    agent: IceAgent,
    candidates: Vec<LocalCandidate>,
    /// We opened TCP connections: passive candidates are of use.
    connects: bool,
    /// Only TCP candidates are offered and taken.
    tcp_only: bool,
    /// Nothing but our own relays is used.
    relay_only: bool,
    /// Addresses that TURN servers relay for us.
    relays: Vec<SocketAddr>,
    credentials: IceCredentials,
    tuples: Vec<Validated>,
    admissions: u32,
    remote_candidates: usize,
    /// Addresses that the peer has of relays, by its candidates, whether these were taken or not.
    relayed: Vec<SocketAddr>,
    unanswered: Vec<Unanswered>,
    selected: Option<FiveTuple>,
    selected_at: Instant,
    /// How often another one was selected.
    selections: u32,
    /// A path was selected since the last (re)start.
    nominated: bool,
    /// When the peer's credentials became known.
    started: Option<Instant>,
    /// Our checks wait for that, unless the peer's come first.
    checks_from: Option<Instant>,
    last_authenticated: Option<Instant>,
    /// When health was last assessed: earlier deadlines are done with.
    assessed: Instant,
    failed: bool,
    events: VecDeque<IceEvent>,
    counters: Counters,
}

impl Ice {
    pub(super) fn new(
        role: IceRole,
        lite: bool,
        credentials: IceCredentials,
        tie_breaker: u64,
        candidates: Vec<LocalCandidate>,
        now: Instant,
    ) -> Self {
        let mut agent = IceAgent::new(creds(&credentials));
        agent.set_ice_lite(lite);
        agent.set_controlling(role == IceRole::Controlling && !lite);
        agent.set_control_tie_breaker(tie_breaker);
        agent.set_timing_advance(Duration::from_millis(20));
        let mut ice = Self {
            agent,
            candidates: Vec::with_capacity(candidates.len()),
            connects: false,
            tcp_only: false,
            relay_only: false,
            relays: Vec::new(),
            credentials,
            tuples: Vec::new(),
            admissions: 0,
            remote_candidates: 0,
            relayed: Vec::new(),
            unanswered: Vec::new(),
            selected: None,
            selected_at: now,
            selections: 0,
            nominated: false,
            started: None,
            checks_from: None,
            last_authenticated: None,
            assessed: now,
            failed: false,
            events: VecDeque::new(),
            counters: Counters::default(),
        };
        for candidate in candidates {
            ice.add_local(candidate);
        }
        ice.agent.handle_timeout(now);
        ice.drain(now);
        ice
    }

    pub(super) fn lite(&self) -> bool {
        self.agent.ice_lite()
    }

    pub(super) fn set_controlling(&mut self, controlling: bool) {
        self.agent.set_controlling(controlling);
    }

    pub(super) fn credentials(&self) -> &IceCredentials {
        &self.credentials
    }

    pub(super) fn selected(&self) -> Option<FiveTuple> {
        if self.failed { None } else { self.selected }
    }

    /// The 5-tuple that last carried something authenticated, for what must leave before nomination.
    pub(super) fn latest(&self) -> Option<FiveTuple> {
        self.tuples
            .iter()
            .max_by_key(|known| known.last_used)
            .map(|known| known.tuple)
    }

    pub(super) fn last_authenticated(&self) -> Option<Instant> {
        self.last_authenticated
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.agent.nominated_pair_rtt()
    }

    pub(super) fn poll_event(&mut self) -> Option<IceEvent> {
        self.events.pop_front()
    }

    pub(super) fn local_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for candidate in self.agent.local_candidates() {
            let protocol = protocol(candidate.proto());
            let ours = self
                .candidates
                .iter()
                .any(|local| local.address == candidate.addr() && Some(local.protocol) == protocol);
            let offered = !self.relay_only && (!self.tcp_only || protocol == Some(Protocol::Tcp));
            if ours && offered && candidate.kind() == is::CandidateKind::Host {
                lines.push(candidate.to_sdp_string());
            }
        }
        lines
    }

    pub(super) fn add_local(&mut self, candidate: LocalCandidate) -> bool {
        let known = self.candidates.iter().any(|local| {
            local.protocol == candidate.protocol && local.address == candidate.address
        });
        if known {
            return false;
        }
        let Some(host) = candidate::local(&candidate, self.candidates.len()) else {
            return false;
        };
        if !self.relay_only && self.agent.add_local_candidate(host).is_none() {
            return false;
        }
        self.candidates.push(candidate);
        true
    }

    /// Another way out; `false` when it is unusable.
    pub(super) fn add_outgoing(&mut self, candidate: OutgoingCandidate) -> bool {
        let (protocol, address) = endpoint(candidate);
        let usable = candidate::outgoing(candidate, self.candidates.len())
            .and_then(|outgoing| self.agent.add_local_candidate(outgoing));
        if usable.is_none() {
            return false;
        }
        self.connects |= protocol == Protocol::Tcp;
        if let OutgoingCandidate::Relayed(address) = candidate {
            self.relays.push(address);
        }
        self.candidates.push(LocalCandidate {
            protocol,
            address,
            base: None,
        });
        true
    }

    /// A way out that is no more.
    pub(super) fn remove_outgoing(&mut self, now: Instant, candidate: OutgoingCandidate) {
        let (protocol, address) = endpoint(candidate);
        if let Some(outgoing) = candidate::outgoing(candidate, 0) {
            self.agent.invalidate_candidate(&outgoing);
        }
        self.candidates
            .retain(|it| (it.protocol, it.address) != (protocol, address));
        self.relays.retain(|it| *it != address);
        self.leave(now, |it| (it.protocol, it.local) == (protocol, address));
    }

    pub(super) fn set_relay_only(&mut self, now: Instant, relay_only: bool) {
        self.relay_only = relay_only;
        for (index, own) in self.candidates.iter().enumerate() {
            if self.relays.contains(&own.address) {
                continue;
            }
            let Some(own) = candidate::local(own, index) else {
                continue;
            };
            if relay_only {
                self.agent.invalidate_candidate(&own);
            } else {
                self.agent.add_local_candidate(own);
            }
        }
        if relay_only {
            let relays = self.relays.clone();
            self.leave(now, |it| !relays.contains(&it.local));
        }
    }

    /// Forgets 5-tuples. Without the selected one it is as after a restart: a path is looked for.
    fn leave(&mut self, now: Instant, gone: impl Fn(&FiveTuple) -> bool) {
        for known in self.tuples.extract_if(.., |known| gone(&known.tuple)) {
            self.events.push_back(IceEvent::TupleRemoved(known.tuple));
        }
        if self.selected.is_some_and(|tuple| gone(&tuple)) {
            self.selected = None;
            self.nominated = false;
            self.started = self.started.map(|_| now);
        }
    }

    pub(super) fn has_path(&self) -> bool {
        self.nominated && !self.failed
    }

    /// Whether a way of ours may be used.
    fn allows(&self, local: SocketAddr) -> bool {
        !self.relay_only || self.relays.contains(&local)
    }

    /// Nothing that is not there can be insisted on: without TCP candidates nothing changes.
    pub(super) fn set_tcp_only(&mut self, tcp_only: bool) {
        let possible = self
            .candidates
            .iter()
            .any(|local| local.protocol == Protocol::Tcp);
        self.tcp_only = tcp_only && possible;
    }

    pub(super) fn is_restart(&self, remote: &IceCredentials) -> bool {
        self.agent
            .remote_credentials()
            .is_some_and(|known| known.ufrag != remote.ufrag || known.pass != remote.password)
    }

    pub(super) fn set_remote(&mut self, now: Instant, remote: &IceCredentials) {
        if self.started.is_some() && self.is_restart(remote) {
            // The peer restarted and our side did not: its old candidates are void all the same.
            self.remote_candidates = 0;
            self.unanswered.clear();
        }
        self.agent.set_remote_credentials(creds(remote));
        // The controlled side is the one that answers.
        if self.started.is_none() && !self.agent.controlling() {
            self.checks_from = Some(now + ANSWER_FIRST);
        }
        self.started.get_or_insert(now);
        self.handle_timeout(now);
    }

    pub(super) fn add_remote(&mut self, now: Instant, line: &str) -> Result<bool, TransportError> {
        let parsed = candidate::parse(line, self.connects)?;
        if let Some(candidate) = &parsed
            && candidate.kind() == is::CandidateKind::Relayed
            && !self.relayed.contains(&candidate.addr())
        {
            if self.relayed.len() >= MAX_REMOTE_CANDIDATES {
                self.relayed.remove(0);
            }
            self.relayed.push(candidate.addr());
        }
        let parsed =
            parsed.filter(|it| !self.tcp_only || protocol(it.proto()) == Some(Protocol::Tcp));
        let (Some(candidate), true) = (parsed, self.remote_candidates < MAX_REMOTE_CANDIDATES)
        else {
            self.counters.candidates_ignored = self.counters.candidates_ignored.saturating_add(1);
            return Ok(false);
        };
        self.remote_candidates += 1;
        self.counters.candidates_taken = self.counters.candidates_taken.saturating_add(1);
        self.agent.add_remote_candidate(candidate);
        self.handle_timeout(now);
        Ok(true)
    }

    /// New credentials. The selected path stays in use until the new checks find one.
    pub(super) fn restart(&mut self, now: Instant, credentials: IceCredentials) {
        self.agent.ice_restart(creds(&credentials), true);
        self.credentials = credentials;
        self.admissions = 0;
        self.remote_candidates = 0;
        self.unanswered.clear();
        self.nominated = false;
        self.started = None;
        self.failed = false;
        self.handle_timeout(now);
    }

    /// Whether datagrams on that 5-tuple may be the peer's: validated, or checked and not answered yet.
    pub(super) fn uses(&self, tuple: &FiveTuple) -> bool {
        self.find(tuple).is_some()
            || self
                .unanswered
                .iter()
                .any(|address| address.remote == tuple.remote)
    }

    /// Index of a validated 5-tuple.
    #[inline]
    pub(super) fn find(&self, tuple: &FiveTuple) -> Option<usize> {
        self.tuples.iter().position(|known| known.tuple == *tuple)
    }

    /// Whether the 5-tuple is selected and something authenticated came on it lately.
    pub(super) fn holds(&self, now: Instant, tuple: &FiveTuple) -> bool {
        let known = self.find(tuple).and_then(|index| self.tuples.get(index));
        self.selected() == Some(*tuple)
            && known.is_some_and(|it| now.saturating_duration_since(it.last_used) < TUPLE_IN_USE)
    }

    /// Something authenticated came on that 5-tuple.
    #[inline]
    pub(super) fn authenticated(&mut self, now: Instant, index: usize) {
        if let Some(known) = self.tuples.get_mut(index) {
            known.last_used = now;
        }
        self.last_authenticated = Some(now);
    }

    /// Media came on that 5-tuple. The controlling peer sends it where it has selected a path, and the agent
    /// would hold to an earlier nomination until its checks fail, which takes half a minute.
    #[inline]
    pub(super) fn media(&mut self, now: Instant, index: usize) {
        self.authenticated(now, index);
        let Some(known) = self.tuples.get_mut(index) else {
            return;
        };
        known.last_media = Some(now);
        let tuple = known.tuple;
        // Never to an address that only its name speaks for. One that is lite checks nothing.
        let can_hear = known.answered || self.lite();
        if can_hear && self.selected != Some(tuple) {
            self.follow(now, tuple);
        }
    }

    fn follow(&mut self, now: Instant, tuple: FiveTuple) {
        let allowed = !self.tcp_only || tuple.protocol == Protocol::Tcp;
        let Some(selected) = self.selected else {
            return;
        };
        let quiet = self
            .find(&selected)
            .and_then(|index| self.tuples.get(index)?.last_media)
            .map_or(self.selected_at, |last| last.max(self.selected_at));
        let over = now.saturating_duration_since(quiet) >= FOLLOW_AFTER;
        if over && allowed && !self.agent.controlling() {
            self.select(now, tuple);
        }
    }

    pub(super) fn handle_stun(
        &mut self,
        now: Instant,
        tuple: &FiveTuple,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        self.counters.stun_received += 1;
        let outcome = self.accept_stun(now, tuple, datagram);
        match outcome {
            Ok(()) => {}
            Err(DropReason::TooManyTuples) => self.counters.tuples_refused += 1,
            Err(_) => self.counters.stun_rejected += 1,
        }
        outcome
    }

    fn accept_stun(
        &mut self,
        now: Instant,
        tuple: &FiveTuple,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        if self.failed || !self.allows(tuple.local) {
            return Err(DropReason::Stun);
        }
        let message = StunMessage::parse(datagram).map_err(|_| DropReason::Stun)?;
        let known = self.find(tuple);
        let candidate = match known.and_then(|index| self.tuples.get(index)) {
            Some(validated) => validated.candidate,
            None => self.candidate_for(tuple).ok_or(DropReason::Stun)?,
        };
        if known.is_none() {
            // Message integrity before any state is spent on a stranger.
            if !self.agent.accepts_message(&message) {
                return Err(DropReason::Stun);
            }
            // A response must come from where the check went (RFC 8445 §7.2.5.2.1).
            if !message.is_binding_request()
                && !self
                    .agent
                    .remote_candidates()
                    .any(|remote| remote.addr() == tuple.remote)
            {
                return Err(DropReason::Stun);
            }
            self.make_room(now)?;
        }
        let answers = message.is_successful_binding_response();
        let packet = StunPacket {
            proto: agent_protocol(tuple.protocol),
            source: tuple.remote,
            destination: candidate,
            message,
        };
        if !self.agent.handle_packet(now, packet) {
            return Err(DropReason::Stun);
        }
        let index = match known {
            Some(index) => index,
            None => {
                self.admissions += 1;
                self.tuples.push(Validated {
                    tuple: *tuple,
                    candidate,
                    last_used: now,
                    last_media: None,
                    answered: false,
                });
                self.unanswered
                    .retain(|address| address.remote != tuple.remote);
                self.events.push_back(IceEvent::TupleAdded(*tuple));
                self.tuples.len() - 1
            }
        };
        if answers && let Some(known) = self.tuples.get_mut(index) {
            known.answered = true;
        }
        self.authenticated(now, index);
        // The triggered check leaves now, not with the next tick.
        self.checks_from = None;
        self.handle_timeout(now);
        Ok(())
    }

    fn make_room(&mut self, now: Instant) -> Result<(), DropReason> {
        if self.admissions >= MAX_ADMISSIONS {
            return Err(DropReason::TooManyTuples);
        }
        if self.tuples.len() < MAX_TUPLES {
            return Ok(());
        }
        let idle = self
            .tuples
            .iter()
            .enumerate()
            .filter(|(_, known)| Some(known.tuple) != self.selected)
            .filter(|(_, known)| now.saturating_duration_since(known.last_used) >= TUPLE_IDLE)
            .min_by_key(|(_, known)| known.last_used)
            .map(|(index, _)| index)
            .ok_or(DropReason::TooManyTuples)?;
        let gone = self.tuples.swap_remove(idle);
        self.events.push_back(IceEvent::TupleRemoved(gone.tuple));
        Ok(())
    }

    /// The candidate that a datagram came to. An address that we did not advertise (behind a mapping that
    /// nobody told us of) counts as the first candidate of its family.
    fn candidate_for(&self, tuple: &FiveTuple) -> Option<SocketAddr> {
        let same = || {
            self.candidates
                .iter()
                .filter(|local| local.protocol == tuple.protocol)
        };
        same()
            .find(|local| local.address == tuple.local)
            .or_else(|| same().find(|local| local.base == Some(tuple.local)))
            .or_else(|| same().find(|local| local.address.is_ipv4() == tuple.remote.is_ipv4()))
            .map(|local| local.address)
    }

    /// How the selected path goes, or the last one that was: `None` before there was any.
    pub(super) fn way(&self) -> Option<Way> {
        let selected = self.selected?;
        // Told by the address: a peer's check may come before its candidate, or that may not have been taken.
        let remote = selected.remote;
        let relayed = is_relayed(remote)
            || self.relayed.contains(&remote)
            || self.relays.contains(&selected.local);
        Some(match selected.protocol {
            _ if relayed => Way::Relay,
            Protocol::Udp => Way::Udp,
            Protocol::Tcp => Way::Tcp,
            Protocol::Memory => return None,
        })
    }

    /// The 5-tuple by which the agent's pair is reached.
    fn path(&self, protocol: Protocol, candidate: SocketAddr, remote: SocketAddr) -> FiveTuple {
        let known = self.tuples.iter().find(|known| {
            known.tuple.protocol == protocol
                && known.candidate == candidate
                && known.tuple.remote == remote
        });
        if let Some(known) = known {
            return known.tuple;
        }
        let base = self
            .candidates
            .iter()
            .find(|local| local.protocol == protocol && local.address == candidate)
            .and_then(|local| local.base);
        FiveTuple {
            protocol,
            local: base.unwrap_or(candidate),
            remote,
        }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        while let Some(transmit) = self.agent.poll_transmit() {
            let Some(protocol) = protocol(transmit.proto) else {
                continue;
            };
            let contents: Vec<u8> = transmit.contents.into();
            let tuple = self.path(protocol, transmit.source, transmit.destination);
            if self.failed || !self.allows(tuple.local) {
                continue;
            }
            let check = contents.starts_with(&[0, 1]);
            // Over ways that we opened we ask whom we like.
            let own = self.relays.contains(&tuple.local)
                || self.connects && tuple.protocol == Protocol::Tcp;
            if check && !own && !self.may_check(tuple.remote) {
                self.counters.checks_withheld += 1;
                continue;
            }
            self.counters.checks_sent += u64::from(check);
            return Some(Transmit { tuple, contents });
        }
        None
    }

    fn may_check(&mut self, remote: SocketAddr) -> bool {
        if self.tuples.iter().any(|known| known.tuple.remote == remote) {
            return true;
        }
        if let Some(address) = self
            .unanswered
            .iter_mut()
            .find(|address| address.remote == remote)
        {
            address.checks = address.checks.saturating_add(1);
            return address.checks <= MAX_UNANSWERED_CHECKS;
        }
        if self.unanswered.len() >= MAX_REMOTE_CANDIDATES {
            return false;
        }
        self.unanswered.push(Unanswered { remote, checks: 1 });
        true
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.failed {
            return;
        }
        if self.checks_from.is_none_or(|at| at <= now) {
            self.checks_from = None;
            self.agent.handle_timeout(now);
            self.drain(now);
        }
        self.assessed = now;
        if self.assess(now) == Health::Failed {
            self.failed = true;
        }
    }

    fn select(&mut self, now: Instant, tuple: FiveTuple) {
        if self.selected != Some(tuple) {
            self.selected = Some(tuple);
            self.selected_at = now;
            self.selections = self.selections.saturating_add(1);
            self.events.push_back(IceEvent::Selected(tuple));
        }
    }

    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.agent.poll_event() {
            let IceAgentEvent::NominatedSend {
                proto,
                source,
                destination,
            } = event
            else {
                continue;
            };
            let Some(protocol) = protocol(proto) else {
                continue;
            };
            let tuple = self.path(protocol, source, destination);
            self.nominated = true;
            self.select(now, tuple);
        }
    }

    pub(super) fn health(&self, now: Instant) -> Health {
        if self.failed {
            Health::Failed
        } else {
            self.assess(now)
        }
    }

    fn assess(&self, now: Instant) -> Health {
        let silence = self
            .last_authenticated
            .map(|then| now.saturating_duration_since(then));
        let alive =
            self.selected.is_some() && silence.is_some_and(|silence| silence < DISCONNECTED_AFTER);
        if alive {
            return Health::Connected;
        }
        let waited = match (self.nominated, self.started) {
            (true, _) => silence,
            // No path yet, or none since the restart.
            (false, Some(started)) => {
                let waited = now.saturating_duration_since(started);
                Some(
                    silence
                        .filter(|_| self.selected.is_some())
                        .map_or(waited, |silence| silence.min(waited)),
                )
            }
            (false, None) => None,
        };
        if waited.is_some_and(|waited| waited >= FAILED_AFTER) {
            Health::Failed
        } else if self.selected.is_some() {
            Health::Disconnected
        } else {
            Health::Checking
        }
    }

    /// When the agent wants to act or health changes by itself.
    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        if self.failed {
            return None;
        }
        let agent = self.checks_from.or_else(|| self.agent.poll_timeout());
        let silence = self.last_authenticated.filter(|_| self.selected.is_some());
        let start = self.started.filter(|_| !self.nominated);
        let health = [
            silence.map(|then| then + DISCONNECTED_AFTER),
            silence.map(|then| then + FAILED_AFTER),
            start.map(|then| then + FAILED_AFTER),
        ];
        let health = health
            .into_iter()
            .flatten()
            .filter(|at| *at > self.assessed)
            .min();
        earliest(agent, health)
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.tuples.len(), self.agent.remote_candidates().count())
    }
}

pub(super) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn creds(credentials: &IceCredentials) -> IceCreds {
    IceCreds {
        ufrag: credentials.ufrag.clone(),
        pass: credentials.password.clone(),
    }
}

fn protocol(protocol: is::Protocol) -> Option<Protocol> {
    match protocol {
        is::Protocol::Udp => Some(Protocol::Udp),
        is::Protocol::Tcp => Some(Protocol::Tcp),
        _ => None,
    }
}

fn endpoint(candidate: OutgoingCandidate) -> (Protocol, SocketAddr) {
    match candidate {
        OutgoingCandidate::Relayed(address) => (Protocol::Udp, address),
        OutgoingCandidate::ActiveTcp(address) => (Protocol::Tcp, address),
    }
}

fn agent_protocol(protocol: Protocol) -> is::Protocol {
    match protocol {
        // In memory there is no agent.
        Protocol::Udp | Protocol::Memory => is::Protocol::Udp,
        Protocol::Tcp => is::Protocol::Tcp,
    }
}
