use super::*;
use crate::data::wire;

const ALICE: ParticipantId = ParticipantId(1);
const BOB: ParticipantId = ParticipantId(2);
const CAROL: ParticipantId = ParticipantId(3);
const DAVE: ParticipantId = ParticipantId(4);

fn member(name: &str) -> Member {
    Member {
        identity: name.into(),
        sid: format!("PA_{name}").into(),
        hidden: false,
        can_publish_data: true,
        agent: false,
        local: true,
    }
}

/// Three ready members on a clock that starts at zero.
struct Room {
    router: Router,
    start: Instant,
    now: Instant,
}

impl Room {
    fn new() -> Self {
        let start = Instant::now();
        let mut room = Self {
            router: Router::new(RouterConfig::default()),
            start,
            now: start,
        };
        for (id, name) in [(ALICE, "alice"), (BOB, "bob"), (CAROL, "carol")] {
            room.router.insert(id, member(name));
            room.ready(id);
        }
        room
    }

    fn at(&mut self, seconds: u64) {
        self.now = self.start + Duration::from_secs(seconds);
    }

    fn ready(&mut self, id: ParticipantId) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        self.router.set_ready(self.now, id, true, |d| {
            assert!(d.to == id && d.reliable);
            got.push(payload(d.data));
        });
        got
    }

    fn route(&mut self, packet: &Arc<Packet>) -> Vec<ParticipantId> {
        let mut to = Vec::new();
        self.router.route(self.now, packet, |d| to.push(d.to));
        to
    }

    fn send(&mut self, from: ParticipantId, reliable: bool, message: &[u8]) -> Vec<ParticipantId> {
        match self.router.accept(from, reliable, message) {
            Ok(packet) => self.route(&packet),
            Err(_) => Vec::new(),
        }
    }

    fn replay(&mut self, to: ParticipantId, received: &[(&str, u32)]) -> Vec<u32> {
        let received: Vec<_> = received
            .iter()
            .map(|&(sid, seq)| (Arc::from(sid), seq))
            .collect();
        let mut got = Vec::new();
        self.router.replay(self.now, to, &received, |d| {
            got.push(Summary::parse(d.data).unwrap().sequence)
        });
        got
    }

    /// Sends ALICE's packets of these numbers; what of them is passed on.
    fn pass(&mut self, sequences: &[u32]) -> Vec<u32> {
        let mut passed = Vec::new();
        for sequence in sequences {
            let accepted = self.router.accept(ALICE, true, &data(*sequence, b"x", &[]));
            passed.extend(accepted.ok().map(|packet| packet.sequence));
            passed.extend(self.early());
        }
        passed
    }

    fn early(&mut self) -> Vec<u32> {
        std::iter::from_fn(|| self.router.next_early(ALICE))
            .map(|packet| packet.sequence)
            .collect()
    }
}

/// A user packet to `to` with a number.
fn data(sequence: u32, payload: &[u8], to: &[&str]) -> Vec<u8> {
    let (mut out, mut user) = (Vec::new(), Vec::new());
    wire::put_bytes(&mut user, 2, payload);
    wire::put_bytes(&mut out, 2, &user);
    to.iter()
        .for_each(|identity| wire::put_string(&mut out, 5, identity));
    wire::put_number(&mut out, 16, sequence.into());
    out
}

fn payload(packet: &[u8]) -> Vec<u8> {
    let user = wire::fields(packet)
        .flatten()
        .find(|f| f.number == 2)
        .and_then(|f| f.value.bytes())
        .unwrap();
    wire::fields(user)
        .flatten()
        .find(|f| f.number == 2)
        .and_then(|f| f.value.bytes())
        .unwrap()
        .to_vec()
}

#[test]
fn a_broadcast_reaches_all_but_its_sender() {
    let mut room = Room::new();
    assert_eq!(room.send(BOB, true, &data(1, b"x", &[])), [ALICE, CAROL]);
    assert_eq!(room.send(BOB, false, &data(0, b"x", &[])), [ALICE, CAROL]);
}

#[test]
fn destinations_are_identities_or_legacy_sids_and_never_the_sender() {
    let mut room = Room::new();
    assert_eq!(
        room.send(
            ALICE,
            true,
            &data(1, b"x", &["carol", "carol", "alice", "nobody"])
        ),
        [CAROL]
    );
    let mut user = Vec::new();
    wire::put_string(&mut user, 3, "PA_bob");
    let mut packet = Vec::new();
    wire::put_bytes(&mut packet, 2, &user);
    assert_eq!(room.send(ALICE, true, &packet), [BOB]);
}

#[test]
fn unknown_destinations_do_not_turn_into_a_broadcast() {
    let mut room = Room::new();
    assert!(
        room.send(ALICE, true, &data(1, b"x", &["nobody"]))
            .is_empty()
    );
}

#[test]
fn all_receivers_share_one_buffer() {
    let mut room = Room::new();
    let packet = room
        .router
        .accept(ALICE, true, &data(1, b"x", &[]))
        .unwrap();
    let mut shared = 0;
    room.router.route(room.now, &packet, |d| {
        shared += usize::from(d.data.as_ptr() == packet.data.as_ptr())
    });
    assert_eq!(shared, 2);
}

#[test]
fn who_may_not_publish_data_is_refused() {
    let mut room = Room::new();
    room.router.set_permissions(ALICE, false, false, false);
    assert_eq!(
        room.router
            .accept(ALICE, true, &data(1, b"x", &[]))
            .unwrap_err(),
        Refusal::NotAllowed
    );
    assert_eq!(
        room.router.accept_raw(ALICE, b"x").unwrap_err(),
        Refusal::NotAllowed
    );
    assert_eq!(
        room.router.accept(DAVE, true, b"").unwrap_err(),
        Refusal::UnknownSender
    );
}

#[test]
fn messages_over_the_limit_are_refused() {
    let mut room = Room::new();
    let refused = room
        .router
        .accept(ALICE, true, &data(1, &[0; 65_536], &[]))
        .unwrap_err();
    assert!(matches!(refused, Refusal::TooLarge(_)));
    assert_eq!(room.send(ALICE, true, &data(1, &[0; 64_000], &[])).len(), 2);
}

#[test]
fn a_number_passes_once() {
    let mut room = Room::new();
    let accepted: Vec<bool> = [1, 2, 2, 1, 3, 2, 4]
        .map(|sequence| {
            !room
                .send(ALICE, true, &data(sequence, b"x", &[]))
                .is_empty()
        })
        .into();
    assert_eq!(accepted, [true, true, false, false, true, false, true]);
    assert_eq!(
        (
            room.router.last_sequence(ALICE),
            room.router.last_sequence(BOB)
        ),
        (4, 0)
    );
    assert_eq!(room.send(BOB, true, &data(1, b"x", &[])).len(), 2);
}

#[test]
fn unnumbered_and_lossy_packets_pass_the_gate() {
    let mut room = Room::new();
    room.send(ALICE, true, &data(9, b"x", &[]));
    assert_eq!(room.send(ALICE, true, &data(0, b"x", &[])).len(), 2);
    assert_eq!(room.send(ALICE, false, &data(3, b"x", &[])).len(), 2);
    assert_eq!(room.router.last_sequence(ALICE), 9);
}

#[test]
fn a_refused_packet_is_not_wanted_again() {
    let mut room = Room::new();
    let mut transcription = data(4, b"x", &[]);
    wire::put_bytes(&mut transcription, 7, b"");
    assert!(room.router.accept(ALICE, true, &transcription).is_err());
    assert_eq!(room.router.last_sequence(ALICE), 4);
}

#[test]
fn reliable_packets_wait_for_a_member_whose_channels_open_late() {
    let mut room = Room::new();
    room.send(ALICE, true, &data(1, b"before it joined", &[]));
    room.router.insert(DAVE, member("dave"));
    room.send(ALICE, true, &data(2, b"one", &[]));
    room.send(ALICE, false, &data(0, b"lossy", &[]));
    room.send(BOB, true, &data(1, b"not for dave", &["carol"]));
    let server = Router::accept_server(data(0, b"two", &[]), true, &[]).unwrap();
    assert_eq!(room.route(&server), [ALICE, BOB, CAROL]);
    room.send(BOB, true, &data(2, b"three", &["dave"]));
    room.at(14);
    assert_eq!(
        room.ready(DAVE),
        [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]
    );
    assert!(room.ready(DAVE).is_empty());
    assert!(
        room.send(ALICE, false, &data(0, b"lossy", &[]))
            .contains(&DAVE)
    );
}

#[test]
fn what_is_kept_is_bounded_in_time() {
    let mut room = Room::new();
    room.router.insert(DAVE, member("dave"));
    room.send(ALICE, true, &data(1, b"old", &[]));
    room.at(10);
    room.send(ALICE, true, &data(2, b"new", &[]));
    room.at(15);
    assert_eq!(room.ready(DAVE), [b"new".to_vec()]);
}

#[test]
fn what_is_kept_is_bounded_in_bytes() {
    let mut room = Room::new();
    room.router.insert(DAVE, member("dave"));
    for sequence in 1..=100 {
        room.send(ALICE, true, &data(sequence, &[sequence as u8; 60_000], &[]));
    }
    let held = &room.router.members[&DAVE].held;
    assert!(held.bytes <= 1 << 20 && room.router.history.bytes <= 1 << 20);
    let got = room.ready(DAVE);
    assert_eq!(got.len(), 17);
    assert_eq!(got.last().unwrap()[0], 100);
}

#[test]
fn what_is_kept_is_forgotten_on_time() {
    let mut room = Room::new();
    assert_eq!(room.router.poll_timeout(), None);
    room.router.insert(DAVE, member("dave"));
    room.send(ALICE, true, &data(1, b"x", &[]));
    let due = room.router.poll_timeout().unwrap();
    assert_eq!(due, room.start + Duration::from_secs(15));
    room.router.handle_timeout(due);
    assert_eq!(room.router.poll_timeout(), None);
    assert_eq!(
        room.router.history.bytes + room.router.members[&DAVE].held.bytes,
        0
    );
}

#[test]
fn a_member_that_loses_its_channels_gets_what_came_meanwhile() {
    let mut room = Room::new();
    room.router
        .set_ready(room.now, BOB, false, |_| unreachable!());
    assert_eq!(room.send(ALICE, true, &data(1, b"x", &[])), [CAROL]);
    assert_eq!(room.ready(BOB), [b"x".to_vec()]);
}

#[test]
fn a_resuming_member_gets_what_it_has_not() {
    let mut room = Room::new();
    for sequence in 1..=5 {
        room.send(ALICE, true, &data(sequence, b"x", &[]));
        room.send(BOB, true, &data(10 + sequence, b"x", &[]));
    }
    room.send(ALICE, true, &data(6, b"x", &["bob"]));
    room.send(CAROL, true, &data(99, b"x", &[]));
    assert_eq!(
        room.replay(CAROL, &[("PA_alice", 3), ("PA_bob", 15)]),
        [4, 5]
    );
    assert_eq!(
        room.replay(CAROL, &[("PA_alice", 3)]),
        [11, 12, 13, 4, 14, 5, 15]
    );
    room.at(15);
    assert!(room.replay(CAROL, &[]).is_empty());
}

#[test]
fn a_nonce_is_heard_once_in_a_room() {
    let mut room = Room::new();
    let with_nonce = |nonce: u16| {
        let (mut user, mut out) = (Vec::new(), Vec::new());
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&nonce.to_be_bytes());
        wire::put_bytes(&mut user, 11, &bytes);
        wire::put_bytes(&mut out, 2, &user);
        out
    };
    assert_eq!(room.send(ALICE, true, &with_nonce(0)).len(), 2);
    assert!(room.send(BOB, false, &with_nonce(0)).is_empty());
    let server = Router::accept_server(with_nonce(0), true, &[]).unwrap();
    assert!(room.route(&server).is_empty());
    for nonce in 1..=1_000 {
        assert_eq!(room.send(ALICE, true, &with_nonce(nonce)).len(), 2);
    }
    assert_eq!(room.router.nonces.seen.len(), 1_000);
    assert_eq!(
        room.send(ALICE, true, &with_nonce(0)).len(),
        2,
        "long forgotten"
    );
}

#[test]
fn the_server_reaches_named_members() {
    let mut room = Room::new();
    let packet = Router::accept_server(data(0, b"x", &[]), true, &[CAROL, ALICE, CAROL]).unwrap();
    assert_eq!(room.route(&packet), [ALICE, CAROL]);
    assert_eq!(payload(&packet.data), b"x");
}

#[test]
fn members_of_another_worker_are_left_to_it() {
    let mut room = Room::new();
    room.router.insert(
        CAROL,
        Member {
            local: false,
            ..member("carol")
        },
    );
    let packet = room
        .router
        .accept(ALICE, true, &data(1, b"x", &["bob", "carol"]))
        .unwrap();
    assert_eq!(room.route(&packet), [BOB]);
    let mut other = Router::new(RouterConfig::default());
    other.insert(CAROL, member("carol"));
    other.set_ready(room.now, CAROL, true, |_| {});
    let mut to = Vec::new();
    other.route(room.now, &packet, |d| to.push(d.to));
    assert_eq!(to, [CAROL]);
}

#[test]
fn a_newer_session_keeps_its_identity_when_the_older_leaves() {
    let mut room = Room::new();
    room.router.insert(
        DAVE,
        Member {
            sid: "PA_bob2".into(),
            ..member("bob")
        },
    );
    room.ready(DAVE);
    room.router.remove(BOB);
    assert_eq!(room.send(ALICE, true, &data(1, b"x", &["bob"])), [DAVE]);
}

#[test]
fn a_raw_message_goes_to_everybody() {
    let mut room = Room::new();
    let packet = room.router.accept_raw(ALICE, b"raw").unwrap();
    assert_eq!(room.route(&packet), [BOB, CAROL]);
    assert_eq!(payload(&packet.data), b"raw");
}

#[test]
fn packets_after_a_missing_one_wait_for_it() {
    let mut room = Room::new();
    assert_eq!(room.pass(&[1, 2, 4, 5, 7]), [1, 2]);
    assert_eq!(room.router.last_sequence(ALICE), 2);
    // Its client resumed and sends everything after 2 again.
    assert_eq!(room.pass(&[3, 4, 5, 6, 7, 8]), [3, 4, 5, 6, 7, 8]);
    assert_eq!(room.router.last_sequence(ALICE), 8);
}

#[test]
fn of_packets_that_wait_the_first_is_told_and_none_is_kept_twice() {
    let mut room = Room::new();
    let refusal = |room: &mut Room, sequence| {
        let message = data(sequence, b"x", &[]);
        room.router.accept(ALICE, true, &message).unwrap_err()
    };
    room.pass(&[1]);
    assert_eq!(refusal(&mut room, 3), Refusal::Gap(3));
    assert_eq!(refusal(&mut room, 5), Refusal::Early(5));
    assert_eq!(refusal(&mut room, 3), Refusal::Repeated(3));
    room.pass(&[2, 4]);
    assert_eq!(refusal(&mut room, 7), Refusal::Gap(7));
}

#[test]
fn what_will_not_come_is_skipped() {
    let mut room = Room::new();
    room.pass(&[1, 3, 4, 6]);
    assert!(room.router.skip_missing(ALICE));
    assert_eq!(room.early(), [3, 4]);
    assert!(room.router.skip_missing(ALICE));
    assert_eq!(room.early(), [6]);
    assert!(!room.router.skip_missing(ALICE));
    assert_eq!(room.pass(&[2, 5, 7]), [7]);
}

#[test]
fn a_refused_packet_is_not_missing() {
    let mut room = Room::new();
    room.pass(&[1]);
    room.router.set_permissions(ALICE, false, false, false);
    assert_eq!(room.pass(&[2, 3]), []);
    room.router.set_permissions(ALICE, false, true, false);
    assert_eq!(room.pass(&[4]), [4]);
}

#[test]
fn a_refused_packet_behind_a_missing_one_is_not_missing_either() {
    let mut room = Room::new();
    room.pass(&[1]);
    room.router.set_permissions(ALICE, false, false, false);
    assert_eq!(room.pass(&[3]), []);
    room.router.set_permissions(ALICE, false, true, false);
    let message = data(4, b"x", &[]);
    let refusal = room.router.accept(ALICE, true, &message).unwrap_err();
    assert_eq!(refusal, Refusal::Gap(4));
    assert_eq!(room.pass(&[2, 5]), [2, 4, 5]);
}

#[test]
fn what_waits_goes_with_the_right_to_publish_data() {
    let mut room = Room::new();
    assert_eq!(room.pass(&[1, 3, 4]), [1]);
    room.router.set_permissions(ALICE, false, false, false);
    room.router.set_permissions(ALICE, false, true, false);
    assert_eq!(room.pass(&[2, 5]), [5]);
}

#[test]
fn no_more_waits_than_is_kept() {
    let mut room = Room::new();
    room.pass(&[1]);
    let large = vec![0; 60_000];
    let most = room.router.config.early_bytes / large.len();
    let mut passed = 0;
    for sequence in 3..3 + 2 * most as u32 {
        let message = data(sequence, &large, &[]);
        passed += usize::from(room.router.accept(ALICE, true, &message).is_ok());
        passed += room.early().len();
    }
    assert_eq!(passed, 2 * most);
}
