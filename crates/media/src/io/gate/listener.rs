//! The TCP sockets that listen for the gate.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpListener;
use socket2::{Domain, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// RFC 6544.
    Ice,
    /// RFC 8656.
    Turn,
    TurnTls,
}

impl Door {
    /// The setting that the port comes from.
    pub(super) fn setting(self) -> &'static str {
        match self {
            Self::Ice => "rtc.tcp_port",
            Self::Turn => "turn.udp_port",
            Self::TurnTls => "turn.tls_port",
        }
    }
}

pub(super) struct Listener {
    pub(super) door: Door,
    pub(super) socket: TcpListener,
    pub(super) address: SocketAddr,
    /// Connections may be waiting.
    pub(super) readable: bool,
}

/// Listens on `port` (0: any) of each address. An IPv6 wildcard that the system lacks is left out.
pub(super) fn listen(door: Door, addresses: &[IpAddr], port: u16) -> io::Result<Vec<Listener>> {
    let mut listeners: Vec<Listener> = Vec::new();
    for ip in addresses {
        let port = listeners.first().map_or(port, |first| first.address.port());
        match bind(SocketAddr::new(*ip, port)) {
            Ok((socket, address)) => listeners.push(Listener {
                door,
                socket,
                address,
                readable: false,
            }),
            Err(_) if ip.is_ipv6() && ip.is_unspecified() && !listeners.is_empty() => {}
            Err(error) => {
                let setting = door.setting();
                let text = format!("cannot listen on TCP {ip} port {port} ({setting}): {error}");
                return Err(io::Error::new(error.kind(), text));
            }
        }
    }
    Ok(listeners)
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restarted server takes the port over from connections that are still closing.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from_std(socket.into());
    let address = socket.local_addr()?;
    Ok((socket, address))
}
