//! Which addresses are offered as host candidates: this machine's, or those that they are mapped to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{EngineConfig, ExternalAddresses};
use crate::transport::{LocalCandidate, Protocol};

/// Addresses with a common prefix, written `10.0.0.0/8` or as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Bits.
    prefix: u8,
}

impl Network {
    fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = u32::from(own) ^ u32::from(other);
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = u128::from(own) ^ u128::from(other);
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not a network, as in \"10.0.0.0/8\"");
        let (address, prefix) = text.split_once('/').unzip();
        let address: IpAddr = address.unwrap_or(text).parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if prefix > most {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

/// An own address and the one that the world sees in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) own: IpAddr,
    pub(super) external: IpAddr,
}

/// The addresses that sockets bind: those configured, else both wildcards.
pub(super) fn to_bind(config: &EngineConfig) -> Vec<IpAddr> {
    if config.bind.is_empty() {
        vec![IpAddr::from([0; 4]), IpAddr::from([0; 16])]
    } else {
        config.bind.clone()
    }
}

/// The addresses by which sockets bound to `bound` are reached: of a wildcard, those of the interfaces.
pub(super) fn own(config: &EngineConfig, bound: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
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
    Ok(own)
}

/// What is offered of `own`, given what of it is known to be mapped.
pub(super) fn candidates(
    config: &EngineConfig,
    protocol: Protocol,
    own: &[SocketAddr],
    mappings: &[Mapping],
) -> Vec<LocalCandidate> {
    let host = |address, base| LocalCandidate {
        protocol,
        address,
        base,
    };
    if let (Some(external), false) = (&config.external, mappings.is_empty()) {
        return mapped(external, own, mappings, host);
    }
    if config.node_addresses.is_empty() {
        return own.iter().map(|address| host(*address, None)).collect();
    }
    let replaced = config.node_addresses.iter().filter_map(|node| {
        let base = own.iter().find(|base| base.is_ipv4() == node.is_ipv4())?;
        Some(host(SocketAddr::new(*node, base.port()), Some(*base)))
    });
    replaced.collect()
}

/// External addresses first, as clients elsewhere need them; the port is the same on both sides.
fn mapped(
    external: &ExternalAddresses,
    own: &[SocketAddr],
    mappings: &[Mapping],
    host: impl Fn(SocketAddr, Option<SocketAddr>) -> LocalCandidate,
) -> Vec<LocalCandidate> {
    let of = |address: &SocketAddr| mappings.iter().find(|it| it.own == address.ip());
    let outside = own.iter().filter_map(|address| {
        let mapping = of(address)?;
        let known = SocketAddr::new(mapping.external, address.port());
        Some(host(known, (known != *address).then_some(*address)))
    });
    let inside = own.iter().filter(|address| match of(address) {
        Some(mapping) => external.advertise_internal && mapping.external != address.ip(),
        // An IPv6 address is seldom mapped, and known to the world all the same.
        None => !external.only || address.is_ipv6(),
    });
    let inside = inside.map(|address| host(*address, None));
    outside.chain(inside).collect()
}

/// With both lists only the first counts, as in LiveKit's configuration.
fn wanted<T>(included: &[T], excluded: &[T], is: impl Fn(&T) -> bool) -> bool {
    if included.is_empty() {
        !excluded.iter().any(is)
    } else {
        included.iter().any(is)
    }
}

fn interface_addresses(config: &EngineConfig) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        let (name, ip) = (interface.name.as_str(), interface.ip());
        let usable = match ip {
            IpAddr::V4(ip) => !ip.is_link_local(),
            // A link-local address means nothing without its zone, which candidates cannot carry.
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        };
        if usable
            && (config.allow_loopback || !ip.is_loopback())
            && wanted(
                &config.interfaces_include,
                &config.interfaces_exclude,
                |it| it == name,
            )
            && wanted(&config.networks_include, &config.networks_exclude, |it| {
                it.contains(ip)
            })
        {
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

    const TCP: Protocol = Protocol::Tcp;

    fn host(address: SocketAddr, base: Option<SocketAddr>) -> LocalCandidate {
        LocalCandidate {
            protocol: TCP,
            address,
            base,
        }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn offered(
        config: &EngineConfig,
        own: &[&str],
        mapped: &[(&str, &str)],
    ) -> Vec<LocalCandidate> {
        let own: Vec<_> = own.iter().map(|it| at(it)).collect();
        let mappings: Vec<_> = mapped
            .iter()
            .map(|(own, external)| Mapping {
                own: own.parse().unwrap(),
                external: external.parse().unwrap(),
            })
            .collect();
        candidates(config, TCP, &own, &mappings)
    }

    fn external(only: bool, advertise_internal: bool) -> EngineConfig {
        EngineConfig {
            external: Some(ExternalAddresses {
                only,
                advertise_internal,
                ..ExternalAddresses::default()
            }),
            ..EngineConfig::default()
        }
    }

    #[test]
    fn a_bound_address_is_offered_as_it_is() {
        let bound = [at("127.0.0.1:7882")];
        let config = EngineConfig::default();
        assert_eq!(own(&config, &bound).unwrap(), bound);
        assert_eq!(
            candidates(&config, TCP, &bound, &[]),
            [host(at("127.0.0.1:7882"), None)]
        );
    }

    #[test]
    fn a_node_address_replaces_the_own_one_and_remembers_it() {
        let config = EngineConfig {
            node_addresses: vec!["203.0.113.7".parse().unwrap()],
            ..EngineConfig::default()
        };
        assert_eq!(
            offered(&config, &["127.0.0.1:7882", "[2001:db8::7]:7882"], &[]),
            [host(at("203.0.113.7:7882"), Some(at("127.0.0.1:7882")))]
        );
    }

    #[test]
    fn an_external_address_stands_for_the_one_it_is_mapped_to() {
        let own = ["10.0.0.2:7882", "172.17.0.1:7882", "[2001:db8::7]:7882"];
        let mapped = [("10.0.0.2", "203.0.113.7")];
        let outside = host(at("203.0.113.7:7882"), Some(at("10.0.0.2:7882")));
        let [first, bridge, v6] = own.map(|it| host(at(it), None));
        assert_eq!(
            offered(&external(false, false), &own, &mapped),
            [outside, bridge, v6]
        );
        assert_eq!(
            offered(&external(true, false), &own, &mapped),
            [outside, v6]
        );
        assert_eq!(
            offered(&external(true, true), &own, &mapped),
            [outside, first, v6]
        );
    }

    #[test]
    fn a_public_address_is_offered_once() {
        let own = ["203.0.113.7:7882"];
        let mapped = [("203.0.113.7", "203.0.113.7")];
        assert_eq!(
            offered(&external(false, true), &own, &mapped),
            [host(at("203.0.113.7:7882"), None)]
        );
    }

    #[test]
    fn without_an_external_address_everything_is_as_if_none_was_asked_for() {
        let config = EngineConfig {
            node_addresses: vec!["203.0.113.7".parse().unwrap()],
            ..external(true, false)
        };
        assert_eq!(
            offered(&config, &["10.0.0.2:7882"], &[]),
            [host(at("203.0.113.7:7882"), Some(at("10.0.0.2:7882")))]
        );
    }

    #[test]
    fn loopback_is_offered_only_where_allowed() {
        let wildcard = [at("0.0.0.0:7882")];
        let has_loopback = |config: &EngineConfig| {
            let own = own(config, &wildcard).unwrap();
            own.iter().any(|it| it.ip().is_loopback())
        };
        assert!(!has_loopback(&EngineConfig::default()));
        let mut config = EngineConfig {
            allow_loopback: true,
            ..EngineConfig::default()
        };
        assert!(has_loopback(&config));
        config.networks_exclude = vec!["127.0.0.0/8".parse().unwrap()];
        assert!(!has_loopback(&config));
        config.networks_include = vec!["127.0.0.1".parse().unwrap()];
        assert_eq!(own(&config, &wildcard).unwrap(), [at("127.0.0.1:7882")]);
        config.interfaces_include = vec!["none".into()];
        assert!(!has_loopback(&config));
    }

    #[test]
    fn a_network_holds_what_has_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.7", "10.0.0.7", "10.0.0.6"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()));
            assert!(!network.contains(outside.parse().unwrap()));
        }
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "eth0",
            "::/129",
            "10.0.0.0/-1",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
