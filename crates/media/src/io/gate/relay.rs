//! The TURN server's sockets: what comes by UDP and by streams into one [`Server`], and out again.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::connections::Connections;
use super::members::Members;
use crate::io::bell::Mailbox;
use crate::io::socket::ReceiveBuffers;
use crate::io::worker::{Arrival, Sockets};
use crate::transport::{FiveTuple, Protocol};
use crate::turn::{Leg, LegTransport, Server, ToMedia};

/// Batches read from a socket before the others have their turn.
const BATCHES_A_TURN: usize = 4;

pub(super) struct Relay {
    pub(super) server: Server,
    pub(super) sockets: Sockets,
    members: Members,
    buffers: ReceiveBuffers,
    wrapped: Vec<u8>,
}

impl Relay {
    pub(super) fn new(server: Server, sockets: Sockets, members: Members) -> Self {
        Self {
            server,
            sockets,
            members,
            buffers: ReceiveBuffers::new(),
            wrapped: Vec::new(),
        }
    }

    /// What is due without a packet.
    pub(super) fn keep(&mut self, now: Instant) {
        self.members.tell(now, &mut self.server);
        self.server.handle_timeout(now);
    }

    /// A slice of what the UDP sockets have.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        workers: &[Mailbox<Arrival>],
        connections: &mut Connections,
    ) {
        let unix = unix_time();
        for index in 0..self.sockets.iter().len() {
            for _ in 0..BATCHES_A_TURN {
                let sockets = &mut self.sockets;
                let Some(socket) = sockets.iter_mut().nth(index).filter(|it| it.readable) else {
                    break;
                };
                let (server, members) = (&mut self.server, &mut self.members);
                let received = socket.receive(&mut self.buffers, |local, remote, datagram| {
                    members.tell(now, server);
                    let leg = Leg {
                        transport: LegTransport::Udp,
                        local,
                        remote,
                    };
                    if let Some(data) = server.handle(now, unix, leg, datagram) {
                        hand_over(data, workers);
                    }
                });
                if let Err(error) = received {
                    log::warn!("cannot receive on turn.udp_port: {error}");
                }
                // Before more comes in: the queue of answers is short.
                self.answer(connections);
            }
        }
    }

    /// One packet of a stream.
    pub(super) fn take(
        &mut self,
        now: Instant,
        leg: Leg,
        packet: &[u8],
        workers: &[Mailbox<Arrival>],
    ) {
        self.members.tell(now, &mut self.server);
        if let Some(data) = self.server.handle(now, unix_time(), leg, packet) {
            hand_over(data, workers);
        }
    }

    /// Sends a worker's datagrams to a relayed address on to its client.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        tuple: &FiveTuple,
        datagrams: impl Iterator<Item = impl AsRef<[u8]>>,
        connections: &mut Connections,
    ) {
        for datagram in datagrams {
            self.wrapped.clear();
            let (relayed, local) = (tuple.remote, tuple.local);
            let out = &mut self.wrapped;
            if let Some(leg) = self
                .server
                .from_media(now, relayed, local, datagram.as_ref(), out)
            {
                send(&self.sockets, connections, leg, &self.wrapped);
            }
        }
    }

    /// Sends the answers that there are.
    pub(super) fn answer(&mut self, connections: &mut Connections) {
        while let Some((leg, answer)) = self.server.poll_transmit() {
            send(&self.sockets, connections, leg, &answer);
        }
    }
}

/// What cannot be sent is lost.
fn send(sockets: &Sockets, connections: &mut Connections, leg: Leg, packet: &[u8]) {
    if leg.transport == LegTransport::Udp {
        if let Some(socket) = sockets.for_local(leg.local) {
            socket.send(leg.local.ip(), leg.remote, packet, packet.len());
        }
    } else if let Some(key) = connections.of_leg(&leg)
        && let Some(connection) = connections.get_mut(key)
    {
        let stream = &mut connection.stream;
        if let Err(error) = stream.queue(packet).and_then(|()| stream.flush()) {
            log::debug!("the relay cannot send to {}: {error}", leg.remote);
        }
    }
}

fn hand_over(data: ToMedia<'_>, workers: &[Mailbox<Arrival>]) {
    if let Some(worker) = workers.get(data.worker) {
        worker.put(Arrival {
            tuple: FiveTuple {
                protocol: Protocol::Udp,
                local: data.local,
                remote: data.relayed,
            },
            contents: data.data.to_vec(),
        });
    }
}

/// Seconds since 1970.
fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| it.as_secs())
}
