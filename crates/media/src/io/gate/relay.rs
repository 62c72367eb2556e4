//! The TURN server's sockets: what comes by UDP and by streams into one [`Server`], and out again.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::connections::Connections;
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
    buffers: ReceiveBuffers,
    wrapped: Vec<u8>,
}

impl Relay {
    pub(super) fn new(server: Server, sockets: Sockets) -> Self {
        Self {
            server,
            sockets,
            buffers: ReceiveBuffers::new(),
            wrapped: Vec::new(),
        }
    }

    /// A slice of what the UDP sockets have.
    pub(super) fn receive(&mut self, now: Instant, workers: &[Mailbox<Arrival>]) {
        let unix = unix_time();
        for socket in self.sockets.iter_mut() {
            for _ in 0..BATCHES_A_TURN {
                if !socket.readable {
                    break;
                }
                let server = &mut self.server;
                let received = socket.receive(&mut self.buffers, |local, remote, datagram| {
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
