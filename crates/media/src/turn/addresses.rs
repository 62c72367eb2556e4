//! The addresses on both ends of the relay: our media's, and those that we name as relayed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use rustc_hash::FxHashMap;

/// Of the addresses that no host has (240.0.0.0/4, RFC 1112 §4). Those for documentation would not do: there are
/// machines that have one.
const IPV4_NET: [u8; 3] = [240, 0, 2];
/// The discard prefix (RFC 6666).
const IPV6_NET: u64 = 0x0100_0000_0000_0000;
/// Relayed ports are even, as EVEN-PORT may ask for, and none of the well-known ones.
const FIRST_PORT: u64 = 1024;
const PORTS: u64 = (65_536 - FIRST_PORT) / 2;
const IPV4_HOSTS: u64 = 254;

/// Whether an address is one that this relay names: a datagram to it goes to the relay, never to a socket.
#[inline]
#[must_use]
pub fn is_relayed(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.octets().starts_with(&IPV4_NET),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64 == IPV6_NET,
    }
}

/// The relayed address with this number; IPv4 comes round after eight million, IPv6 never does.
pub(super) fn relayed(number: u64, ipv6: bool) -> SocketAddr {
    if ipv6 {
        let ip = Ipv6Addr::from_bits(u128::from(IPV6_NET) << 64 | u128::from(number));
        return SocketAddr::new(ip.into(), FIRST_PORT as u16);
    }
    let port = FIRST_PORT + number % PORTS * 2;
    let host = 1 + number / PORTS % IPV4_HOSTS;
    let [a, b, c] = IPV4_NET;
    SocketAddr::new(Ipv4Addr::new(a, b, c, host as u8).into(), port as u16)
}

/// Where a datagram to one of our media addresses goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index of the worker that owns the socket.
    pub worker: usize,
    /// The worker's own socket: differs from what is advertised behind a mapped address.
    pub local: SocketAddr,
}

/// Our media's addresses as clients are told them, each with its way: what the relay lets through, and all
/// that it does. Shared with whoever learns of a new one.
#[derive(Debug, Default)]
pub struct MediaAddresses(RwLock<Table>);

#[derive(Debug, Default)]
struct Table {
    routes: FxHashMap<SocketAddr, Route>,
    /// How many of the addresses have this IP.
    ips: FxHashMap<IpAddr, usize>,
}

impl MediaAddresses {
    /// Adds an address as advertised. What names no host (unspecified, multicast, an IPv4 address in IPv6's
    /// clothes, port 0) or is itself relayed is not taken.
    pub fn insert(&self, advertised: SocketAddr, route: Route) {
        let ip = advertised.ip();
        let is_host = !ip.is_unspecified() && !ip.is_multicast() && ip == ip.to_canonical();
        if !is_host || advertised.port() == 0 || is_relayed(advertised) {
            return;
        }
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if table.routes.insert(plain(advertised), route).is_none() {
            *table.ips.entry(ip).or_default() += 1;
        }
    }

    /// The way to exactly this address and port.
    #[must_use]
    pub fn route(&self, advertised: SocketAddr) -> Option<Route> {
        self.read(|table| table.routes.get(&advertised).copied())
    }

    /// Whether some port of this address is ours.
    pub(super) fn has_ip(&self, ip: IpAddr) -> bool {
        self.read(|table| table.ips.contains_key(&ip))
    }

    /// The families that there are: (IPv4, IPv6).
    pub(super) fn families(&self) -> (bool, bool) {
        self.read(|table| {
            let any = |ipv4: bool| table.ips.keys().any(|ip| ip.is_ipv4() == ipv4);
            (any(true), any(false))
        })
    }

    fn read<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Without scope and flow, which an attribute does not carry.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}
