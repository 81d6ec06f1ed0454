//! Requests.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::{Poller, Raw, World};

#[tokio::test]
async fn several_requests_share_a_connection_even_in_one_piece() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let mut raw = Raw::connect(&world).await;
    let post = format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n42[1]", poller.path());
    let get = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", poller.path());
    raw.write(format!("{post}{get}GET /page HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    assert_eq!(raw.answer().await.2, "ok");
    assert_eq!(raw.answer().await.2, "42[1]");
    assert_eq!(raw.answer().await.2, "GET /page 0");
}

#[tokio::test]
async fn others_have_their_turn_between_requests_that_came_in_one_piece() {
    const REQUESTS: usize = 2000;
    let world = World::new(|_| {}).await;
    // All is there before the only thread gets to serve it.
    let mut flood = std::net::TcpStream::connect(world.address).unwrap();
    flood.write_all("GET /page HTTP/1.1\r\nHost: x\r\n\r\n".repeat(REQUESTS).as_bytes()).unwrap();
    let reading = std::thread::spawn(move || {
        flood.shutdown(std::net::Shutdown::Write).unwrap();
        flood.read_to_end(&mut Vec::new()).unwrap();
    });
    let (mut served, mut most) = (0, 0);
    while served < REQUESTS {
        tokio::task::yield_now().await;
        let now = world.seen.pages.load(Ordering::SeqCst);
        most = most.max(now - served);
        served = now;
    }
    assert!(most <= 150, "{most} requests in one turn");
    reading.join().unwrap();
}

#[tokio::test]
async fn an_answer_in_pieces_goes_on_until_its_reader_goes_or_the_server_stops() {
    let world = World::new(|_| {}).await;
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let (mut text, mut piece) = (String::new(), [0; 1024]);
    while !text.ends_with("3\r\ntwo\r\n") {
        let length = tokio::io::AsyncReadExt::read(&mut stream, &mut piece).await.unwrap();
        assert!(length > 0, "{text}");
        text.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
    assert!(text.contains("transfer-encoding: chunked\r\n") && text.contains("\r\n\r\n4\r\none \r\n"), "{text}");
    assert!(!text.contains("content-length"), "{text}");
    world.stop();
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await.unwrap();
    assert_eq!(rest, b"0\r\n\r\n", "it ended, and did not break off");
}

#[tokio::test]
async fn bodies_come_in_chunks_and_when_they_are_asked_for() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let mut raw = Raw::connect(&world).await;
    raw.write(format!("POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", poller.path())).await;
    for byte in b"42[1]" {
        raw.write([b"1\r\n".as_slice(), &[*byte], b"\r\n"].concat()).await;
    }
    raw.write("0\r\n\r\n").await;
    assert_eq!(raw.answer().await.2, "ok");
    raw.write(format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        poller.path()
    ))
    .await;
    assert_eq!(raw.answer().await.0, 100);
    raw.write("42[2]").await;
    assert_eq!(raw.answer().await.2, "ok");
}

#[tokio::test]
async fn what_is_not_http_as_it_should_be_is_refused_and_nothing_else_is_read() {
    let world = World::new(|_| {}).await;
    let path = "/socket.io/?EIO=4&transport=polling";
    for (request, status) in [
        (format!("GET {path} HTTP/1.1\nHost: x\n\n"), 400),
        (format!("GET {path} HTTP/1.1\r\n\r\n"), 400),
        (format!("GET {path} HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"), 400),
        (format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
        (format!("GET {path} HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "x".repeat(20_000)), 431),
        (format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"), 400),
        (format!("PUT {path} HTTP/1.1\r\nHost: x\r\n\r\n"), 400),
        ("POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n".to_owned(), 413),
    ] {
        let mut raw = Raw::connect(&world).await;
        raw.write(&request).await;
        let (answered, head, _) = raw.answer_to(request.starts_with("HEAD")).await;
        assert_eq!(answered, status, "{request}");
        assert!(head.contains("connection: close"), "{head}");
        assert!(raw.ends().await);
    }
    assert_eq!(world.server.connections(), 0);
}

#[tokio::test]
async fn old_http_is_answered_and_closed() {
    let world = World::new(|_| {}).await;
    let mut raw = Raw::connect(&world).await;
    raw.write("GET /socket.io/?EIO=4&transport=polling HTTP/1.0\r\n\r\n").await;
    let (status, head, body) = raw.answer().await;
    assert!(status == 200 && body.starts_with("0{") && head.contains("cache-control: no-store"), "{head}");
    assert!(raw.ends().await);
}

#[tokio::test]
async fn heads_have_their_time_and_idle_connections_another() {
    let world = World::new(|settings| {
        settings.header_timeout = Duration::from_millis(100);
        settings.keep_alive = Duration::from_millis(600);
    })
    .await;
    let mut slow = Raw::connect(&world).await;
    slow.write("GET / HT").await;
    assert_eq!(slow.answer().await.0, 408);
    let mut silent = Raw::connect(&world).await;
    assert!(silent.ends().await, "who connects has something to ask");
    let mut raw = Raw::connect(&world).await;
    for _ in 0..2 {
        raw.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(raw.answer().await.0, 200);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let began = tokio::time::Instant::now();
    assert!(raw.ends().await);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn the_connection_that_is_idle_longest_makes_room_for_others() {
    let world = World::new(|settings| settings.idle_connections = 2).await;
    let mut raws = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::connect(&world).await;
        raw.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        raw.answer().await;
        raws.push(raw);
    }
    assert!(raws[0].ends().await);
    raws[2].write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(raws[2].answer().await.0, 200);
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_and_read_answers_unless_they_are_refused() {
    let world = World::new(|_| {}).await;
    let mut raw = Raw::connect(&world).await;
    let asks = "Origin: https://app.example\r\nAccess-Control-Request-Headers: x-custom\r\n";
    raw.write(format!("OPTIONS /socket.io/?transport=polling&sid=unknown HTTP/1.1\r\nHost: x\r\n{asks}\r\n")).await;
    let (status, head, _) = raw.answer().await;
    assert_eq!(status, 200);
    for line in [
        "access-control-allow-origin: https://app.example",
        "access-control-allow-credentials: true",
        "access-control-allow-headers: x-custom",
        "access-control-allow-methods: get,post",
        "vary: origin",
    ] {
        assert!(head.contains(line), "{line} is missing in {head}");
    }
    raw.write(format!("GET /socket.io/ HTTP/1.1\r\nHost: x\r\n{asks}\r\n")).await;
    let (status, head, body) = raw.answer().await;
    assert!(status == 400 && head.contains("access-control-allow-origin: https://app.example"), "{head}{body}");
    let mut evil = Raw::connect(&world).await;
    evil.write("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n\r\n")
        .await;
    let (_, head, body) = evil.answer().await;
    assert!(body == "no" && !head.contains("access-control"), "{head}");
}

#[tokio::test]
async fn balancers_are_told_the_id_that_every_poll_has() {
    let world = World::new(|_| {}).await;
    let mut raw = Raw::connect(&world).await;
    raw.write("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n").await;
    // Ids have capital letters, and `answer` makes them small.
    let (_, head, body) = raw.answer().await;
    let id = body.split('"').nth(3).unwrap().to_lowercase();
    assert!(head.contains(&format!("x-engine-sid: {id}\r\n")), "{head}{body}");
}

#[tokio::test]
async fn the_words_of_engine_io_s_own_server() {
    let world = World::new(|_| {}).await;
    for (query, code) in [
        ("", 0),
        ("?transport=carrier-pigeon&EIO=4", 0),
        ("?transport=polling&EIO=4&sid=AAAAAAAAAAAAAAAAAAAA", 1),
        ("?transport=polling&EIO=3", 5),
        ("?transport=websocket&EIO=4", 3),
    ] {
        let mut raw = Raw::connect(&world).await;
        raw.write(format!("GET /socket.io/{query} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let (status, _, body) = raw.answer().await;
        assert!(status == 400 && body.starts_with(&format!("{{\"code\":{code},")), "{query}: {body}");
    }
}

#[tokio::test]
async fn strangers_are_admitted_before_anything_is_done_for_them() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let ask = async |request: String| {
        let mut raw = Raw::connect(&world).await;
        raw.write(request).await;
        raw.answer().await.0
    };
    let requests = [
        "GET /page HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /socket.io/?EIO=4&transport=polling&sid=nobody HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /socket.io/?EIO=4&transport=pigeon HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "OPTIONS /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(),
        // Its body never comes.
        "POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n".to_owned(),
    ];
    *world.seen.strangers.lock() = Some(1);
    assert_eq!(ask(requests[0].clone()).await, 200);
    for request in &requests {
        assert_eq!(ask(request.clone()).await, 429, "{request}");
    }
    assert_eq!(world.seen.pages.load(Ordering::SeqCst), 1);
    // Who has a connection, or opens one, is none.
    let post = format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n42[1]", poller.path());
    assert_eq!(ask(post).await, 200);
    Poller::connected(&world).await;
}

/// A large answer has time for what a slow line takes, not only for one write.
#[tokio::test]
async fn a_large_answer_arrives_on_a_slow_line() {
    const BYTES: usize = 24 * 1024 * 1024;
    let world = World::new(|settings| settings.write_timeout = Duration::from_millis(200)).await;
    let address = world.address;
    let reading = tokio::task::spawn_blocking(move || {
        let mut slow = std::net::TcpStream::connect(address).unwrap();
        slow.write_all(format!("GET /bytes/{BYTES} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        // Longer than one write may wait. What the kernel does not take waits with the server.
        std::thread::sleep(Duration::from_millis(600));
        let mut all = Vec::new();
        slow.read_to_end(&mut all).unwrap();
        all.len()
    });
    assert!(reading.await.unwrap() > BYTES, "it was cut off");
}
