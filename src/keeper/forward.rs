//! The ports of tenants: held here, and passed on to wherever the present process listens.
//!
//! Bytes are passed on as they are, on a thread of its own, so that traffic holds up nothing
//! else that the keeper does. A port is listened on for as long as it stands in the map; a
//! change of the map moves new connections and leaves open ones. It knows no HTTP: that a
//! connection waits for an answer is told by which side spoke last.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream, tcp, unix};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::protocol::{Forward, NotYet, Place};

/// Connections that may wait to be accepted.
const QUEUE: u32 = 1024;
/// Connections that are passed on at once: two descriptors each, of the half million that a
/// keeper of root usually may have. More wait in the kernel's queues.
const CONNECTIONS: usize = 16_384;
/// How soon a port that something else listens on is tried again.
const AGAIN: Duration = Duration::from_millis(10);
/// How long accepting rests after it failed: without descriptors it fails again at once.
const REST: Duration = Duration::from_millis(20);
/// Bytes that are passed on at a time; held only while they are.
const CHUNK: usize = 16 * 1024;
/// An answer in pieces may rest this long between two of them.
const QUIET: Duration = Duration::from_millis(50);

enum Order {
    Set(Vec<Forward>, oneshot::Sender<Vec<NotYet>>),
    Busy(Place, oneshot::Sender<u64>),
}

/// The way to the thread; there is none until something is to be passed on.
#[derive(Default)]
pub(super) struct Forwarder(OnceCell<mpsc::UnboundedSender<Order>>);

impl Forwarder {
    /// Passes these on and no others. Returns what is not listened on yet.
    pub(super) async fn set(&self, all: Vec<Forward>) -> Vec<NotYet> {
        if all.is_empty() && self.0.get().is_none() {
            return Vec::new();
        }
        let (give, take) = oneshot::channel();
        let ports: Vec<u16> = all.iter().map(|forward| forward.port).collect();
        let failed = |error: &io::Error| {
            tracing::error!(%error, "tenants' ports are not served");
            ports.iter().map(|port| NotYet { port: *port, reason: error.to_string() }).collect()
        };
        match self.thread() {
            Ok(orders) if orders.send(Order::Set(all, give)).is_ok() => take.await.unwrap_or_default(),
            Ok(_) => failed(&io::ErrorKind::BrokenPipe.into()),
            Err(error) => failed(&error),
        }
    }

    /// How many connections that were passed on there wait for an answer.
    pub(super) async fn busy(&self, to: Place) -> u64 {
        let (give, take) = oneshot::channel();
        let Some(orders) = self.0.get() else { return 0 };
        if orders.send(Order::Busy(to, give)).is_err() {
            return 0;
        }
        take.await.unwrap_or(0)
    }

    fn thread(&self) -> io::Result<&mpsc::UnboundedSender<Order>> {
        if let Some(orders) = self.0.get() {
            return Ok(orders);
        }
        let (orders, asked) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || tokio::task::LocalSet::new().block_on(&runtime, serve(asked));
        std::thread::Builder::new().name("forward".into()).spawn(run)?;
        Ok(self.0.get_or_init(|| orders))
    }
}

/// A port that is listened on, or tried.
struct Port {
    to: Rc<RefCell<Place>>,
    task: AbortHandle,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection that is passed on.
struct Connection {
    to: Place,
    /// The client spoke last.
    waits: Cell<bool>,
    moved: Cell<Instant>,
}

/// What all ports share.
struct Shared {
    places: Semaphore,
    open: RefCell<HashMap<u64, Rc<Connection>>>,
    next: Cell<u64>,
}

async fn serve(mut asked: mpsc::UnboundedReceiver<Order>) {
    let shared =
        Rc::new(Shared { places: Semaphore::new(CONNECTIONS), open: RefCell::default(), next: Cell::new(0) });
    let mut ports: HashMap<u16, Port> = HashMap::new();
    while let Some(order) = asked.recv().await {
        match order {
            Order::Set(all, give) => {
                let not_yet = set(&mut ports, all, &shared);
                let _ = give.send(not_yet);
            }
            Order::Busy(to, give) => {
                let open = shared.open.borrow();
                let busy = open.values().filter(|one| one.to == to && one.is_busy()).count();
                let _ = give.send(busy as u64);
            }
        }
    }
}

impl Connection {
    fn is_busy(&self) -> bool {
        self.waits.get() || self.moved.get().elapsed() < QUIET
    }
}

fn set(ports: &mut HashMap<u16, Port>, all: Vec<Forward>, shared: &Rc<Shared>) -> Vec<NotYet> {
    ports.retain(|port, _| all.iter().any(|forward| forward.port == *port));
    let mut not_yet = Vec::new();
    for Forward { port, to } in all {
        if let Some(known) = ports.get(&port) {
            *known.to.borrow_mut() = to;
            continue;
        }
        let to = Rc::new(RefCell::new(to));
        let first = listen(port);
        if let Err(error) = &first {
            not_yet.push(NotYet { port, reason: error.to_string() });
        }
        let attending = attend(port, first.ok(), Rc::clone(&to), Rc::clone(shared));
        let task = tokio::task::spawn_local(attending).abort_handle();
        ports.insert(port, Port { to, task });
    }
    not_yet
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(QUEUE)
}

async fn attend(port: u16, first: Option<TcpListener>, to: Rc<RefCell<Place>>, shared: Rc<Shared>) {
    let mut listener = first;
    let listener = loop {
        if let Some(listener) = listener {
            break listener;
        }
        tokio::time::sleep(AGAIN).await;
        listener = listen(port).ok();
    };
    loop {
        let Ok(place) = shared.places.acquire().await else { return };
        match listener.accept().await {
            Ok((client, _)) => {
                place.forget();
                // Listed at once: whoever asks after a change of the map must see it.
                let listed = Listed::new(to.borrow().clone(), &shared);
                tokio::task::spawn_local(async move {
                    if let Err(error) = pass_on(client, &listed.connection).await {
                        tracing::debug!(port, %error, "a connection broke");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(port, %error, "a connection could not be accepted");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// A connection on the list, until this is dropped.
struct Listed {
    number: u64,
    connection: Rc<Connection>,
    shared: Rc<Shared>,
}

impl Listed {
    /// Takes over the place that was acquired for it.
    fn new(to: Place, shared: &Rc<Shared>) -> Listed {
        let number = shared.next.replace(shared.next.get() + 1);
        // Until it is known that nothing was asked yet, something may have been.
        let connection = Rc::new(Connection { to, waits: Cell::new(true), moved: Cell::new(Instant::now()) });
        shared.open.borrow_mut().insert(number, Rc::clone(&connection));
        Listed { number, connection, shared: Rc::clone(shared) }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.shared.open.borrow_mut().remove(&self.number);
        self.shared.places.add_permits(1);
    }
}

async fn pass_on(client: TcpStream, connection: &Connection) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (from, into) = match connect(&connection.to).await {
        Ok(halves) => halves,
        Err(error) => {
            // Nobody listens there: as good as refused.
            client.set_zero_linger()?;
            return Err(error);
        }
    };
    let (client_from, client_into) = client.into_split();
    connection.moved.set(Instant::now());
    connection.waits.set(false);
    let asked = pump(Source::Tcp(client_from), into, || {
        connection.waits.set(true);
        connection.moved.set(Instant::now());
    });
    let answered = pump(from, Sink::Tcp(client_into), || {
        connection.waits.set(false);
        connection.moved.set(Instant::now());
    });
    tokio::try_join!(asked, answered).map(drop)
}

enum Source {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

enum Sink {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

async fn connect(to: &Place) -> io::Result<(Source, Sink)> {
    match to {
        Place::Port(port) => {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await?;
            stream.set_nodelay(true)?;
            let (from, into) = stream.into_split();
            Ok((Source::Tcp(from), Sink::Tcp(into)))
        }
        Place::Socket(path) => {
            let (from, into) = UnixStream::connect(path).await?.into_split();
            Ok((Source::Unix(from), Sink::Unix(into)))
        }
    }
}

impl Source {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Source::Tcp(half) => half.readable().await,
            Source::Unix(half) => half.readable().await,
        }
    }

    fn try_read(&self, chunk: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Tcp(half) => half.try_read(chunk),
            Source::Unix(half) => half.try_read(chunk),
        }
    }
}

impl Sink {
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Sink::Tcp(half) => half.write_all(bytes).await,
            Sink::Unix(half) => half.write_all(bytes).await,
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Sink::Tcp(half) => half.shutdown().await,
            Sink::Unix(half) => half.shutdown().await,
        }
    }
}

/// Passes bytes on until one side has no more. No memory is held while it waits.
async fn pump(from: Source, mut into: Sink, moved: impl Fn()) -> io::Result<()> {
    loop {
        from.readable().await?;
        let mut chunk = vec![0; CHUNK];
        let read = match from.try_read(&mut chunk) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        if read == 0 {
            // The other direction may still have something to say.
            return match into.shutdown().await {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                ended => ended,
            };
        }
        moved();
        into.write_all(chunk.get(..read).unwrap_or_default()).await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Answers each connection's first bytes with its name, once it is told to.
    async fn server(name: &'static str, go: std::sync::Arc<Semaphore>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let go = std::sync::Arc::clone(&go);
                tokio::spawn(async move {
                    let mut asked = [0; 4];
                    if stream.read_exact(&mut asked).await.is_ok() {
                        go.acquire().await.unwrap().forget();
                        stream.write_all(name.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        port
    }

    async fn ask(port: u16) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"who?").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// A listener at one of these ports. They are to be below those that the kernel gives to connections, and each test has
    /// its own.
    fn listener(mut among: std::ops::Range<u16>) -> std::net::TcpListener {
        among.find_map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).ok()).unwrap()
    }

    async fn until(mut so: impl AsyncFnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !so().await {
            assert!(Instant::now() < end, "it never was so");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn new_connections_follow_the_map_and_open_ones_stay() {
        let forwarder = Forwarder::default();
        let (held, open) = (std::sync::Arc::new(Semaphore::new(0)), std::sync::Arc::new(Semaphore::new(99)));
        let (old, new) = (server("old", held.clone()).await, server("new", open).await);
        let port = listener(31_000..31_500).local_addr().unwrap().port();
        let to = |to| vec![Forward { port, to: Place::Port(to) }];
        assert_eq!(forwarder.set(to(old)).await, []);
        let waiting = tokio::spawn(ask(port));
        until(async || forwarder.busy(Place::Port(old)).await == 1).await;
        forwarder.set(to(new)).await;
        assert_eq!(ask(port).await.unwrap(), "new");
        assert_eq!(forwarder.busy(Place::Port(old)).await, 1, "the open one was forgotten");
        held.add_permits(1);
        assert_eq!(waiting.await.unwrap().unwrap(), "old");
        until(async || forwarder.busy(Place::Port(old)).await == 0).await;
        forwarder.set(Vec::new()).await;
        until(async || TcpStream::connect(("127.0.0.1", port)).await.is_err()).await;
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_served_once_it_is_free() {
        let forwarder = Forwarder::default();
        let new = server("new", std::sync::Arc::new(Semaphore::new(99))).await;
        let taken = listener(31_500..32_000);
        let port = taken.local_addr().unwrap().port();
        let not_yet = forwarder.set(vec![Forward { port, to: Place::Port(new) }]).await;
        assert_eq!(not_yet.len(), 1, "{not_yet:?}");
        drop(taken);
        until(async || ask(port).await.is_ok_and(|answer| answer == "new")).await;
    }
}
