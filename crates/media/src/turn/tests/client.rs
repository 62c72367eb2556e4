//! Our client against our server: loss, time and refusals.

use super::super::{Client, ClientConfig, ClientError};
use super::*;

/// A client and the server, with a link between that loses what it is told to.
struct Pair {
    world: World,
    client: Client,
    /// Packets to lose, counted over both directions.
    losses: usize,
    sent: usize,
}

impl Pair {
    fn new(stream: bool, ipv6: bool) -> Self {
        let mut world = World::new();
        if stream {
            world.leg.transport = LegTransport::Stream(1);
        }
        let config = ClientConfig {
            username: world.username.clone(),
            password: world.password.clone(),
            stream,
            ipv6,
            seed: 5,
        };
        let client = Client::new(config, world.now);
        Self {
            world,
            client,
            losses: 0,
            sent: 0,
        }
    }

    fn relayed() -> Self {
        let mut pair = Self::new(false, false);
        pair.settle();
        assert!(pair.client.relayed().is_some());
        pair
    }

    /// That of another client in the same place.
    fn config(&self, seed: u64) -> ClientConfig {
        ClientConfig {
            username: self.world.username.clone(),
            password: self.world.password.clone(),
            stream: false,
            ipv6: false,
            seed,
        }
    }

    fn arrives(&mut self) -> bool {
        self.sent += 1;
        let lost = self.losses > 0;
        self.losses -= usize::from(lost);
        !lost
    }

    /// Carries packets until neither has more to say.
    fn settle(&mut self) {
        while let Some(packet) = self.client.poll_transmit() {
            if self.arrives() {
                assert_eq!(self.world.give(&packet), None);
            }
            while let Some((_, answer)) = self.world.server.poll_transmit() {
                if self.arrives() {
                    assert_eq!(self.client.handle(self.world.now, &answer), None);
                }
            }
        }
    }

    /// Lets time pass from timer to timer.
    fn pass(&mut self, seconds: u64) {
        let end = self.world.now + Duration::from_secs(seconds);
        loop {
            let timers = [self.client.poll_timeout(), self.world.server.poll_timeout()];
            let next = timers.into_iter().flatten().min();
            let next = next.filter(|it| *it <= end);
            self.world.now = next.unwrap_or(end);
            self.client.handle_timeout(self.world.now);
            self.settle();
            self.world.server.handle_timeout(self.world.now);
            if next.is_none() {
                return;
            }
        }
    }

    fn bind(&mut self, peer: &str) -> Result<bool, ClientError> {
        self.client.bind(self.world.now, at(peer));
        self.settle();
        self.client.is_bound(at(peer))
    }

    /// Whether data goes there and back.
    fn echoes(&mut self, peer: &str) -> bool {
        let mut out = Vec::new();
        if !self.client.send(at(peer), b"there", &mut out) {
            return false;
        }
        let Some(data) = self
            .world
            .server
            .handle(self.world.now, UNIX, self.world.leg, &out)
        else {
            return false;
        };
        assert_eq!(Some(data.relayed), self.client.relayed());
        let (relayed, local) = (data.relayed, data.local);
        let mut back = Vec::new();
        let server = &mut self.world.server;
        server
            .from_media(self.world.now, relayed, local, b"back", &mut back)
            .unwrap();
        self.client.handle(self.world.now, &back) == Some((at(peer), &b"back"[..]))
    }
}

fn code(error: &ClientError) -> u16 {
    match error {
        ClientError::Refused { code, .. } | ClientError::Denied { code, .. } => *code,
        _ => 0,
    }
}

#[test]
fn a_client_is_relayed_over_udp_and_streams_ipv4_and_ipv6() {
    for (stream, ipv6, media) in [
        (false, false, MEDIA),
        (true, false, MEDIA),
        (false, true, MEDIA_IPV6),
    ] {
        let mut pair = Pair::new(stream, ipv6);
        pair.settle();
        assert_eq!(pair.client.mapped(), Some(pair.world.leg.remote));
        assert!(!pair.echoes(media));
        assert_eq!(pair.bind(media), Ok(true));
        assert!(pair.echoes(media));
    }
}

#[test]
fn a_client_stays_relayed_for_hours_and_through_new_nonces() {
    let mut pair = Pair::relayed();
    assert_eq!(pair.bind(MEDIA), Ok(true));
    let relayed = pair.client.relayed();
    for _ in 0..36 {
        pair.pass(300);
        assert!(pair.echoes(MEDIA));
    }
    assert_eq!(pair.client.relayed(), relayed);
    // Every 9 minutes a refresh, every 4 a channel, some of them twice: no more than that.
    assert!(pair.sent < 300, "{}", pair.sent);
}

#[test]
fn lost_packets_are_sent_again_but_not_for_ever() {
    let mut pair = Pair::new(false, false);
    pair.losses = 3;
    pair.settle();
    pair.pass(4);
    assert!(pair.client.relayed().is_some());

    let mut pair = Pair::new(false, false);
    pair.losses = usize::MAX;
    pair.settle();
    pair.pass(60);
    assert_eq!(pair.client.failure(), Some(&ClientError::NoAnswer));
    assert_eq!(pair.sent, 5);
    assert_eq!(pair.client.poll_timeout(), None);
}

#[test]
fn an_answer_lost_does_not_cost_the_allocation() {
    let mut pair = Pair::relayed();
    pair.losses = 1;
    assert_eq!(pair.bind(MEDIA), Ok(false));
    pair.pass(1);
    assert_eq!(pair.client.is_bound(at(MEDIA)), Ok(true));
    // The server goes away: the refresh tells.
    pair.losses = usize::MAX;
    pair.pass(600);
    assert_eq!(pair.client.failure(), Some(&ClientError::NoAnswer));
    assert_eq!(pair.client.relayed(), None);
}

#[test]
fn refusals_are_told_by_their_cause() {
    let mut pair = Pair::relayed();
    let refused = pair.bind("10.0.0.1:80").unwrap_err();
    assert_eq!(code(&refused), 403);
    assert_eq!(
        refused.to_string(),
        "the TURN server does not relay to that address (403 Forbidden)"
    );
    assert_eq!(pair.bind(MEDIA), Ok(true));

    // Of a stranger: 401. Once too often: 486.
    let again = |pair: &mut Pair, password: &str| {
        let config = ClientConfig {
            password: password.into(),
            ..pair.config(6)
        };
        pair.client = Client::new(config, pair.world.now);
        pair.settle();
        pair.client.failure().map(code)
    };
    let password = pair.world.password.clone();
    assert_eq!(again(&mut pair, "guess"), Some(401));
    for port in 1..12 {
        pair.world.leg.remote.set_port(port);
        assert_eq!(again(&mut pair, &password), None);
    }
    pair.world.leg.remote.set_port(99);
    assert_eq!(again(&mut pair, &password), Some(486));
}

#[test]
fn a_client_that_closes_gives_its_allocation_back() {
    let mut pair = Pair::relayed();
    let client = std::mem::replace(&mut pair.client, Pair::new(false, false).client);
    let packet = client.close().unwrap();
    assert_eq!(pair.world.give(&packet), None);
    assert_eq!(pair.world.server.allocations(), 0);
}

#[test]
fn a_client_whose_goodbye_was_lost_is_relayed_again_from_the_same_port() {
    let mut pair = Pair::relayed();
    let next = Client::new(pair.config(6), pair.world.now);
    let goodbye = std::mem::replace(&mut pair.client, next).close();
    assert!(goodbye.is_some());
    pair.settle();
    assert_eq!(pair.client.failure(), None);
    assert!(pair.client.relayed().is_some());
    assert_eq!(pair.world.server.allocations(), 1);
    assert_eq!(pair.bind(MEDIA), Ok(true));
    assert!(pair.echoes(MEDIA));
}

#[test]
fn newer_credentials_of_a_participant_end_what_older_ones_allocated() {
    let mut pair = Pair::relayed();
    pair.world.hold("PA_one", UNIX + 900);
    pair.client = Client::new(pair.config(6), pair.world.now);
    pair.settle();
    assert_eq!(pair.client.failure(), None);
    assert!(pair.client.relayed().is_some());
    assert_eq!(pair.world.server.allocations(), 1);
}

#[test]
fn an_allocation_of_somebody_else_in_our_place_is_left_and_told_of() {
    let mut pair = Pair::relayed();
    pair.world.hold("PA_two", UNIX + 300);
    pair.client = Client::new(pair.config(6), pair.world.now);
    pair.settle();
    assert_eq!(pair.client.failure().map(code), Some(441));
    assert_eq!(pair.world.server.allocations(), 1);
}

#[test]
fn a_client_that_closes_before_it_is_granted_leaves_nothing_behind() {
    let mut pair = Pair::new(false, false);
    let question = pair.client.poll_transmit().unwrap();
    pair.world.give(&question);
    let (_, challenge) = pair.world.server.poll_transmit().unwrap();
    pair.client.handle(pair.world.now, &challenge);
    let question = pair.client.poll_transmit().unwrap();
    pair.world.give(&question);
    assert_eq!(pair.world.server.allocations(), 1);
    let client = std::mem::replace(&mut pair.client, Pair::new(false, false).client);
    let goodbye = client.close().unwrap();
    pair.world.give(&goodbye);
    assert_eq!(pair.world.server.allocations(), 0);
}

#[test]
fn an_answer_that_the_server_did_not_sign_is_not_taken() {
    let mut pair = Pair::new(false, false);
    let first = pair.client.poll_transmit().unwrap();
    let transaction = Message::parse(&first).unwrap().transaction;
    let forged = message(Class::Success, method::ALLOCATE, transaction, |it| {
        it.put_address(attribute::XOR_RELAYED_ADDRESS, at(MEDIA))
            .put(attribute::LIFETIME, &[0, 0, 9, 9])
            .put_address(attribute::XOR_MAPPED_ADDRESS, at(MEDIA));
    });
    assert_eq!(pair.client.handle(pair.world.now, &forged), None);
    assert_eq!(pair.client.relayed(), None);
    pair.pass(1);
    assert!(pair.client.relayed().is_some_and(super::super::is_relayed));
}
