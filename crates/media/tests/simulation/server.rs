//! The media plane as the world drives it: in turns, without I/O.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use roomful_media::api::{Command, Event};
use roomful_media::plane::{Plane, PlaneConfig};
use roomful_media::transport::{FiveTuple, Identity, LocalCandidate, Protocol};

use crate::peer::Datagram;

pub struct Server {
    plane: Plane,
    transmits: VecDeque<Datagram>,
    /// Datagrams sent and batches they went in.
    pub datagrams: u64,
    pub batches: u64,
    /// Times that its timers woke it.
    pub wake_ups: u64,
}

impl Server {
    pub fn address() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 7_882))
    }

    pub fn new(now: Instant, seed: u64) -> Self {
        let candidate = LocalCandidate {
            protocol: Protocol::Udp,
            address: Self::address(),
            base: None,
        };
        let config = PlaneConfig {
            identity: Identity::for_simulation(seed).expect("a certificate"),
            candidates: vec![candidate],
            seed: Some(seed),
            unix_time: Some(Duration::from_secs(1_800_000_000)),
        };
        Self {
            plane: Plane::new(config, now),
            transmits: VecDeque::new(),
            datagrams: 0,
            batches: 0,
            wake_ups: 0,
        }
    }

    pub fn handle_command(&mut self, now: Instant, command: Command) {
        self.plane.handle_command(now, command);
        self.drain(now);
    }

    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        let tuple = FiveTuple {
            protocol: Protocol::Udp,
            local: datagram.destination,
            remote: datagram.source,
        };
        let mut contents = datagram.contents;
        self.plane.handle_datagram(now, tuple, &mut contents);
        self.drain(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.wake_ups += 1;
        self.plane.handle_timeout(now);
        self.drain(now);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.plane.poll_timeout()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.plane.poll_event()
    }

    pub fn poll_transmit(&mut self) -> Option<Datagram> {
        self.transmits.pop_front()
    }

    fn drain(&mut self, now: Instant) {
        let Self {
            plane,
            transmits,
            datagrams,
            batches,
            ..
        } = self;
        plane.drain(now, |batch| {
            *batches += 1;
            for contents in batch.contents.chunks(batch.segment.max(1)) {
                *datagrams += 1;
                transmits.push_back(Datagram {
                    source: batch.tuple.local,
                    destination: batch.tuple.remote,
                    contents: contents.to_vec(),
                });
            }
        });
    }
}
