//! What a stream weighs before it is a connection: a crowd that comes at once has a task for each, and memory that was used once is
//! not all given back.

use tokio::net::{TcpListener, TcpStream};

use crate::support::World;

#[tokio::test]
async fn a_stream_that_asks_for_a_connection_weighs_little() {
    let world = World::new(|_| {}).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let peer = stream.local_addr().unwrap();
    let weight = size_of_val(&world.server.serve(stream, peer, ()));
    assert!(weight <= 2_560, "{weight} bytes");
}
