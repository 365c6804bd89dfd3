//! Address of a client: the other end of the connection, or the one that a trusted proxy names.
//!
//! A proxy appends the address that it saw to `X-Forwarded-For`; what stands before that the client may have
//! written itself. So the list is read from its end, and whom we do not trust ends the walk.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use ipnet::IpNet;

/// The header in which proxies tell whom they serve.
const FORWARDED: &str = "x-forwarded-for";

/// The address of the client that sent a request, in its extensions. An IPv4 address is always written as
/// one, also where it came over an IPv6 socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// Stands for all addresses of one holder: whoever has an IPv6 address has a whole /64 of them.
pub(crate) fn address_block(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

/// The proxies whose word counts; none by default.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

/// The other end of one connection.
#[derive(Clone, Debug)]
pub struct Peer {
    address: IpAddr,
    /// Those to believe; `None` if this end is not one of them.
    proxies: Option<TrustedProxies>,
}

impl TrustedProxies {
    /// Trusts whoever is in one of `blocks`.
    #[must_use]
    pub fn new(blocks: &[IpNet]) -> TrustedProxies {
        TrustedProxies(blocks.into())
    }

    /// The other end of a connection, judged once for all its requests.
    #[must_use]
    pub fn peer(&self, address: SocketAddr) -> Peer {
        let address = address.ip().to_canonical();
        Peer { address, proxies: self.trusts(address).then(|| self.clone()) }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(&address))
    }
}

impl Peer {
    /// Whom a request with these headers is from.
    #[must_use]
    pub fn client(&self, headers: &HeaderMap) -> ClientAddress {
        let mut nearest = self.address;
        if let Some(proxies) = &self.proxies {
            // Several lines are one list in their order.
            let lines = headers.get_all(FORWARDED).iter().rev();
            for entry in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
                // What is no address nobody vouches for, nor for what stands before it.
                let Some(address) = read(entry) else { break };
                nearest = address;
                if !proxies.trusts(address) {
                    break;
                }
            }
        }
        ClientAddress(nearest)
    }
}

/// An address, perhaps in brackets or with a port.
fn read(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).or_else(bare).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.1:4000";

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(&["10.0.0.0/8", "fd00::/8"].map(|block| block.parse().unwrap()))
    }

    fn client_of(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        proxies().peer(peer.parse().unwrap()).client(&headers).0.to_string()
    }

    #[test]
    fn the_last_whom_no_proxy_stands_for_is_the_client() {
        for (lines, client) in [
            (&[][..], "10.0.0.1"),
            (&["203.0.113.7"], "203.0.113.7"),
            (&["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7,10.0.0.2 ,\t10.0.0.3"], "203.0.113.7"),
            (&["198.51.100.1", "203.0.113.7", "10.0.0.2"], "203.0.113.7"),
            (&["203.0.113.7, 10.0.0.2", "10.0.0.3"], "203.0.113.7"),
            (&["10.0.0.4, 10.0.0.3", "10.0.0.2"], "10.0.0.4"),
        ] {
            assert_eq!(client_of(PROXY, lines), client, "{lines:?}");
        }
    }

    #[test]
    fn from_anyone_else_the_header_says_nothing() {
        for peer in ["203.0.113.9:1", "[2001:db8::1]:1", "11.0.0.1:1"] {
            let address = peer.parse::<SocketAddr>().unwrap().ip().to_string();
            assert_eq!(client_of(peer, &["198.51.100.1"]), address);
        }
        let peer = TrustedProxies::default().peer(PROXY.parse().unwrap());
        let headers = HeaderMap::from_iter([(FORWARDED.parse().unwrap(), HeaderValue::from_static("::1"))]);
        assert_eq!(peer.client(&headers).0.to_string(), "10.0.0.1", "nobody is trusted");
    }

    #[test]
    fn entries_may_have_ports_and_brackets_and_either_family() {
        for (entry, client) in [
            ("203.0.113.7:51000", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:51000", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("203.0.113.7, ::ffff:10.0.0.9", "203.0.113.7"),
            ("203.0.113.7, [fd00::1]:443", "203.0.113.7"),
        ] {
            assert_eq!(client_of(PROXY, &[entry]), client, "{entry}");
            assert_eq!(client_of("[::ffff:10.0.0.1]:4000", &[entry]), client, "{entry} over IPv6");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_walk_before_it() {
        for garbage in
            ["unknown", "", " ", "_hidden", "[203.0.113.7]", "203.0.113.7:", "1.2.3", "a:80", "\u{e9}"]
        {
            assert_eq!(client_of(PROXY, &[garbage]), "10.0.0.1", "{garbage:?}");
            assert_eq!(client_of(PROXY, &[&format!("203.0.113.7, {garbage}, 10.0.0.2")]), "10.0.0.2");
            assert_eq!(client_of(PROXY, &["203.0.113.7", garbage, "10.0.0.2"]), "10.0.0.2");
        }
    }

    /// Every list of up to `length` of `words`.
    fn lists<'a>(words: &[&'a str], length: usize) -> Vec<Vec<&'a str>> {
        let mut all = vec![Vec::new()];
        let mut last = all.clone();
        for _ in 0..length {
            let longer =
                |list: &Vec<&'a str>| words.iter().map(|word| [&list[..], &[*word]].concat()).collect();
            last = last.iter().flat_map(|list| -> Vec<_> { longer(list) }).collect();
            all.extend(last.iter().cloned());
        }
        all
    }

    /// Whatever a client writes there itself, and however the proxies on the way write lines, it stays who it
    /// is.
    #[test]
    fn no_client_makes_itself_another() {
        let words = ["10.0.0.2", "198.51.100.1", "[2001:db8::1]:5", "unknown", ""];
        for forged in lists(&words, 4) {
            for honest in ["203.0.113.7", "203.0.113.7, 10.0.0.2", "203.0.113.7:6, [fd00::1], 10.0.0.3"] {
                let in_lines = [&forged[..], &[honest]].concat();
                assert_eq!(client_of(PROXY, &in_lines), "203.0.113.7", "{in_lines:?}");
                let in_one = in_lines.join(", ");
                assert_eq!(client_of(PROXY, &[&in_one]), "203.0.113.7", "{in_one:?}");
            }
        }
    }

    /// The rule as one would say it: of what is readable at the end, the last that is not trusted, else the
    /// first, else the peer.
    #[test]
    fn the_walk_keeps_to_the_rule() {
        let words = ["10.0.0.2", "10.0.0.3", "203.0.113.7", "198.51.100.1", "unknown"];
        for list in lists(&words, 5) {
            let from = list.iter().rposition(|word| *word == "unknown").map_or(0, |at| at + 1);
            let readable = &list[from..];
            let foreign = readable.iter().rfind(|word| !word.starts_with("10."));
            let wanted = foreign.or(readable.first()).copied().unwrap_or("10.0.0.1");
            assert_eq!(client_of(PROXY, &[&list.join(",")]), wanted, "{list:?}");
        }
    }
}
