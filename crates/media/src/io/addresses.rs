//! Which of this machine's addresses are offered as host candidates.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::EngineConfig;
use crate::transport::{LocalCandidate, Protocol};

/// The addresses that sockets bind: those configured, else both wildcards.
pub(super) fn to_bind(config: &EngineConfig) -> Vec<IpAddr> {
    if config.bind.is_empty() {
        vec![IpAddr::from([0; 4]), IpAddr::from([0; 16])]
    } else {
        config.bind.clone()
    }
}

/// Host candidates for sockets bound to `bound`.
pub(super) fn candidates(
    config: &EngineConfig,
    protocol: Protocol,
    bound: &[SocketAddr],
) -> io::Result<Vec<LocalCandidate>> {
    let mut own = Vec::new();
    for address in bound {
        if address.ip().is_unspecified() {
            let of_family = |ip: &IpAddr| ip.is_ipv4() == address.is_ipv4();
            let ips = interface_addresses(config)?.into_iter().filter(of_family);
            own.extend(ips.map(|ip| SocketAddr::new(ip, address.port())));
        } else {
            own.push(*address);
        }
    }
    let host = |address, base| LocalCandidate {
        protocol,
        address,
        base,
    };
    if config.node_addresses.is_empty() {
        return Ok(own.into_iter().map(|address| host(address, None)).collect());
    }
    let mut mapped = Vec::new();
    for node in &config.node_addresses {
        if let Some(base) = own.iter().find(|base| base.is_ipv4() == node.is_ipv4()) {
            mapped.push(host(SocketAddr::new(*node, base.port()), Some(*base)));
        }
    }
    Ok(mapped)
}

fn interface_addresses(config: &EngineConfig) -> io::Result<Vec<IpAddr>> {
    let wanted = |name: &str| {
        (config.interfaces_include.is_empty()
            || config.interfaces_include.iter().any(|it| it == name))
            && !config.interfaces_exclude.iter().any(|it| it == name)
    };
    let mut addresses = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        let ip = interface.ip();
        let usable = match ip {
            IpAddr::V4(ip) => !ip.is_link_local(),
            // A link-local address means nothing without its zone, which candidates cannot carry.
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        };
        if usable && wanted(&interface.name) && (config.allow_loopback || !ip.is_loopback()) {
            addresses.push(ip);
        }
    }
    // Loopback last: a peer on this machine reaches the others as well.
    addresses.sort_by_key(IpAddr::is_loopback);
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: Protocol = Protocol::Udp;

    fn host(address: SocketAddr, base: Option<SocketAddr>) -> LocalCandidate {
        LocalCandidate {
            protocol: UDP,
            address,
            base,
        }
    }

    fn bound() -> Vec<SocketAddr> {
        vec![SocketAddr::from(([127, 0, 0, 1], 7882))]
    }

    #[test]
    fn a_bound_address_is_offered_as_it_is() {
        let offered = candidates(&EngineConfig::default(), UDP, &bound()).unwrap();
        assert_eq!(offered, [host(bound()[0], None)]);
    }

    #[test]
    fn a_node_address_replaces_the_own_one_and_remembers_it() {
        let node: IpAddr = "203.0.113.7".parse().unwrap();
        let config = EngineConfig {
            node_addresses: vec![node],
            ..EngineConfig::default()
        };
        let offered = candidates(&config, UDP, &bound()).unwrap();
        assert_eq!(
            offered,
            [host(SocketAddr::new(node, 7882), Some(bound()[0]))]
        );
    }

    #[test]
    fn loopback_is_offered_only_where_allowed() {
        let wildcard = [SocketAddr::from(([0, 0, 0, 0], 7882))];
        let has_loopback = |config: &EngineConfig| {
            candidates(config, UDP, &wildcard)
                .unwrap()
                .iter()
                .any(|it| it.address.ip().is_loopback())
        };
        assert!(!has_loopback(&EngineConfig::default()));
        assert!(has_loopback(&EngineConfig {
            allow_loopback: true,
            ..EngineConfig::default()
        }));
    }
}
