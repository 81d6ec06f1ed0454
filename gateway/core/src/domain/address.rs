//! Addresses as limits see them: what one customer has counts as one.

use std::net::{IpAddr, Ipv6Addr};

/// What counts as one address: of IPv6 the /64, because that is what a single customer gets.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    prefix(address, 8)
}

/// The /48 of an IPv6 address: whoever floods may have a whole one, which is 65,536 networks.
#[must_use]
pub fn site(address: IpAddr) -> Option<IpAddr> {
    Some(prefix(address, 6)).filter(IpAddr::is_ipv6)
}

fn prefix(address: IpAddr, bytes: usize) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[bytes..].fill(0);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ipv6_the_beginning_counts_and_of_ipv4_everything() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(parse("2001:db8:1:2:3:4:5:6")), parse("2001:db8:1:2::"));
        assert_eq!(site(parse("2001:db8:1:2:3:4:5:6")), Some(parse("2001:db8:1::")));
        for address in ["10.0.0.1", "::ffff:10.0.0.1"] {
            assert_eq!((network(parse(address)), site(parse(address))), (parse("10.0.0.1"), None));
        }
    }
}
