//! Which network addresses a connection may use.
//!
//! A tenant chooses the host of its ConnectWise and of its webhooks, so a request must not reach the operator's own
//! network. Host names are checked when they are resolved for connecting, so that the address cannot change between
//! check and use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Resolves names with the system's resolver and drops every address that is not public.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublicOnly;

/// A host that has only private addresses.
#[derive(Debug, thiserror::Error)]
#[error("{0} leads to a private, loopback or link-local address, which this service does not connect to")]
pub(crate) struct PrivateAddress(pub(crate) String);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> = found.into_iter().filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(PrivateAddress(host).into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// Returns the private address error, if that is why a request failed.
pub(crate) fn private_address<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e PrivateAddress> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(private) = error.downcast_ref::<PrivateAddress>() {
            return Some(private);
        }
        cause = error.source();
    }
    None
}

/// Returns the first cause of an error. The messages above it may contain a URL.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Whether an address belongs to the public internet.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let shared = a == 100 && (64..128).contains(&b); // RFC 6598
    let benchmark = a == 198 && (b == 18 || b == 19); // RFC 2544
    let reserved = a == 0 || a >= 240;
    let special = (a, b, c) == (192, 0, 0) || (a, b, c) == (192, 88, 99); // RFC 6890; RFC 7526, 6to4 relays
    !(v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation()
        || shared
        || benchmark
        || reserved
        || special)
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    if let Some(v4) = v6.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let [first, second, third, fourth, .., high, low] = v6.segments();
    if [first, second, third, fourth] == [0x64, 0xff9b, 0, 0] {
        // NAT64 connects to the IPv4 address in the last 32 bits.
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Global unicast is 2000::/3. Excluded are 6to4 (2002::/16) and Teredo (2001::/32), which both reach IPv4 hosts,
    // and the documentation ranges.
    (0x2000..0x4000).contains(&first)
        && first != 0x2002
        && ![[0x2001, 0xdb8], [0x2001, 0]].contains(&[first, second])
        && !(first == 0x3fff && second < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_recognised() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "192.0.0.8",
            "192.88.99.1",
            "2001::7f00:1",
            "2001:0:53aa:64c::1",
            "3fff::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "52.1.2.3",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "192.88.98.1",
            "2001:200::1",
            "2606:4700::1111",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
