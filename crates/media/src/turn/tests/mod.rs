//! The relay against scripted clients, on a clock that the tests move.

mod client;
mod hostile;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::credentials::integrity_key;
use super::message::{Class, Message, Transaction, Writer, attribute, method};
use super::{Leg, LegTransport, MediaAddresses, Route, Server, ServerConfig, ToMedia, credentials};

const SECRET: [u8; 32] = [7; 32];
/// The wall clock, which stands still.
const UNIX: u64 = 1_800_000_000;
const MEDIA: &str = "203.0.113.7:7882";
/// The socket behind [`MEDIA`].
const SOCKET: &str = "10.0.0.5:7882";
const MEDIA_IPV6: &str = "[2001:db8::7]:7882";

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// What a server said to a request.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Success,
    Error(u16),
    Nothing,
}

/// A server, and one client that does as it is told.
struct World {
    server: Server,
    media: Arc<MediaAddresses>,
    now: Instant,
    leg: Leg,
    username: String,
    password: String,
    nonce: Vec<u8>,
    requests: u8,
    /// The last answer.
    answer: Vec<u8>,
}

impl World {
    fn new() -> Self {
        Self::with(ServerConfig::new(SECRET))
    }

    fn with(config: ServerConfig) -> Self {
        let media = Arc::new(MediaAddresses::default());
        let now = Instant::now();
        for (worker, advertised, local) in [(1, MEDIA, SOCKET), (2, MEDIA_IPV6, MEDIA_IPV6)] {
            let local = at(local);
            media.insert(at(advertised), Route { worker, local });
        }
        let (username, password) = credentials(&SECRET, "PA_one", UNIX + 300);
        let mut server = Server::new(config, Arc::clone(&media), now);
        server.admit("PA_one");
        Self {
            server,
            media,
            now,
            leg: Leg {
                transport: LegTransport::Udp,
                local: at("203.0.113.7:3478"),
                remote: at("198.51.100.20:50000"),
            },
            username,
            password,
            nonce: Vec::new(),
            requests: 0,
            answer: Vec::new(),
        }
    }

    fn with_allocation() -> Self {
        let mut world = Self::new();
        assert_eq!(world.allocate(), Said::Success);
        world
    }

    /// Goes on as another client.
    fn change_port(&mut self, port: u16) {
        self.leg.remote.set_port(port);
        self.nonce.clear();
    }

    /// Goes on as another participant.
    fn hold(&mut self, sid: &str, expiry: u64) {
        self.server.admit(sid);
        (self.username, self.password) = credentials(&SECRET, sid, expiry);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.server.handle_timeout(self.now);
    }

    fn give<'a>(&mut self, packet: &'a [u8]) -> Option<ToMedia<'a>> {
        self.server.handle(self.now, UNIX, self.leg, packet)
    }

    /// Gives a packet that is to be answered at once, or not at all.
    fn ask_raw(&mut self, packet: &[u8]) -> Said {
        assert_eq!(self.give(packet), None);
        let Some((leg, answer)) = self.server.poll_transmit() else {
            return Said::Nothing;
        };
        assert_eq!(leg, self.leg);
        assert_eq!(self.server.poll_transmit(), None);
        self.answer = answer;
        let message = Message::parse(&self.answer).unwrap();
        if let Some(nonce) = message.get(attribute::NONCE) {
            self.nonce = nonce.to_vec();
        }
        match message.class {
            Class::Success => Said::Success,
            _ => Said::Error(message.error().unwrap().0),
        }
    }

    /// A signed request, as its bytes.
    fn request(&mut self, method: u16, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        self.requests = self.requests.wrapping_add(1);
        let mut packet = Vec::new();
        let mut writer = Writer::new(&mut packet, Class::Request, method, [self.requests; 12]);
        fill(&mut writer);
        writer
            .put(attribute::USERNAME, self.username.as_bytes())
            .put(attribute::REALM, b"livekit")
            .put(attribute::NONCE, &self.nonce)
            .sign(&integrity_key(&self.username, "livekit", &self.password));
        packet
    }

    /// Asks by a signed request, after having got a nonce.
    fn ask(&mut self, method: u16, fill: impl FnOnce(&mut Writer<'_>)) -> Said {
        if self.nonce.is_empty() {
            assert_eq!(self.ask_raw(&allocate_unsigned()), Said::Error(401));
        }
        let packet = self.request(method, fill);
        let said = self.ask_raw(&packet);
        if said == Said::Success {
            let key = integrity_key(&self.username, "livekit", &self.password);
            assert!(self.message().is_signed_by(&key));
        }
        said
    }

    fn allocate(&mut self) -> Said {
        self.ask(method::ALLOCATE, over_udp)
    }

    fn permit(&mut self, peer: SocketAddr) -> Said {
        self.ask(method::CREATE_PERMISSION, |it| {
            it.put_address(attribute::XOR_PEER_ADDRESS, peer);
        })
    }

    fn bind(&mut self, number: u16, peer: SocketAddr) -> Said {
        let [high, low] = number.to_be_bytes();
        self.ask(method::CHANNEL_BIND, |it| {
            it.put(attribute::CHANNEL_NUMBER, &[high, low, 0, 0])
                .put_address(attribute::XOR_PEER_ADDRESS, peer);
        })
    }

    fn refresh(&mut self, lifetime: u32) -> Said {
        self.ask(method::REFRESH, |it| {
            it.put(attribute::LIFETIME, &lifetime.to_be_bytes());
        })
    }

    fn message(&self) -> Message<'_> {
        Message::parse(&self.answer).unwrap()
    }

    fn relayed(&self) -> SocketAddr {
        let address = self.message().address(attribute::XOR_RELAYED_ADDRESS);
        address.unwrap()
    }

    /// Whether a Send indication to the peer comes through.
    fn sends(&mut self, peer: SocketAddr) -> bool {
        self.give(&indication(peer, b"data")).is_some()
    }

    /// What the media's datagram becomes on its way to the client.
    fn media_sends(&mut self, relayed: SocketAddr, local: &str, data: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"whatever was there".to_vec();
        let leg = self
            .server
            .from_media(self.now, relayed, at(local), data, &mut out)?;
        assert_eq!(leg, self.leg);
        Some(out)
    }
}

fn over_udp(writer: &mut Writer<'_>) {
    writer.put(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

fn message(
    class: Class,
    method: u16,
    transaction: Transaction,
    fill: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let mut packet = Vec::new();
    fill(&mut Writer::new(&mut packet, class, method, transaction));
    packet
}

/// The question that every client begins with.
fn allocate_unsigned() -> Vec<u8> {
    message(Class::Request, method::ALLOCATE, [0xaa; 12], over_udp)
}

fn indication(peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    message(Class::Indication, method::SEND, [1; 12], |it| {
        it.put_address(attribute::XOR_PEER_ADDRESS, peer)
            .put(attribute::DATA, data);
    })
}

fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    super::channel::write(&mut packet, number, data, false);
    packet
}
