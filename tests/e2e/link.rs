//! A slow link in front of a server.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpSocket, TcpStream},
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use testkit::{http, servers::unused_address};

/// The port of the link, on its own address.
const PORT: u16 = 8428;

/// Receive buffer of a connection, small so that the client notices how slow the link is.
const WINDOW: u32 = 64 << 10;

/// A link to a server with a limited rate for all connections together. The way back is not
/// limited.
pub(crate) struct Link {
    address: Ipv4Addr,
    server: SocketAddr,
    way: Way,
    /// Accepts connections while the link is up; dropped, it closes all of them.
    tasks: JoinSet<()>,
}

/// State that the connections of a link share.
#[derive(Clone)]
struct Way {
    bytes_per_second: u64,
    carried: Arc<AtomicU64>,
    /// When the bytes sent so far have passed.
    free_at: Arc<Mutex<Instant>>,
}

impl Link {
    /// A link that is down: its address refuses connections.
    pub(crate) fn down(server: SocketAddr, bytes_per_second: u64) -> Self {
        let way = Way {
            bytes_per_second,
            carried: Arc::default(),
            free_at: Arc::new(Mutex::new(Instant::now())),
        };
        Link { address: unused_address(), server, way, tasks: JoinSet::new() }
    }

    /// The address to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        (self.address, PORT).into()
    }

    /// Bytes carried towards the server.
    pub(crate) fn carried(&self) -> u64 {
        self.way.carried.load(Ordering::Relaxed)
    }

    /// Accepts connections from now on.
    pub(crate) fn up(&mut self) {
        let (address, server, way) = (self.address(), self.server, self.way.clone());
        let carry_all = async move {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_recv_buffer_size(WINDOW).expect("connections inherit the size");
            socket.set_reuseaddr(true).expect("it may have been up before");
            socket.bind(address).expect("an address of its own");
            let listener = socket.listen(128).expect("a listener");
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                connections.spawn(carry(client, server, way.clone()));
                while connections.try_join_next().is_some() {}
            }
        };
        http::block_on(async { self.tasks.spawn(carry_all) });
    }
}

/// Forwards both directions until one side closes.
async fn carry(client: TcpStream, server: SocketAddr, way: Way) {
    // If the server is unreachable, the client's connection is closed.
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let forth = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            let through = {
                let mut free_at = way.free_at.lock().await;
                let takes = count as u64 * 1_000_000_000 / way.bytes_per_second;
                *free_at = Instant::now().max(*free_at) + Duration::from_nanos(takes);
                *free_at
            };
            sleep_until(through).await;
            if to_server.write_all(&buffer[..count]).await.is_err() {
                break;
            }
            way.carried.fetch_add(count as u64, Ordering::Relaxed);
        }
    };
    tokio::select! {
        () = forth => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}
