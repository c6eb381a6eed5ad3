//! Calls go out to the internet; inside the house they reach only hosts that are allowed by name.
//!
//! Names are resolved here, every address is looked at, and the connection goes to the addresses looked at and no others: a name that
//! leads elsewhere a moment later (DNS rebinding) gains nothing. HTTP clients do not resolve an address written into a URL, so that is
//! looked at apart ([`Guard::check`]).

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// How a name is resolved.
pub(crate) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Who may be called.
#[derive(Clone)]
pub(crate) struct Guard {
    allow: Arc<BTreeSet<String>>,
    lookup: Lookup,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("allow", &self.allow).finish_non_exhaustive()
    }
}

/// A call that must not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// No address of a host lies in the internet.
    #[error("`{host}` is {ip}, which is not an address in the internet")]
    Inside {
        /// The host.
        host: String,
        /// One of its addresses.
        ip: IpAddr,
    },
    /// The call would cross the network in the open.
    #[error("calls to `{0}` would cross the network in the open")]
    Open(String),
    /// The address is none of the web, or has a user in it.
    #[error("it is no web address, or there is a user or a password in it")]
    Address,
}

impl Guard {
    /// Calls to the internet, and to the hosts in `allow`, whose names the system resolves.
    pub(crate) fn new(allow: &[String]) -> Self {
        Self::with_lookup(
            allow,
            Arc::new(|host| Box::pin(async move { tokio::net::lookup_host((host.as_str(), 0)).await.map(Iterator::collect) })),
        )
    }

    /// As [`Guard::new`], with names resolved by `lookup`.
    pub(crate) fn with_lookup(allow: &[String], lookup: Lookup) -> Self {
        Self { allow: Arc::new(allow.iter().map(|host| plain(host)).collect()), lookup }
    }

    /// Whether a host is allowed by name.
    pub(crate) fn allows(&self, host: &str) -> bool {
        self.allow.contains(&plain(host))
    }

    /// Whether a URL may be called, as far as can be said before its name is resolved.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Refused> {
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Refused::Address)?;
        if !url.username().is_empty() || url.password().is_some() || !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Address);
        }
        if self.allows(host) {
            return Ok(());
        }
        if url.scheme() != "https" {
            return Err(Refused::Open(host.to_owned()));
        }
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
            _ => return Ok(()),
        };
        if is_global(ip) { Ok(()) } else { Err(Refused::Inside { host: host.to_owned(), ip }) }
    }

    /// The addresses of a host that may be connected to.
    async fn addresses(&self, host: String) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let found = (self.lookup)(host.clone()).await?;
        if self.allows(&host) {
            return Ok(found);
        }
        let first = found.first().map(SocketAddr::ip);
        let global: Vec<SocketAddr> = found.into_iter().filter(|address| is_global(address.ip())).collect();
        match first {
            Some(ip) if global.is_empty() => Err(Box::new(Refused::Inside { host, ip })),
            _ => Ok(global),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, host) = (self.clone(), name.as_str().to_owned());
        Box::pin(async move { Ok(Box::new(guard.addresses(host).await?.into_iter()) as Addrs) })
    }
}

/// A host's name as it is compared.
fn plain(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase()
}

/// Whether an address is one of a single machine somewhere in the internet: what the registries of special-purpose addresses
/// (RFC 6890; IANA, 2025) do not set aside. An address that carries one of IPv4 counts as the one it carries.
pub(crate) fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_global_v4(ip),
        IpAddr::V6(ip) => match carried(ip) {
            Some(ip) => is_global_v4(ip),
            None => is_global_v6(ip),
        },
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)      // this network; private; loopback; multicast, reserved, broadcast
            | (100, 64..=127, _)            // shared by carriers; a cloud's metadata at 100.100.100.200
            | (169, 254, _)                 // link-local; most clouds' metadata
            | (172, 16..=31, _)             // private
            | (192, 0, 0 | 2)               // protocol assignments; documentation
            | (192, 88, 99)                 // 6to4 relays
            | (192, 168, _)                 // private
            | (198, 18 | 19, _)             // benchmarks
            | (198, 51, 100)                // documentation
            | (203, 0, 113) // documentation
    ) && ip != Ipv4Addr::new(168, 63, 129, 16) // Azure's host, in the middle of a public range
}

/// Global unicast is `2000::/3` (RFC 4291, 2.4); all else, `fc00::/7` and `fe80::/10` among it, is not.
fn is_global_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        [0x2001, 0..=0x01ff, ..] => false, // protocol assignments: Teredo, benchmarks, ORCHID
        [0x2001, 0x0db8, ..] => false,     // documentation
        [0x3fff, 0..=0x0fff, ..] => false, // documentation
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// The IPv4 address in one that is mapped (`::ffff:0:0/96`), translated by NAT64 (`64:ff9b::/96`) or by 6to4 (`2002::/16`).
fn carried(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str], table: &'static [(&'static str, &'static [&'static str])]) -> Guard {
        let allow: Vec<String> = allow.iter().map(|&host| host.to_owned()).collect();
        let lookup: Lookup = Arc::new(move |host| {
            let found = table.iter().find(|(name, _)| *name == host).map(|(_, ips)| *ips);
            Box::pin(async move {
                let ips = found.ok_or_else(|| io::Error::other("no such name"))?;
                Ok(ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect())
            })
        });
        Guard::with_lookup(&allow, lookup)
    }

    #[test]
    fn only_machines_in_the_internet_are_global() {
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:c0a8:101::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_global(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "52.94.133.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.254",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450:4001::1",
        ] {
            assert!(is_global(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn addresses_written_into_a_url_are_looked_at_in_every_spelling() {
        let guard = guard(&["crm.internal", "10.0.0.9", "[::1]"], &[]);
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://017700000001/",
            "https://[::ffff:7f00:1]/",
            "https://169.254.169.254/latest/meta-data/",
            "https://[fd00:ec2::254]/",
            "https://10.0.0.8:8443/",
            "https://0/",
        ] {
            assert!(matches!(guard.check(&Url::parse(url).unwrap()), Err(Refused::Inside { .. })), "{url}");
        }
        for url in [
            "https://8.8.8.8/",
            "https://api.example:8443/x",
            "http://crm.internal/",
            "https://CRM.internal./",
            "http://10.0.0.9/",
            "http://[::1]:80/",
        ] {
            assert_eq!(guard.check(&Url::parse(url).unwrap()), Ok(()), "{url}");
        }
        assert_eq!(guard.check(&Url::parse("http://api.example/").unwrap()), Err(Refused::Open("api.example".to_owned())));
        for url in ["https://me:pw@api.example/", "https://me@api.example/", "ftp://api.example/", "file:///etc/passwd", "data:x"] {
            assert_eq!(guard.check(&Url::parse(url).unwrap()), Err(Refused::Address), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_leads_only_to_addresses_that_were_looked_at() {
        static TABLE: &[(&str, &[&str])] = &[
            ("loop.example", &["127.0.0.1"]),
            ("cloud.example", &["169.254.169.254", "fd00:ec2::254"]),
            ("both.example", &["10.0.0.1", "8.8.8.8", "::1"]),
            ("crm.internal", &["10.0.0.1"]),
            ("empty.example", &[]),
        ];
        let guard = guard(&["crm.internal"], TABLE);
        let found = |host: &str| {
            let (guard, name) = (guard.clone(), host.parse::<Name>().ok());
            async move { guard.resolve(name.unwrap()).await.map(|found| found.map(|at| at.ip().to_string()).collect::<Vec<_>>()) }
        };
        for host in ["loop.example", "cloud.example"] {
            let error = found(host).await.unwrap_err();
            assert!(matches!(error.downcast_ref(), Some(Refused::Inside { .. })), "{host}: {error}");
        }
        assert_eq!(found("both.example").await.unwrap(), ["8.8.8.8"]);
        assert_eq!(found("crm.internal").await.unwrap(), ["10.0.0.1"]);
        assert_eq!(found("empty.example").await.unwrap(), [""; 0]);
        assert!(found("nobody.example").await.unwrap_err().downcast_ref::<Refused>().is_none());
    }

    #[tokio::test]
    async fn the_systems_own_names_are_looked_at_as_well() {
        let resolve = |allow: &[&str]| {
            let allow: Vec<String> = allow.iter().map(|&host| host.to_owned()).collect();
            async move { Guard::new(&allow).addresses("localhost".to_owned()).await }
        };
        assert!(resolve(&[]).await.unwrap_err().is::<Refused>());
        assert!(resolve(&["LocalHost"]).await.unwrap().iter().all(|at| at.ip().is_loopback()));
    }
}
