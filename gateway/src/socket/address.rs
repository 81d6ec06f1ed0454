//! Whose address a request has: the peer's, or what trusted proxies say about it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address. X-Forwarded-For is read from the right, past trusted proxies only: what a client wrote into
/// it itself stands further left and is never reached. What cannot be read ends the reading, for the same reason.
pub(super) fn of_client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client;
    }
    // Header maps keep their order; only the beginning can be walked from.
    let lines: Vec<&[u8]> = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        let Some(address) = std::str::from_utf8(hop).ok().and_then(|hop| parse(hop.trim())) else { break };
        client = address.to_canonical();
        if !is_trusted(client, trusted) {
            break;
        }
    }
    client
}

/// Whether an address is a trusted proxy's.
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address.to_canonical()))
}

/// An address, as some proxies write it with its port or in brackets.
fn parse(hop: &str) -> Option<IpAddr> {
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    hop.parse().ok().or_else(with_port).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        of_client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn the_header_counts_only_from_trusted_proxies_and_from_the_right() {
        let proxies = ["10.0.0.0/8"];
        assert_eq!(client("203.0.113.9", &["1.2.3.4"], &[]), "203.0.113.9");
        assert_eq!(client("203.0.113.9", &["1.2.3.4"], &proxies), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.2.3.4"], &proxies), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], &proxies), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.2.3.4"], &proxies), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["nonsense"], &proxies), "10.0.0.1");
        assert_eq!(client("::ffff:10.0.0.1", &["::ffff:1.2.3.4"], &proxies), "1.2.3.4");
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        let proxies = ["10.0.0.0/8", "fd00::/8"];
        assert_eq!(client("10.0.0.1", &["1.2.3.4:5678"], &proxies), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:5678, [fd00::1]"], &proxies), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &[" 1.2.3.4 ,\t10.0.0.2"], &proxies), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &proxies), "10.0.0.3", "all trusted: the furthest");
        assert_eq!(client("10.0.0.1", &[""], &proxies), "10.0.0.1");
    }

    #[test]
    fn what_cannot_be_read_does_not_lead_past_itself() {
        let proxies = ["10.0.0.0/8"];
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "\u{fc}, 1.2.3.4"], &proxies), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "\u{fc}"], &proxies), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"], &proxies), "10.0.0.2");
    }

    #[test]
    fn ten_thousand_entries_are_no_work() {
        let many = vec!["10.0.0.2"; 10_000].join(",");
        assert_eq!(client("10.0.0.1", &[&many], &["10.0.0.0/8"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &[&format!("{many},1.2.3.4")], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &vec!["6.6.6.6"; 10_000], &[]), "10.0.0.1");
    }

    proptest::proptest! {
        /// Whatever a client writes, the address that the trusted proxy appended is the one that counts.
        #[test]
        fn a_client_cannot_choose_its_address(
            own in "[\\PC&&[^\\u{7f}-\\u{9f}]]{0,60}", address: [u8; 4], separate: bool,
        ) {
            let seen = IpAddr::from(address);
            let (appended, two) = (format!("{own}, {seen}"), [own.clone(), seen.to_string()]);
            let lines: Vec<&str> = if separate { two.iter().map(String::as_str).collect() } else { vec![&appended] };
            let expected = if address[0] == 10 { None } else { Some(seen.to_string()) };
            if let Some(expected) = expected {
                proptest::prop_assert_eq!(client("10.0.0.1", &lines, &["10.0.0.0/8"]), expected);
            }
        }
    }
}
