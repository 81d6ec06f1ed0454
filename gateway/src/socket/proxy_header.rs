//! The PROXY protocol: the header in which a trusted proxy that only passes bytes on says whose connection it is.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use ppp::{HeaderResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The largest header. Addresses take 232 bytes at the most; the rest is for what proxies add, like certificates'
/// names. The header itself may claim 64 KiB.
const MAX_BYTES: usize = 4096;
/// The longest line of version 1.
const MAX_LINE_BYTES: usize = 107;
/// How far it is looked ahead at once; most headers are shorter.
const WINDOW: usize = 512;

/// Why a connection that should have begun with a header is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    /// It ended before it began. Balancers check that way whether somebody listens.
    #[error("the connection ended without one")]
    Nothing,
    #[error("it is none, or larger than {MAX_BYTES} bytes, or was not finished")]
    Malformed,
    #[error("it did not come in time")]
    Late,
}

impl HeaderError {
    /// Its name in metrics.
    pub(super) fn result(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Malformed => "bad",
            Self::Late => "timeout",
        }
    }
}

/// Whether a peer must begin with a header.
pub(super) fn is_expected_of(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|network| network.contains(&peer))
}

/// Reads the header and not one byte more. The address is the client's, or none if the proxy speaks for itself or
/// does not know.
///
/// # Errors
/// There is no such header; the connection is of no use then.
pub(super) async fn read(stream: &mut TcpStream, timeout: Duration) -> Result<Option<SocketAddr>, HeaderError> {
    tokio::time::timeout(timeout, read_all(stream)).await.map_err(|_| HeaderError::Late)?
}

async fn read_all(stream: &mut TcpStream) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = Vec::new();
    let mut window = [0; WINDOW];
    loop {
        // Looked at and not taken: what follows the header is HTTP's.
        let ahead = stream.peek(&mut window).await.unwrap_or_default();
        if ahead == 0 {
            return Err(if header.is_empty() { HeaderError::Nothing } else { HeaderError::Malformed });
        }
        let before = header.len();
        header.extend_from_slice(&window[..ahead]);
        let parsed = parse(&header)?;
        let taken = parsed.map_or(ahead, |(length, _)| length - before);
        stream.read_exact(&mut window[..taken]).await.map_err(|_| HeaderError::Malformed)?;
        if let Some((_, client)) = parsed {
            return Ok(client);
        }
    }
}

/// The length of the header that these bytes begin with, and its address; nothing as long as it is not all there.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Option<SocketAddr>)>, HeaderError> {
    let Some(length) = length(bytes)? else { return Ok(None) };
    let client = match HeaderResult::parse(&bytes[..length]) {
        HeaderResult::V1(Ok(header)) => of_v1(&header.addresses),
        HeaderResult::V2(Ok(header)) => of_v2(&header),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => return Err(HeaderError::Malformed),
    };
    Ok(Some((length, client)))
}

/// How long the header is, once that many bytes are there. The parser is given whole headers only: of some that end
/// within a port it says that they cannot become one.
fn length(bytes: &[u8]) -> Result<Option<usize>, HeaderError> {
    let begins_like = |prefix: &[u8]| bytes.iter().zip(prefix).all(|(byte, expected)| byte == expected);
    if begins_like(v2::PROTOCOL_PREFIX) {
        let fixed = v2::PROTOCOL_PREFIX.len() + 4;
        let Some(head) = bytes.get(..fixed) else { return Ok(None) };
        let length = fixed + usize::from(u16::from_be_bytes([head[fixed - 2], head[fixed - 1]]));
        return if length > MAX_BYTES {
            Err(HeaderError::Malformed)
        } else {
            Ok((bytes.len() >= length).then_some(length))
        };
    }
    let line = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
    match line.iter().position(|byte| *byte == b'\n') {
        _ if !begins_like(v1::PROTOCOL_PREFIX.as_bytes()) => Err(HeaderError::Malformed),
        Some(end) => Ok(Some(end + 1)),
        None if line.len() == MAX_LINE_BYTES => Err(HeaderError::Malformed),
        None => Ok(None),
    }
}

fn of_v1(addresses: &v1::Addresses) -> Option<SocketAddr> {
    match addresses {
        v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Unknown => None,
    }
}

fn of_v2(header: &v2::Header<'_>) -> Option<SocketAddr> {
    if header.command == v2::Command::Local {
        // The proxy's own connection, a health check: whatever addresses it has are to be ignored.
        return None;
    }
    match &header.addresses {
        v2::Addresses::IPv4(ip) => Some((ip.source_address, ip.source_port).into()),
        v2::Addresses::IPv6(ip) => Some((ip.source_address, ip.source_port).into()),
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A version 2 header: command, family and protocol, and what follows the length.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[0x20 | command, family], &length, rest].concat()
    }

    const V4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];

    fn client(bytes: &[u8]) -> Result<Option<Option<String>>, HeaderError> {
        Ok(parse(bytes)?.map(|(_, client)| client.map(|client| client.to_string())))
    }

    #[test]
    fn whose_connection_it_is() {
        let v6: Vec<u8> = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 16], &[0x1f, 0x90, 0, 80]].concat();
        let with_more = [&V4[..], &[3, 0, 4, 1, 2, 3, 4], &[0xff, 0xff, 0xff]].concat();
        let known: [(&[u8], &str); 5] = [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 8080 80\r\n", "203.0.113.7:8080"),
            (b"PROXY TCP6 2001:db8::7 ::1 8080 80\r\n", "[2001:db8::7]:8080"),
            (&binary(1, 0x11, &V4), "203.0.113.7:8080"),
            (&binary(1, 0x11, &with_more), "203.0.113.7:8080"),
            (&binary(1, 0x21, &v6), "[2001:db8::7]:8080"),
        ];
        for (bytes, expected) in known {
            assert_eq!(client(bytes), Ok(Some(Some(expected.to_owned()))), "{bytes:?}");
        }
        let unknown: [&[u8]; 6] = [
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
            &binary(0, 0x11, &V4),
            &binary(0, 0, &[]),
            &binary(1, 0, &[3, 0, 1, 0]),
            &binary(1, 0x31, &[b'/'; 216]),
        ];
        for bytes in unknown {
            assert_eq!(client(bytes), Ok(Some(None)), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_malformed() {
        let lying = [v2::PROTOCOL_PREFIX, &[0x21, 0x11, 0xff, 0xff]].concat();
        let cases: [&[u8]; 13] = [
            b"GET /socket.io/ HTTP/1.1\r\n",
            b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
            b"PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 99999\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"proxy UNKNOWN\r\n",
            b"PROXY \xff\r\n",
            &[b'P'; 200],
            &[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(),
            &lying,
            &binary(1, 0x11, &V4[..11]),
            &binary(2, 0x11, &V4),
            &[v2::PROTOCOL_PREFIX, &[0x11, 0x11, 0, 12], &V4].concat(),
        ];
        for bytes in cases {
            assert_eq!(client(bytes), Err(HeaderError::Malformed), "{:?}", String::from_utf8_lossy(bytes));
        }
        let largest = binary(1, 0, &vec![0; MAX_BYTES - 16]);
        assert_eq!(client(&largest), Ok(Some(None)));
        assert_eq!(client(&binary(1, 0, &vec![0; MAX_BYTES - 15])), Err(HeaderError::Malformed));
    }

    #[test]
    fn only_trusted_peers_must_send_one() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        assert!(is_expected_of("10.1.2.3".parse().unwrap(), &trusted));
        assert!(is_expected_of("::ffff:10.1.2.3".parse().unwrap(), &trusted));
        assert!(!is_expected_of("11.1.2.3".parse().unwrap(), &trusted));
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(listener.accept(), TcpStream::connect(address));
        (near.unwrap().0, far.unwrap())
    }

    #[tokio::test]
    async fn it_is_read_in_pieces_and_what_follows_is_left() {
        for header in
            [b"PROXY TCP4 203.0.113.7 10.0.0.1 8080 80\r\n".to_vec(), binary(1, 0x11, &[&V4[..], &[0; 700]].concat())]
        {
            let (mut near, mut far) = pair().await;
            let sent = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let writing = tokio::spawn(async move {
                far.set_nodelay(true).unwrap();
                for piece in sent.chunks(3) {
                    far.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
            let client = read(&mut near, Duration::from_secs(20)).await.unwrap();
            assert_eq!(client, Some("203.0.113.7:8080".parse().unwrap()));
            let mut rest = String::new();
            near.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "GET / HTTP/1.1\r\n");
            writing.await.unwrap();
        }
    }

    #[tokio::test]
    async fn one_that_never_ends_is_waited_for_no_longer_than_agreed() {
        let (mut near, mut far) = pair().await;
        far.write_all(b"PROXY TCP4 ").await.unwrap();
        assert_eq!(read(&mut near, Duration::from_millis(50)).await, Err(HeaderError::Late));
        let (mut near, mut far) = pair().await;
        far.write_all(b"PROXY TCP4 ").await.unwrap();
        drop(far);
        assert_eq!(read(&mut near, Duration::from_secs(20)).await, Err(HeaderError::Malformed));
        let (mut near, far) = pair().await;
        drop(far);
        assert_eq!(read(&mut near, Duration::from_secs(20)).await, Err(HeaderError::Nothing));
    }

    fn some_header() -> impl Strategy<Value = Vec<u8>> {
        let text = (any::<[u8; 4]>(), any::<u16>()).prop_map(|(address, port)| {
            format!("PROXY TCP4 {} 10.0.0.1 {port} 80\r\n", std::net::Ipv4Addr::from(address)).into_bytes()
        });
        let bytes = (0..=1u8, any::<[u8; 12]>(), proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(command, addresses, more)| binary(command, 0x11, &[&addresses[..], &more].concat()));
        prop_oneof![text, bytes]
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..600), is_v2: bool) {
            let bytes = if is_v2 { [v2::PROTOCOL_PREFIX, &bytes].concat() } else { bytes };
            if let Ok(Some((length, _))) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }

        /// However it is cut: incomplete until its last byte, and the same whatever follows.
        #[test]
        fn a_header_ends_where_it_ends(header in some_header(), more in proptest::collection::vec(any::<u8>(), 0..50)) {
            for end in 1..header.len() {
                prop_assert_eq!(parse(&header[..end]), Ok(None), "after {}", end);
            }
            let whole = parse(&header);
            prop_assert!(matches!(whole, Ok(Some((length, _))) if length == header.len()));
            prop_assert_eq!(parse(&[&header[..], &more].concat()), whole);
        }
    }
}
