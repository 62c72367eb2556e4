//! The addresses that ours are mapped to, as STUN servers see them (RFC 8489 §7): asked from the media's own
//! socket before its worker starts, because a mapping is of that port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket as StdSocket};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::addresses::Mapping;
use super::socket::{ReceiveBuffers, UdpSocket};
use crate::turn::binding;

/// How long a server is waited for before the next is asked too.
const HEAD_START: Duration = Duration::from_millis(250);
/// How long the last may take, and how long the others of our addresses are waited for after the first.
const PATIENCE: Duration = Duration::from_millis(1_500);
const STRAGGLERS: Duration = Duration::from_millis(500);
/// Between two sends of the same datagram.
const AGAIN: Duration = Duration::from_millis(250);

/// Asks `servers` in their order, the next while those before are silent, until one answers: from each of `own`
/// (addresses of `socket`). The name of one is resolved when it is its turn, for which nothing bounds the time.
///
/// With `validate` an external address counts only when a datagram sent to it comes back to us.
pub(super) fn mappings(
    socket: &mut UdpSocket,
    own: &[SocketAddr],
    servers: &[String],
    validate: bool,
) -> io::Result<Vec<Mapping>> {
    let mut asking = Asking::new(socket)?;
    let found = asking.ask(servers, own)?;
    asking.close()?;
    // Two ways out by one address: the first is enough.
    let mut known: Vec<Mapping> = Vec::new();
    for mapping in found {
        if known.iter().any(|it| it.external == mapping.external) {
            continue;
        }
        if validate && mapping.external != mapping.own && !comes_back(socket, mapping)? {
            log::warn!(
                "{} is not used: what is sent to it from here does not come back \
                 (rtc.skip_external_ip_validation: true where the network cannot do that)",
                mapping.external
            );
            continue;
        }
        known.push(mapping);
    }
    Ok(known)
}

fn resolve(server: &str, own: &[SocketAddr]) -> io::Result<SocketAddr> {
    let ours = |address: &SocketAddr| own.iter().any(|it| it.is_ipv4() == address.is_ipv4());
    let none = || io::Error::other("it has no address that can be asked");
    server.to_socket_addrs()?.find(ours).ok_or_else(none)
}

/// Whether a datagram to the external address reaches our socket.
fn comes_back(socket: &mut UdpSocket, mapping: Mapping) -> io::Result<bool> {
    let any: IpAddr = if mapping.own.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let sender = StdSocket::bind(SocketAddr::new(any, 0))?;
    let to = SocketAddr::new(mapping.external, socket.address().port());
    let mark: [u8; 16] = random();
    let mut asking = Asking::new(socket)?;
    let mut back = false;
    asking.until(
        Instant::now() + PATIENCE,
        |_| {
            // An unreachable network is an answer too.
            let _ = sender.send_to(&mark, to);
        },
        |_, datagram| {
            back |= datagram == mark;
            back.then_some(Instant::now())
        },
    )?;
    asking.close()?;
    Ok(back)
}

/// As whom one of our addresses is seen by a server.
#[derive(Clone, Copy)]
struct Question {
    server: SocketAddr,
    own: IpAddr,
    transaction: [u8; 12],
    external: Option<IpAddr>,
}

impl Question {
    /// One from each of `own` of the server's family.
    fn all(server: SocketAddr, own: &[SocketAddr]) -> impl Iterator<Item = Self> {
        let own = own
            .iter()
            .filter(move |it| it.is_ipv4() == server.is_ipv4());
        own.map(move |it| Self {
            server,
            own: it.ip(),
            transaction: random(),
            external: None,
        })
    }

    /// Whether those to the same server are.
    fn are_all_answered(&self, questions: &[Self]) -> bool {
        let mut same = questions.iter().filter(|it| it.server == self.server);
        same.all(|it| it.external.is_some())
    }
}

/// A socket that is waited for.
struct Asking<'a> {
    socket: &'a mut UdpSocket,
    poll: Poll,
    buffers: ReceiveBuffers,
}

impl<'a> Asking<'a> {
    fn new(socket: &'a mut UdpSocket) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry()
            .register(socket.source(), Token(0), Interest::READABLE)?;
        Ok(Self {
            socket,
            poll,
            buffers: ReceiveBuffers::new(),
        })
    }

    fn close(self) -> io::Result<()> {
        self.poll.registry().deregister(self.socket.source())
    }

    /// What the first server that answers has to say.
    fn ask(&mut self, servers: &[String], own: &[SocketAddr]) -> io::Result<Vec<Mapping>> {
        let mut questions: Vec<Question> = Vec::new();
        for server in servers {
            let address = match resolve(server, own) {
                Ok(address) => address,
                Err(error) => {
                    log::warn!("STUN server {server}: {error}");
                    continue;
                }
            };
            questions.extend(Question::all(address, own));
            self.listen(HEAD_START, &mut questions)?;
            if questions.iter().any(|it| it.external.is_some()) {
                break;
            }
        }
        let answered = |it: &&Question| it.external.is_some();
        let wait = match questions.iter().find(answered) {
            Some(first) if first.are_all_answered(&questions) => Duration::ZERO,
            Some(_) => STRAGGLERS,
            None if questions.is_empty() => Duration::ZERO,
            None => PATIENCE,
        };
        self.listen(wait, &mut questions)?;
        let Some(first) = questions.iter().find(answered) else {
            return Ok(Vec::new());
        };
        let answers = questions.iter().filter(|it| it.server == first.server);
        let found = answers.filter_map(|it| {
            let external = it.external?;
            log::info!("{} is seen as {external} by {}", it.own, it.server);
            Some(Mapping {
                own: it.own,
                external,
            })
        });
        Ok(found.collect())
    }

    /// Asks what is not answered, until a server has answered all of its questions or for so long.
    fn listen(&mut self, wait: Duration, questions: &mut [Question]) -> io::Result<()> {
        let open: Vec<Question> = questions
            .iter()
            .filter(|it| it.external.is_none())
            .copied()
            .collect();
        self.until(
            Instant::now() + wait,
            |socket| {
                for question in &open {
                    let request = binding::request(question.transaction);
                    socket.send(question.own, question.server, &request, request.len());
                }
            },
            |from, datagram| {
                let (transaction, external) = binding::answer(datagram)?;
                let asked = |it: &&mut Question| it.server == from && it.transaction == transaction;
                let question = questions.iter_mut().find(asked)?;
                question.external.get_or_insert(external.ip());
                let answered = *question;
                let now = Instant::now();
                answered.are_all_answered(questions).then_some(now)
            },
        )
    }

    /// Sends again and again until a time, which what comes in may make an earlier one.
    fn until(
        &mut self,
        mut end: Instant,
        send: impl Fn(&UdpSocket),
        mut take: impl FnMut(SocketAddr, &[u8]) -> Option<Instant>,
    ) -> io::Result<()> {
        let mut events = Events::with_capacity(1);
        let mut again = Instant::now();
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            if now >= again {
                send(self.socket);
                again = now + AGAIN;
            }
            let wait = end.min(again).saturating_duration_since(now);
            match self.poll.poll(&mut events, Some(wait)) {
                Ok(()) => self.socket.readable |= !events.is_empty(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // What comes in without end is no reason to wait for ever.
            while self.socket.readable && Instant::now() < end {
                self.socket
                    .receive(&mut self.buffers, |_, remote, datagram| {
                        if let Some(earlier) = take(remote, datagram) {
                            end = end.min(earlier);
                        }
                    })?;
            }
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // It fails only before the system has seeded it.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers `count` requests that each name another address as the one it saw, and tells who asked.
    fn server(answers: Vec<SocketAddr>) -> (String, std::thread::JoinHandle<Vec<IpAddr>>) {
        let socket = StdSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let name = socket.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 100];
            let mut asked = Vec::new();
            for answer in answers {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                assert_eq!(length, 20);
                let transaction = buffer[8..20].try_into().unwrap();
                // Somebody else's answer first: it must not count.
                socket
                    .send_to(&binding::success([9; 12], answer), from)
                    .unwrap();
                socket
                    .send_to(&binding::success(transaction, answer), from)
                    .unwrap();
                asked.push(from.ip());
            }
            asked
        });
        (name, thread)
    }

    #[test]
    fn a_flood_does_not_make_us_wait_longer() {
        let mut socket = media("127.0.0.1:0");
        let to = socket.address();
        let flooder = StdSocket::bind("127.0.0.1:0").unwrap();
        let (start, mut received) = (Instant::now(), 0);
        // Each datagram brings the next.
        let mut asking = Asking::new(&mut socket).unwrap();
        asking
            .until(
                start + Duration::from_millis(50),
                |_| {
                    flooder.send_to(b"x", to).unwrap();
                },
                |_, _| {
                    assert!(start.elapsed() < Duration::from_secs(5), "still waiting");
                    received += 1;
                    flooder.send_to(b"x", to).unwrap();
                    None
                },
            )
            .unwrap();
        assert!(received > 0);
    }

    fn media(address: &str) -> UdpSocket {
        UdpSocket::bind(address.parse().unwrap()).unwrap()
    }

    #[test]
    fn each_own_address_is_asked_for_from_itself() {
        let answers = ["203.0.113.1:1", "203.0.113.2:2"].map(|it| it.parse().unwrap());
        let (name, thread) = server(answers.to_vec());
        let mut socket = media("0.0.0.0:0");
        let port = socket.address().port();
        let own = [
            SocketAddr::from(([127, 0, 0, 1], port)),
            SocketAddr::from(([127, 0, 0, 2], port)),
        ];
        let mut found = mappings(&mut socket, &own, &[name], false).unwrap();
        found.sort_by_key(|it| it.own);
        let mut asked = thread.join().unwrap();
        asked.sort();
        assert_eq!(asked, own.map(|it| it.ip()));
        assert_eq!(
            found.iter().map(|it| it.own).collect::<Vec<_>>(),
            own.map(|it| it.ip())
        );
        assert_ne!(found[0].external, found[1].external);
    }

    #[test]
    fn a_server_that_is_silent_is_passed_over() {
        let silent = StdSocket::bind("127.0.0.1:0").unwrap();
        let (name, thread) = server(vec!["203.0.113.1:1".parse().unwrap()]);
        let mut socket = media("127.0.0.1:0");
        let own = [socket.address()];
        let servers = [silent.local_addr().unwrap().to_string(), name];
        let begun = Instant::now();
        let found = mappings(&mut socket, &own, &servers, false).unwrap();
        assert!(begun.elapsed() < PATIENCE);
        thread.join().unwrap();
        let external = "203.0.113.1".parse().unwrap();
        let own = own[0].ip();
        assert_eq!(found, [Mapping { own, external }]);
    }

    #[test]
    fn an_address_counts_when_what_is_sent_there_comes_back() {
        for (seen, used) in [("127.0.0.9:1", true), ("192.0.2.1:1", false)] {
            let (name, thread) = server(vec![seen.parse().unwrap()]);
            let mut socket = media("0.0.0.0:0");
            let own = [SocketAddr::from(([127, 0, 0, 1], socket.address().port()))];
            let found = mappings(&mut socket, &own, &[name], true).unwrap();
            thread.join().unwrap();
            assert_eq!(!found.is_empty(), used, "{seen}");
        }
    }
}
