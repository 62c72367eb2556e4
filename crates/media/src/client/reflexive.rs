//! Our addresses as others see them (RFC 8445 §5.1.1.2): asked of STUN servers, and told to the server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::paths::{Leg, Outgoing};
use super::{Client, ClientEvent};
use crate::random::Random;
use crate::turn::binding;
use crate::turn::message::{Message, Transaction};

/// First wait for an answer; doubled each time (RFC 8489 §6.2.1).
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Times that a server is asked.
const MOST_ASKED: u8 = 5;
/// Servers that are asked.
const MOST_SERVERS: usize = 4;
/// Type preference 100, the only component (RFC 8445 §5.1.2.1).
const PRIORITY: u32 = (100 << 24) | (65_535 << 8) | 255;

struct Question {
    server: SocketAddr,
    transaction: Transaction,
    asked: u8,
    again_at: Instant,
    wait: Duration,
}

/// See the module.
#[derive(Default)]
pub(super) struct Reflexive {
    questions: Vec<Question>,
    /// Addresses that were told since the last restart.
    told: Vec<SocketAddr>,
}

impl Reflexive {
    fn ask(&mut self, now: Instant, servers: &[SocketAddr], random: &mut Random) {
        self.told.clear();
        let servers = servers.iter().take(MOST_SERVERS);
        self.questions = servers
            .map(|server| Question {
                server: *server,
                transaction: random.bytes(),
                asked: 0,
                again_at: now,
                wait: FIRST_WAIT,
            })
            .collect();
    }

    /// No answer counts any more.
    pub(super) fn forget(&mut self) {
        self.questions.clear();
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.questions.iter().map(|it| it.again_at).min()
    }

    /// Sends the questions that are due.
    pub(super) fn flush(&mut self, now: Instant, send: &mut impl FnMut(Outgoing<'_>)) {
        self.questions.retain_mut(|question| {
            if question.again_at > now {
                return true;
            }
            if question.asked == MOST_ASKED {
                return false;
            }
            question.asked += 1;
            question.again_at = now + question.wait;
            question.wait *= 2;
            let packet = binding::request(question.transaction);
            Leg::Datagrams(question.server).send(&packet, send);
            true
        });
    }

    /// Takes a datagram from one of the servers; `None` when it is no answer. Then the address, if it is news.
    fn take(&mut self, remote: SocketAddr, datagram: &[u8]) -> Option<Option<SocketAddr>> {
        let from = |it: &Question| it.server == remote;
        if !self.questions.iter().any(from) {
            return None;
        }
        let message = Message::parse(datagram)?;
        let asked = |it: &Question| from(it) && it.transaction == message.transaction;
        let at = self.questions.iter().position(asked)?;
        self.questions.swap_remove(at);
        let mapped = binding::answer(datagram).map(|(_, mapped)| mapped);
        let mapped = mapped.filter(|it| !self.told.contains(it));
        self.told.extend(mapped);
        Some(mapped)
    }
}

impl Connection {
    /// Asks who we are, where it may help to be reached there.
    pub(super) fn ask_reflexive(
        &mut self,
        now: Instant,
        servers: &[SocketAddr],
        random: &mut Random,
    ) {
        self.reflexive.forget();
        if !self.relay_only && !self.transport.has_path() {
            self.reflexive.ask(now, servers, random);
        }
    }
}

impl Client {
    /// Takes a datagram that came from a STUN server; `false` when it is none. `local` is where it came to.
    pub(super) fn take_reflexive(
        &mut self,
        at: usize,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let Some(connection) = self.connections.get_mut(at) else {
            return false;
        };
        let Some(mapped) = connection.reflexive.take(remote, datagram) else {
            return false;
        };
        // Seen as we are, we are reached by the candidates that are told already.
        let mapped = mapped.filter(|it| *it != local && it.is_ipv4() == local.is_ipv4());
        if let Some(mapped) = mapped.filter(|_| !connection.relay_only) {
            let number = connection.reflexive.told.len();
            let (ip, port) = (mapped.ip(), mapped.port());
            let (base, base_port) = (local.ip(), local.port());
            let candidate = format!(
                "candidate:srflx{number} 1 udp {PRIORITY} {ip} {port} typ srflx raddr {base} rport {base_port}"
            );
            self.events.push_back(ClientEvent::Candidate {
                target: connection.target,
                candidate,
                mid: "0".into(),
                mline: 0,
            });
        }
        true
    }
}
