//! Streams that clients open: to TURN servers, and to passive candidates.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, OnceLock};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use crate::api::Target;
use crate::client::{LinkId, TurnServer, TurnTransport};
use crate::io::stream::Stream;

/// Ports of `turn:` and `turns:` (RFC 7065).
const TURN_PORT: u16 = 3478;
const TURNS_PORT: u16 = 5349;
/// Addresses of one server that are tried, and servers in all.
const ADDRESSES: usize = 2;
const SERVERS: usize = 8;

/// One stream.
pub(super) struct Line {
    pub(super) target: Target,
    pub(super) link: LinkId,
    stream: Stream,
    open: bool,
    /// Something may be read or written.
    pub(super) ready: bool,
}

/// What came of a stream in a turn.
pub(super) enum Progress {
    /// It is open, with that address as our end.
    Open(SocketAddr),
    Read(usize),
    Nothing,
    Ended,
}

/// The system's certificates, read once.
fn tls_config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            log::warn!("a certificate of the system cannot be read: {error}");
        }
        roots.add_parsable_certificates(found.certs);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_root_certificates(roots).with_no_client_auth());
        // The provider has these versions.
        Arc::new(builder.unwrap_or_else(|error| unreachable!("{error}")))
    });
    Arc::clone(config)
}

impl Line {
    /// Begins to connect.
    pub(super) fn connect(
        registry: &Registry,
        token: Token,
        (target, link): (Target, LinkId),
        remote: SocketAddr,
        tls: Option<&str>,
    ) -> io::Result<Self> {
        let socket = TcpStream::connect(remote)?;
        let mut stream = match tls {
            Some(name) => Stream::tls_to(socket, tls_config(), name)?,
            None => Stream::plain(socket),
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(stream.source(), token, interest)?;
        Ok(Self {
            target,
            link,
            stream,
            open: false,
            ready: false,
        })
    }

    /// Reads once; `ready` is cleared when there is no more.
    pub(super) fn poll(&mut self, buffer: &mut [u8]) -> Progress {
        self.advance(buffer).unwrap_or_else(|error| {
            log::debug!("a stream of a client ended: {error}");
            Progress::Ended
        })
    }

    fn advance(&mut self, buffer: &mut [u8]) -> io::Result<Progress> {
        if !self.open {
            let socket = self.stream.socket();
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
            if socket.peer_addr().is_err() {
                // Not yet.
                self.ready = false;
                return Ok(Progress::Nothing);
            }
            let _ = socket.set_nodelay(true);
            let local = socket.local_addr()?;
            self.open = true;
            self.write(&[])?;
            return Ok(Progress::Open(local));
        }
        self.stream.flush()?;
        match self.stream.read(buffer)? {
            Some(0) => Ok(Progress::Nothing),
            Some(count) => Ok(Progress::Read(count)),
            None => {
                self.ready = false;
                Ok(Progress::Nothing)
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.queue(bytes)?;
        self.stream.flush()
    }

    /// Sends bytes; what does not go is lost, and a broken stream shows when it is read.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if self.write(bytes).is_err() {
            self.ready = true;
        }
    }
}

/// The URL of an ICE server, before its name is resolved.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Url {
    host: String,
    port: u16,
    /// `None` for STUN.
    transport: Option<TurnTransport>,
    username: String,
    password: String,
}

impl Url {
    /// `turn:host:port?transport=udp` (RFC 7065) or `stun:host:port` (RFC 7064); `None` for others.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.trim().split_once(':')?;
        let is = |name| scheme.eq_ignore_ascii_case(name);
        let tls = is("turns");
        if !tls && !is("turn") && !is("stun") {
            return None;
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let default = if tls { TURNS_PORT } else { TURN_PORT };
        let (host, port) = match place.strip_prefix('[') {
            Some(six) => {
                let (host, port) = six.split_once(']')?;
                (host, port.strip_prefix(':'))
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = port.map_or(Some(default), |port| port.parse().ok())?;
        let tcp = query.eq_ignore_ascii_case("transport=tcp");
        let transport = match (is("stun"), tls, tcp) {
            (true, ..) => None,
            (_, true, _) => Some(TurnTransport::Tls(host.to_owned())),
            (_, _, true) => Some(TurnTransport::Tcp),
            _ => Some(TurnTransport::Udp),
        };
        (!host.is_empty()).then(|| Self {
            host: host.to_owned(),
            port,
            transport,
            username: String::new(),
            password: String::new(),
        })
    }
}

/// URLs of a server, with username and password.
pub type IceServer = (Vec<String>, String, String);

/// What there is to ask for: the first servers, however many there are.
pub(super) fn urls(servers: &[IceServer]) -> Vec<Url> {
    let urls = servers.iter().flat_map(|(urls, username, password)| {
        let urls = urls.iter().filter_map(|url| Url::parse(url));
        urls.map(move |url| Url {
            username: username.clone(),
            password: password.clone(),
            ..url
        })
    });
    urls.take(SERVERS).collect()
}

/// ICE servers by address.
#[derive(Default)]
pub(super) struct Found {
    pub(super) turn: Vec<TurnServer>,
    pub(super) stun: Vec<SocketAddr>,
}

/// Asks the system for names, which may take seconds.
pub(super) fn resolve(urls: &[Url]) -> Found {
    resolve_by(urls, |host| {
        let addresses = (host, 0).to_socket_addrs().map_err(|error| {
            log::warn!("ICE server {host}: {error}");
        });
        let addresses = addresses.into_iter().flatten();
        addresses.take(ADDRESSES).collect()
    })
}

/// Most servers have several URLs: each name is asked for once.
fn resolve_by(urls: &[Url], mut ask: impl FnMut(&str) -> Vec<SocketAddr>) -> Found {
    let mut known: BTreeMap<&str, Vec<SocketAddr>> = BTreeMap::new();
    let mut found = Found::default();
    for url in urls {
        let addresses = known
            .entry(url.host.as_str())
            .or_insert_with(|| ask(&url.host));
        for mut address in addresses.iter().copied() {
            address.set_port(url.port);
            match &url.transport {
                Some(transport) => found.turn.push(TurnServer {
                    address,
                    transport: transport.clone(),
                    username: url.username.clone(),
                    password: url.password.clone(),
                }),
                None => found.stun.push(address),
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_ice_servers_are_read_and_others_left() {
        let url = |text: &str| {
            let url = Url::parse(text)?;
            Some((url.host, url.port, url.transport))
        };
        let tls = Some(TurnTransport::Tls("turn.example".into()));
        let (udp, tcp) = (Some(TurnTransport::Udp), Some(TurnTransport::Tcp));
        for (text, expected) in [
            ("turn:192.0.2.1", ("192.0.2.1", 3478, udp.clone())),
            ("stun:stun.example:19302", ("stun.example", 19_302, None)),
            ("stun:192.0.2.1", ("192.0.2.1", 3478, None)),
            (
                "turn:turn.example:80?transport=tcp",
                ("turn.example", 80, tcp),
            ),
            (
                "turns:turn.example:443?transport=tcp",
                ("turn.example", 443, tls.clone()),
            ),
            ("turns:turn.example", ("turn.example", 5349, tls)),
            (
                "turn:[2001:db8::1]:3479?transport=udp",
                ("2001:db8::1", 3479, udp),
            ),
        ] {
            let (host, port, transport) = expected;
            assert_eq!(url(text), Some((host.into(), port, transport)), "{text}");
        }
        for text in [
            "stuns:stun.example:3478",
            "turn:",
            "turn:host:port",
            "http://x",
            "",
        ] {
            assert_eq!(url(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_is_asked_for_once_whatever_urls_it_has() {
        let of_one = [
            "stun:turn.example",
            "turn:turn.example",
            "turn:turn.example?transport=tcp",
            "turns:turn.example:443?transport=tcp",
        ];
        let told = vec![(
            of_one.map(Into::into).to_vec(),
            String::new(),
            String::new(),
        )];
        let mut asked = Vec::new();
        let found = resolve_by(&urls(&told), |host| {
            asked.push(host.to_owned());
            vec![SocketAddr::from(([192, 0, 2, 1], 0))]
        });
        assert_eq!(asked, ["turn.example"]);
        let ports: Vec<u16> = found.turn.iter().map(|it| it.address.port()).collect();
        assert_eq!(ports, [3478, 3478, 443]);
        assert_eq!(found.stun, [SocketAddr::from(([192, 0, 2, 1], 3478))]);
    }

    #[test]
    fn a_flood_of_servers_is_cut_before_their_names_are_asked_for() {
        let url = |number: usize| format!("turn:host-{number}.example");
        let many: Vec<String> = (0..1_000).map(url).collect();
        let servers = vec![(many, "user".into(), "secret".into()); 50];
        let urls = urls(&servers);
        assert_eq!(urls.len(), SERVERS);
        assert!(urls.iter().all(|url| url.username == "user"));
    }
}
