//! A TURN server between clients and the server's media.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roomful_media::client::{TurnServer, TurnTransport};
use roomful_media::turn::{self, Leg, LegTransport, MediaAddresses, Route, ServerConfig};

use crate::peer::Datagram;
use crate::server::Server;

const SECRET: [u8; 32] = [7; 32];
const SID: &str = "PA_guest";
const UNIX: u64 = 1_800_000_000;

pub struct Relay {
    server: turn::Server,
    begun: Instant,
}

impl Relay {
    pub fn address() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 2], 3_478))
    }

    pub fn new(now: Instant) -> Self {
        let media = MediaAddresses::default();
        let local = Server::address();
        media.insert(local, Route { worker: 0, local });
        let config = ServerConfig::new(SECRET);
        let mut server = turn::Server::new(config, Arc::new(media), now);
        server.admit(SID);
        Self { server, begun: now }
    }

    /// What clients are told of it.
    pub fn told(&self) -> TurnServer {
        let (username, password) = turn::credentials(&SECRET, SID, UNIX + 86_400);
        TurnServer {
            address: Self::address(),
            transport: TurnTransport::Udp,
            username,
            password,
        }
    }

    pub fn allocations(&self) -> usize {
        self.server.allocations()
    }

    fn leg(client: SocketAddr, transport: LegTransport) -> Leg {
        Leg {
            local: Self::address(),
            remote: client,
            transport,
        }
    }

    /// Its answers to one message on a client's stream.
    pub fn answer(&mut self, now: Instant, client: SocketAddr, message: &[u8]) -> Vec<Vec<u8>> {
        let leg = Self::leg(client, LegTransport::Stream(1));
        self.server.handle(now, UNIX, leg, message);
        std::iter::from_fn(|| self.server.poll_transmit())
            .map(|(_, answer)| answer)
            .collect()
    }

    /// What a client's datagram leads to: one for the media, or answers.
    pub fn handle(&mut self, now: Instant, datagram: &Datagram) -> Vec<Datagram> {
        let unix = UNIX + now.saturating_duration_since(self.begun).as_secs();
        let leg = Self::leg(datagram.source, LegTransport::Udp);
        self.server.handle_timeout(now);
        let to_media = self.server.handle(now, unix, leg, &datagram.contents);
        let mut out: Vec<Datagram> = to_media
            .map(|it| Datagram {
                source: it.relayed,
                destination: it.local,
                contents: it.data.to_vec(),
            })
            .into_iter()
            .collect();
        while let Some((leg, contents)) = self.server.poll_transmit() {
            out.push(Datagram {
                source: leg.local,
                destination: leg.remote,
                contents,
            });
        }
        out
    }

    /// A datagram of the media to a relayed address, on its way to the client.
    pub fn wrap(&mut self, now: Instant, datagram: &Datagram) -> Option<Datagram> {
        let mut contents = Vec::new();
        let (relayed, media) = (datagram.destination, datagram.source);
        let bytes = &datagram.contents;
        let leg = self
            .server
            .from_media(now, relayed, media, bytes, &mut contents)?;
        Some(Datagram {
            source: leg.local,
            destination: leg.remote,
            contents,
        })
    }
}

/// Long enough for a relay's first answer, and a path through it.
pub const SOON: Duration = Duration::from_secs(3);
