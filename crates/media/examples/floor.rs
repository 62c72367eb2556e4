//! What this machine asks at least for a datagram of 1,200 bytes, in nanoseconds of thread CPU time: one send,
//! a share of a GSO send, and sealing it. Prints JSON: `cargo run --release --example floor`.

use std::hint::black_box;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use quinn_udp::{Transmit, UdpSocketState};

const DATAGRAM: usize = 1_200;
const DATAGRAMS: usize = 48_000;
/// The best of so many: what else runs only ever adds.
const ROUNDS: usize = 5;

fn main() {
    let costs = [
        ("send", send(1)),
        ("GSO of 2", send(2)),
        ("GSO of 4", send(4)),
        ("GSO of 8", send(8)),
        ("AES-128-GCM seal", seal(&AES_128_GCM)),
        ("AES-256-GCM seal", seal(&AES_256_GCM)),
    ];
    let members: Vec<String> = costs
        .iter()
        .map(|(name, cost)| format!("\"{name}\": {cost:.0}"))
        .collect();
    println!("{{{}}}", members.join(", "));
}

/// To a socket that nobody reads: its buffer fills, and what the sender pays stays the same.
fn send(segments: usize) -> f64 {
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let destination = receiver.local_addr().expect("bound");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let state = UdpSocketState::new((&socket).into()).expect("a UDP socket");
    let contents = vec![7; DATAGRAM * segments];
    let transmit = Transmit {
        destination,
        ecn: None,
        contents: &contents,
        segment_size: (segments > 1).then_some(DATAGRAM),
        src_ip: None,
    };
    let mut drained = vec![0; 65_536];
    receiver.set_nonblocking(true).expect("a UDP socket");
    best(|| {
        let mut spent = Duration::ZERO;
        for _ in 0..DATAGRAMS / segments / 8 {
            let start = Instant::now();
            for _ in 0..8 {
                state.try_send((&socket).into(), &transmit).expect("room");
            }
            spent += start.elapsed();
            while receiver.recv(&mut drained).is_ok() {}
        }
        spent
    })
}

fn seal(algorithm: &'static Algorithm) -> f64 {
    let key = vec![7; algorithm.key_len()];
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("of its length"));
    let mut datagram = vec![7; DATAGRAM - algorithm.tag_len()];
    best(|| {
        let start = Instant::now();
        for index in 0..DATAGRAMS as u64 {
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&index.to_be_bytes());
            let tag = key.seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from([0; 12]),
                &mut datagram,
            );
            let _ = black_box(tag.expect("sealed"));
        }
        start.elapsed()
    })
}

fn best(mut round: impl FnMut() -> Duration) -> f64 {
    let least = (0..ROUNDS).map(|_| round()).min().expect("rounds");
    least.as_nanos() as f64 / DATAGRAMS as f64
}
