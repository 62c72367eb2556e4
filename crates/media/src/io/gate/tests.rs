//! The gate's loop, a turn at a time, over loopback.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct World {
    turns: Turns,
    _gate: Gate,
    address: SocketAddr,
    /// To the gate, from its only worker.
    outgoing: Mailbox<Outgoing>,
    arrivals: Receiver<Arrival>,
}

impl World {
    fn of(open: impl FnOnce(&mut Doors)) -> Self {
        let mut doors = Doors::default();
        open(&mut doors);
        let address = doors.listeners[0].address;
        let prepared = Prepared::new().unwrap();
        let outgoing = prepared.mailbox();
        let bell = Bell::new(&Poll::new().unwrap()).unwrap();
        let (worker, arrivals) = Mailbox::new(4_096, &bell);
        let media = Arc::new(MediaAddresses::default());
        let (turns, gate) = prepared.open(doors, vec![worker], media).unwrap();
        Self {
            turns,
            _gate: gate,
            address,
            outgoing,
            arrivals,
        }
    }

    fn ice() -> Self {
        Self::of(|doors| doors.open_ice(&[LOOPBACK], 0).unwrap())
    }

    fn connect(&self) -> TcpStream {
        let peer = TcpStream::connect(self.address).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        peer
    }

    /// One turn, at what has happened or will in a moment.
    fn step(&mut self) {
        let mut ready = Events::with_capacity(256);
        let wait = Some(Duration::from_millis(200));
        self.turns.poll.poll(&mut ready, wait).unwrap();
        for event in ready.iter().filter(|it| it.token() != WAKE) {
            self.turns.happened(event);
        }
        self.turns.bell.answer();
        self.turns.turn(Instant::now(), false);
    }

    fn step_until<T>(&mut self, mut seen: impl FnMut(&mut Self) -> Option<T>) -> T {
        for _ in 0..100 {
            if let Some(seen) = seen(self) {
                return seen;
            }
            self.step();
        }
        panic!("it does not come");
    }

    fn send(&self, tuple: FiveTuple, contents: &[u8]) {
        self.outgoing.put(Outgoing {
            worker: 0,
            tuple,
            contents: contents.to_vec(),
            segment: contents.len(),
        });
    }
}

fn binding(kind: [u8; 2]) -> Vec<u8> {
    let [a, b] = kind;
    let mut packet = vec![a, b, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    packet.resize(20, 7);
    packet
}

fn framed(packet: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    framing::frame(packet, &mut stream).unwrap();
    stream
}

#[test]
fn a_crowd_is_let_in_a_part_at_a_time() {
    let mut world = World::ice();
    let crowd: Vec<TcpStream> = (0..100).map(|_| world.connect()).collect();
    world.step_until(|world| (world.turns.opened > 0).then_some(()));
    assert_eq!(world.turns.opened, ACCEPTS_A_TURN as u64);
    // It does not wait for what has told of itself already.
    assert_eq!(world.turns.timeout(), Some(Duration::ZERO));
    world.step();
    assert_eq!(world.turns.opened, crowd.len() as u64);
}

#[test]
fn a_stranger_has_so_many_checks_and_is_then_closed() {
    let mut world = World::ice();
    let mut peer = world.connect();
    let (mut checks, mut got) = (0, 0);
    while checks < CHECKS_OF_A_STRANGER + 1 {
        let burst = (CHECKS_OF_A_STRANGER + 1 - checks).min(100);
        checks += burst;
        peer.write_all(&framed(&binding([0, 1])).repeat(burst as usize))
            .unwrap();
        let due = checks.min(CHECKS_OF_A_STRANGER);
        world.step_until(|world| {
            got += world.arrivals.try_iter().count();
            (got as u32 == due).then_some(())
        });
    }
    world.step_until(|world| world.turns.connections.is_empty().then_some(()));
    assert_eq!(peer.read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(world.arrivals.try_iter().count(), 0);
}

#[test]
fn checks_of_many_strangers_do_not_fill_the_queues_of_workers() {
    let mut world = World::ice();
    let crowd: Vec<TcpStream> = (0..10).map(|_| world.connect()).collect();
    for mut peer in &crowd {
        peer.write_all(&framed(&binding([0, 1])).repeat(100))
            .unwrap();
    }
    let mut got = Vec::new();
    for _ in 0..20 {
        world.step();
        got.push(world.arrivals.try_iter().count());
    }
    assert!(got.iter().all(|it| *it <= CHECKS_A_TURN), "{got:?}");
    assert!(got.iter().sum::<usize>() >= CHECKS_A_TURN, "{got:?}");
}

#[test]
fn what_was_for_an_earlier_connection_is_not_given_to_a_stranger() {
    let mut world = World::ice();
    let mut peer = world.connect();
    // An empty frame says nothing, and is no reason to part.
    peer.write_all(&[0, 0]).unwrap();
    peer.write_all(&framed(&binding([0, 1]))).unwrap();
    let arrival = world.step_until(|world| world.arrivals.try_recv().ok());
    let answer = binding([1, 1]);
    for contents in [&b"media of somebody else"[..], &answer, b"media of its own"] {
        world.send(arrival.tuple, contents);
        world.step();
    }
    let mut heard = vec![0; framed(&answer).len() + framed(b"media of its own").len()];
    peer.read_exact(&mut heard).unwrap();
    assert_eq!(
        heard,
        [framed(&answer), framed(b"media of its own")].concat()
    );
}

#[test]
fn strangers_by_a_proxy_that_ends_tls_are_not_taken_for_one() {
    let mut world = World::of(|doors| {
        let config = TurnConfig {
            bind: vec![LOOPBACK],
            udp_port: None,
            tls_port: Some(0),
            certificate: None,
            secret: [7; 32],
            allocations_per_participant: 12,
            optional: false,
        };
        doors.open_turn(config).unwrap();
    });
    let mut first = world.connect();
    let crowd: Vec<TcpStream> = (0..100).map(|_| world.connect()).collect();
    world.step_until(|world| (world.turns.opened as usize > crowd.len()).then_some(()));
    first.write_all(&binding([0, 1])).unwrap();
    world.step();
    let mut answer = [0; 20];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..2], [1, 1]);
}
