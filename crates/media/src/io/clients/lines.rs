//! Streams that clients open: to TURN servers, and to passive candidates.

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

/// A TURN server's URL before its name is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TurnUrl {
    host: String,
    port: u16,
    transport: TurnTransport,
}

impl TurnUrl {
    /// `turn:host:port?transport=udp` (RFC 7065); `None` for others, `stun:` among them.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.trim().split_once(':')?;
        let tls = scheme.eq_ignore_ascii_case("turns");
        if !tls && !scheme.eq_ignore_ascii_case("turn") {
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
        let transport = match (tls, tcp) {
            (true, _) => TurnTransport::Tls(host.to_owned()),
            (false, true) => TurnTransport::Tcp,
            (false, false) => TurnTransport::Udp,
        };
        (!host.is_empty()).then(|| Self {
            host: host.to_owned(),
            port,
            transport,
        })
    }

    /// Asks the system for the addresses; may take seconds.
    fn resolve(&self, username: &str, password: &str) -> Vec<TurnServer> {
        let place = (self.host.as_str(), self.port);
        let addresses = place.to_socket_addrs().map_err(|error| {
            log::warn!("TURN server {}: {error}", self.host);
        });
        let addresses = addresses.into_iter().flatten().take(ADDRESSES);
        addresses
            .map(|address| TurnServer {
                address,
                transport: self.transport.clone(),
                username: username.to_owned(),
                password: password.to_owned(),
            })
            .collect()
    }
}

/// URLs of a server, with username and password.
pub type IceServer = (Vec<String>, String, String);

/// The TURN servers among these, by address. Asks the system for names, which may take seconds.
pub(super) fn resolve(servers: &[IceServer]) -> Vec<TurnServer> {
    let urls = servers.iter().flat_map(|(urls, username, password)| {
        let urls = urls.iter().filter_map(|url| TurnUrl::parse(url));
        urls.flat_map(move |url| url.resolve(username, password))
    });
    urls.take(SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_turn_servers_are_read_and_others_left() {
        let url = |text: &str| {
            let url = TurnUrl::parse(text)?;
            Some((url.host, url.port, url.transport))
        };
        let tls = TurnTransport::Tls("turn.example".into());
        for (text, expected) in [
            ("turn:192.0.2.1", ("192.0.2.1", 3478, TurnTransport::Udp)),
            (
                "turn:turn.example:80?transport=tcp",
                ("turn.example", 80, TurnTransport::Tcp),
            ),
            (
                "turns:turn.example:443?transport=tcp",
                ("turn.example", 443, tls.clone()),
            ),
            ("turns:turn.example", ("turn.example", 5349, tls)),
            (
                "turn:[2001:db8::1]:3479?transport=udp",
                ("2001:db8::1", 3479, TurnTransport::Udp),
            ),
        ] {
            let (host, port, transport) = expected;
            assert_eq!(url(text), Some((host.into(), port, transport)), "{text}");
        }
        for text in [
            "stun:stun.example:3478",
            "turn:",
            "turn:host:port",
            "http://x",
            "",
        ] {
            assert_eq!(url(text), None, "{text}");
        }
    }
}
