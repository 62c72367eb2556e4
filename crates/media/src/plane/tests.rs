//! The glue: commands and descriptions in, events out. Media over links is the simulation's matter.

use super::*;
use crate::api::*;
use crate::sdp::{
    Codec, CodecWish, Fingerprint, Fmtp, IceCredentials, LocalTransport, Negotiator,
    NegotiatorConfig, SendSpec,
};

mod backup;

const ROOM: RoomId = RoomId(1);
const ALICE: ParticipantId = ParticipantId(1);
const BOB: ParticipantId = ParticipantId(2);

/// Descriptions as a client makes them.
struct Client {
    negotiator: Negotiator,
}

impl Client {
    fn new() -> Self {
        let local = LocalTransport {
            ice: IceCredentials {
                ufrag: "client".into(),
                pwd: "clientpasswordclientpassword".into(),
            },
            ice_lite: false,
            fingerprint: Fingerprint {
                algorithm: "sha-256".into(),
                digest: vec![7; 32],
            },
            candidates: Vec::new(),
            end_of_candidates: false,
        };
        let mut negotiator = Negotiator::new(NegotiatorConfig::default(), local);
        negotiator.add_data();
        Self { negotiator }
    }

    fn send(&mut self, number: u64, cid: &str, codecs: &[Codec]) {
        let codecs: Vec<CodecWish> = codecs
            .iter()
            .map(|codec| CodecWish {
                codec: *codec,
                fmtp: Fmtp::default(),
            })
            .collect();
        self.negotiator.add_send(SendSpec {
            key: TrackId(number),
            kind: codecs[0].codec.kind(),
            stream: "stream".into(),
            track: cid.into(),
            ssrc: number as u32 * 10,
            rtx_ssrc: Some(number as u32 * 10 + 1),
            codecs,
            stereo: false,
            rids: Vec::new(),
        });
    }

    fn offer(&mut self) -> String {
        self.negotiator.create_offer().unwrap().sdp
    }
}

struct Fixture {
    plane: Plane,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        let now = Instant::now();
        let config = PlaneConfig {
            identity: Identity::generate().unwrap(),
            candidates: Vec::new(),
            seed: Some(1),
            unix_time: Some(Duration::from_secs(1_800_000_000)),
        };
        let mut fixture = Self {
            plane: Plane::new(config, now),
            now,
        };
        fixture.run(Command::OpenRoom(RoomSpec {
            room: ROOM,
            sid: "RM_1".into(),
            codecs: [
                "video/vp8",
                "video/vp9",
                "video/h264",
                "audio/opus",
                "audio/red",
                "audio/pcmu",
            ]
            .map(String::from)
            .to_vec(),
            speakers: SpeakerSettings::default(),
            sync_streams: false,
        }));
        fixture
    }

    /// Runs a command to the end of its turn.
    fn run(&mut self, command: Command) -> Vec<Event> {
        self.plane.handle_command(self.now, command);
        self.end_turn()
    }

    fn end_turn(&mut self) -> Vec<Event> {
        self.plane.drain(self.now, |_| {});
        std::iter::from_fn(|| self.plane.poll_event()).collect()
    }

    fn wait(&mut self, time: Duration) -> Vec<Event> {
        self.now += time;
        self.plane.handle_timeout(self.now);
        self.end_turn()
    }

    fn join_with(
        &mut self,
        id: ParticipantId,
        mode: ConnectionMode,
        change: impl FnOnce(&mut ParticipantSpec),
    ) -> Vec<Event> {
        let mut spec = ParticipantSpec {
            room: ROOM,
            identity: format!("p{}", id.0).into(),
            sid: format!("PA_{}", id.0).into(),
            mode,
            permissions: Permissions {
                hidden: false,
                can_publish: true,
                can_subscribe: true,
                can_publish_data: true,
                agent: false,
            },
            auto_subscribe: true,
            adaptive_stream: false,
            ice_lite: false,
            client: ClientTraits::default(),
            extra_address: None,
            tcp_only: false,
            in_process: false,
        };
        change(&mut spec);
        self.run(Command::AddParticipant {
            participant: id,
            spec,
        })
    }

    fn join(&mut self, id: ParticipantId, mode: ConnectionMode) -> Vec<Event> {
        self.join_with(id, mode, |_| {})
    }

    fn describe(
        &mut self,
        participant: ParticipantId,
        target: Target,
        kind: SdpKind,
        sdp: String,
    ) -> Vec<Event> {
        self.run(Command::RemoteDescription {
            participant,
            target,
            kind,
            sdp,
            id: 7,
        })
    }

    fn offer(&mut self, id: ParticipantId, client: &mut Client) -> Vec<Event> {
        let sdp = client.offer();
        let events = self.describe(id, Target::Publisher, SdpKind::Offer, sdp);
        for event in &events {
            if let Event::Description {
                kind: SdpKind::Answer,
                sdp,
                id,
                ..
            } = event
            {
                assert_eq!(*id, 7, "an answer has its offer's id");
                client.negotiator.apply_answer(sdp).unwrap();
            }
        }
        events
    }

    fn expect(&mut self, id: ParticipantId, spec: TrackSpec) -> Vec<Event> {
        self.run(Command::ExpectTrack {
            participant: id,
            spec,
        })
    }
}

const DUAL: ConnectionMode = ConnectionMode::Dual {
    subscriber_primary: true,
};

fn spec(track: u64, kind: MediaKind, cid: &str) -> TrackSpec {
    TrackSpec {
        track: TrackId(track),
        sid: format!("TR_{track}").into(),
        stream: "camera".into(),
        kind,
        microphone: kind == MediaKind::Audio,
        cid: cid.into(),
        codecs: Vec::new(),
        stereo: false,
        dtx: true,
        red: true,
        encrypted: false,
        muted: false,
    }
}

fn codec(mime: &str, cid: &str) -> CodecSpec {
    CodecSpec {
        mime: mime.into(),
        cid: cid.into(),
        layer_mode: LayerMode::Unused,
        layers: Vec::new(),
    }
}

fn bound(events: &[Event]) -> Vec<u64> {
    let track = |event: &Event| match event {
        Event::TrackBound { track, .. } => Some(track.0),
        _ => None,
    };
    events.iter().filter_map(track).collect()
}

/// Track sids of the last description of the server's.
fn sent(events: &[Event]) -> Option<Vec<String>> {
    events.iter().rev().find_map(|event| match event {
        Event::Description { mids, .. } => {
            Some(mids.iter().map(|(_, sid)| sid.to_string()).collect())
        }
        _ => None,
    })
}

/// The server's offer answered by a client that takes everything.
fn answer(
    fixture: &mut Fixture,
    id: ParticipantId,
    client: &mut Client,
    events: &[Event],
) -> Vec<Event> {
    let offer = events.iter().find_map(|event| match event {
        Event::Description {
            participant,
            kind: SdpKind::Offer,
            sdp,
            ..
        } if *participant == id => Some(sdp.clone()),
        _ => None,
    });
    client
        .negotiator
        .apply_offer(&offer.expect("an offer"))
        .unwrap();
    let answer = client.negotiator.create_answer().unwrap().description.sdp;
    fixture.describe(id, Target::Subscriber, SdpKind::Answer, answer)
}

/// Sections that Bob is asked for, audio and video.
fn asked(events: &[Event]) -> Vec<(u32, u32)> {
    let sections = |event: &Event| match event {
        Event::MediaSections {
            participant: BOB,
            audios,
            videos,
        } => Some((*audios, *videos)),
        _ => None,
    };
    events.iter().filter_map(sections).collect()
}

#[test]
fn a_track_is_bound_by_its_cid_whichever_comes_first() {
    for offer_first in [true, false] {
        let mut fixture = Fixture::new();
        fixture.join(ALICE, DUAL);
        let mut client = Client::new();
        client.send(1, "mic", &[Codec::Opus]);
        let mut events = Vec::new();
        if !offer_first {
            events.extend(fixture.expect(ALICE, spec(5, MediaKind::Audio, "mic")));
        }
        events.extend(fixture.offer(ALICE, &mut client));
        if offer_first {
            events.extend(fixture.expect(ALICE, spec(5, MediaKind::Audio, "mic")));
        }
        assert_eq!(bound(&events), [5], "offer first: {offer_first}");
    }
}

#[test]
fn a_cid_wins_over_the_order_of_sections() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    let mut client = Client::new();
    client.send(1, "unknown", &[Codec::Vp8]);
    client.send(2, "camera", &[Codec::Vp8]);
    fixture.expect(ALICE, spec(5, MediaKind::Video, "camera"));
    let events = fixture.offer(ALICE, &mut client);
    let mids: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::TrackBound { track, mid, .. } => Some((track.0, mid.clone())),
            _ => None,
        })
        .collect();
    let camera = client
        .negotiator
        .mids()
        .iter()
        .find(|it| it.1 == TrackId(2))
        .unwrap()
        .0
        .clone();
    assert_eq!(mids, [(5, camera)]);
}

#[test]
fn a_section_with_another_name_takes_the_first_announced_track_of_its_kind() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    let mut client = Client::new();
    client.send(1, "renamed", &[Codec::Vp8]);
    fixture.expect(ALICE, spec(4, MediaKind::Audio, "mic"));
    fixture.expect(ALICE, spec(5, MediaKind::Video, "camera"));
    assert_eq!(bound(&fixture.offer(ALICE, &mut client)), [5]);
}

#[test]
fn two_connections_have_an_offer_at_once_with_what_is_there() {
    let mut fixture = Fixture::new();
    let events = fixture.join(ALICE, DUAL);
    assert_eq!(sent(&events), Some(Vec::new()));
    let mut client = Client::new();
    client.send(1, "mic", &[Codec::Opus]);
    fixture.expect(ALICE, spec(5, MediaKind::Audio, "mic"));
    fixture.offer(ALICE, &mut client);
    assert_eq!(sent(&fixture.join(BOB, DUAL)), Some(vec!["TR_5".into()]));
}

#[test]
fn own_offers_gather_only_while_one_is_outstanding() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    let mut bob = Client::new();
    let offer = fixture.join(BOB, DUAL);
    let mut client = Client::new();
    let mut events = Vec::new();
    for (number, cid) in [(1, "one"), (2, "two")] {
        client.send(number, cid, &[Codec::Opus]);
        fixture.expect(ALICE, spec(number + 10, MediaKind::Audio, cid));
        events.extend(fixture.offer(ALICE, &mut client));
    }
    let to_bob = |event: &&Event| {
        matches!(
            event,
            Event::Description {
                participant: BOB,
                ..
            }
        )
    };
    assert_eq!(events.iter().filter(to_bob).count(), 0);
    let events = answer(&mut fixture, BOB, &mut bob, &offer);
    assert_eq!(sent(&events), Some(vec!["TR_11".into(), "TR_12".into()]));
}

#[test]
fn one_connection_asks_for_sections_that_are_missing() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    fixture.join(BOB, ConnectionMode::Single);
    let mut bob = Client::new();
    bob.negotiator.add_receive(MediaKind::Audio, 1);
    assert_eq!(sent(&fixture.offer(BOB, &mut bob)), Some(Vec::new()));
    let mut client = Client::new();
    client.send(1, "mic", &[Codec::Opus]);
    client.send(2, "camera", &[Codec::Vp8]);
    fixture.expect(ALICE, spec(5, MediaKind::Audio, "mic"));
    fixture.expect(ALICE, spec(6, MediaKind::Video, "camera"));
    let events = fixture.offer(ALICE, &mut client);
    // A section for audio is free already.
    assert_eq!(asked(&events), [(0, 1)]);
    bob.negotiator.add_receive(MediaKind::Video, 1);
    let events = fixture.offer(BOB, &mut bob);
    let mut sids = sent(&events).unwrap();
    sids.sort();
    assert_eq!(sids, ["TR_5", "TR_6"]);
    assert_eq!(asked(&events), []);
}

#[test]
fn an_offer_that_does_not_come_is_asked_for_again_and_not_for_ever() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    fixture.join(BOB, ConnectionMode::Single);
    let mut bob = Client::new();
    fixture.offer(BOB, &mut bob);
    let mut client = Client::new();
    client.send(1, "mic", &[Codec::Opus]);
    fixture.expect(ALICE, spec(5, MediaKind::Audio, "mic"));
    assert_eq!(asked(&fixture.offer(ALICE, &mut client)), [(1, 0)]);
    assert_eq!(asked(&fixture.wait(Duration::from_millis(900))), []);
    assert_eq!(asked(&fixture.wait(Duration::from_millis(200))), [(0, 0)]);
    assert_eq!(asked(&fixture.wait(Duration::from_secs(3))), [(0, 0)]);
    // The offer comes without the section: it is asked for anew.
    assert_eq!(asked(&fixture.offer(BOB, &mut bob)), [(1, 0)]);
    let mut reminders = 0;
    for _ in 0..120 {
        reminders += asked(&fixture.wait(Duration::from_secs(1))).len();
    }
    assert_eq!(reminders, 4);
    bob.negotiator.add_receive(MediaKind::Audio, 1);
    assert_eq!(
        sent(&fixture.offer(BOB, &mut bob)),
        Some(vec!["TR_5".into()])
    );
    for _ in 0..30 {
        assert_eq!(asked(&fixture.wait(Duration::from_secs(1))), []);
    }
}

#[test]
fn the_audience_is_everybody_but_exceptions() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    let mut client = Client::new();
    client.send(1, "mic", &[Codec::Opus]);
    fixture.expect(ALICE, spec(5, MediaKind::Audio, "mic"));
    fixture.offer(ALICE, &mut client);
    let manual = fixture.join_with(BOB, DUAL, |spec| spec.auto_subscribe = false);
    assert_eq!(sent(&manual), Some(Vec::new()));
    let mut bob = Client::new();
    answer(&mut fixture, BOB, &mut bob, &manual);
    let wish = |wish| Command::SetSubscription {
        participant: BOB,
        track: TrackId(5),
        wish,
    };
    let offer = fixture.run(wish(SubscriptionWish::Subscribed));
    assert_eq!(sent(&offer), Some(vec!["TR_5".into()]));
    answer(&mut fixture, BOB, &mut bob, &offer);
    let events = fixture.run(wish(SubscriptionWish::Default));
    assert!(events.iter().any(|event| matches!(
        event,
        Event::Unsubscribed {
            participant: BOB,
            track: TrackId(5)
        }
    )));
    assert_eq!(sent(&events), Some(Vec::new()));
}

#[test]
fn tracks_of_the_hidden_are_for_those_who_ask() {
    let mut fixture = Fixture::new();
    fixture.join_with(ALICE, DUAL, |spec| spec.permissions.hidden = true);
    let mut client = Client::new();
    client.send(1, "mic", &[Codec::Opus]);
    fixture.expect(ALICE, spec(5, MediaKind::Audio, "mic"));
    fixture.offer(ALICE, &mut client);
    assert_eq!(sent(&fixture.join(BOB, DUAL)), Some(Vec::new()));
}

#[test]
fn who_may_not_subscribe_gets_tracks_when_allowed() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    let mut client = Client::new();
    client.send(1, "mic", &[Codec::Opus]);
    fixture.expect(ALICE, spec(5, MediaKind::Audio, "mic"));
    fixture.offer(ALICE, &mut client);
    let offer = fixture.join_with(BOB, DUAL, |spec| spec.permissions.can_subscribe = false);
    let mut bob = Client::new();
    answer(&mut fixture, BOB, &mut bob, &offer);
    let events = fixture.run(Command::UpdatePermissions {
        participant: BOB,
        permissions: Permissions {
            hidden: false,
            can_publish: true,
            can_subscribe: true,
            can_publish_data: true,
            agent: false,
        },
    });
    assert_eq!(sent(&events), Some(vec!["TR_5".into()]));
}

#[test]
fn a_section_that_stops_ends_its_track_everywhere() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    let mut client = Client::new();
    client.send(1, "mic", &[Codec::Opus]);
    fixture.expect(ALICE, spec(5, MediaKind::Audio, "mic"));
    fixture.offer(ALICE, &mut client);
    let offer = fixture.join(BOB, DUAL);
    let mut bob = Client::new();
    answer(&mut fixture, BOB, &mut bob, &offer);
    client.negotiator.remove_send(TrackId(1));
    let events = fixture.offer(ALICE, &mut client);
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::TrackEnded(TrackId(5))))
    );
    let to_bob = events.iter().filter(
        |event| matches!(event, Event::Description { participant: BOB, mids, .. } if mids.is_empty()),
    );
    assert_eq!(to_bob.count(), 1);
    assert!(fixture.plane.tracks.is_empty() && fixture.plane.subs.is_empty());
    assert!(fixture.plane.variants.is_empty());
}

#[test]
fn publishing_again_and_again_leaves_nothing_behind() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    let mut bob = Client::new();
    let offer = fixture.join(BOB, DUAL);
    answer(&mut fixture, BOB, &mut bob, &offer);
    let mut client = Client::new();
    let mut sizes = Vec::new();
    for round in 1..=40 {
        client.send(round, &format!("cid{round}"), &[Codec::Opus]);
        fixture.expect(ALICE, spec(round, MediaKind::Audio, &format!("cid{round}")));
        let events = fixture.offer(ALICE, &mut client);
        answer(&mut fixture, BOB, &mut bob, &events);
        client.negotiator.remove_send(TrackId(round));
        let events = fixture.offer(ALICE, &mut client);
        let size = events.iter().find_map(|event| match event {
            Event::Description {
                participant: BOB,
                sdp,
                ..
            } => Some(sdp.lines().filter(|line| line.starts_with("m=")).count()),
            _ => None,
        });
        sizes.push(size.unwrap());
        answer(&mut fixture, BOB, &mut bob, &events);
    }
    assert_eq!(sizes.last(), sizes.first());
    assert!(fixture.plane.subs.is_empty() && fixture.plane.variants.is_empty());
}

#[test]
fn an_unusable_offer_is_rejected_with_its_reason_and_the_next_one_works() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    let events = fixture.describe(ALICE, Target::Publisher, SdpKind::Offer, "nonsense".into());
    assert!(
        matches!(&events[..], [Event::DescriptionRejected { id: 7, reason, .. }] if !reason.is_empty())
    );
    let endless = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(1_001);
    let events = fixture.describe(ALICE, Target::Publisher, SdpKind::Offer, endless);
    assert!(
        matches!(&events[..], [Event::DescriptionRejected { reason, .. }] if reason == "more than 1000 sections")
    );
    let events = fixture.describe(ALICE, Target::Subscriber, SdpKind::Offer, String::new());
    assert!(matches!(&events[..], [Event::DescriptionRejected { .. }]));
    let mut client = Client::new();
    assert!(sent(&fixture.offer(ALICE, &mut client)).is_some());
}

#[test]
fn a_fault_closes_the_participant_it_belongs_to() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    fixture.join(BOB, DUAL);
    fixture
        .plane
        .guard(fixture.now, Some(ALICE), |_| panic!("on purpose"));
    let events = fixture.end_turn();
    assert!(
        matches!(&events[..], [Event::Fault { participant: ALICE, detail }] if detail == "on purpose")
    );
    let mut client = Client::new();
    let sdp = client.offer();
    let events = fixture.describe(ALICE, Target::Publisher, SdpKind::Offer, sdp);
    assert!(matches!(&events[..], [Event::DescriptionRejected { .. }]));
    assert!(sent(&fixture.offer(BOB, &mut Client::new())).is_some());
}

#[test]
fn what_a_closed_connection_left_behind_is_bound_to_no_other() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    let mut client = Client::new();
    client.send(1, "mic", &[Codec::Opus]);
    fixture.offer(ALICE, &mut client);
    fixture
        .plane
        .guard(fixture.now, Some(ALICE), |_| panic!("on purpose"));
    // Bob's connections take the places of Alice's.
    fixture.join(BOB, DUAL);
    fixture.offer(BOB, &mut Client::new());
    let events = fixture.expect(ALICE, spec(5, MediaKind::Audio, "mic"));
    assert_eq!(bound(&events), []);
}

#[test]
fn data_tracks_that_come_and_go_leave_nothing_behind() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    for track in 1..=100 {
        fixture.run(Command::PublishDataTrack {
            participant: ALICE,
            spec: DataTrackSpec {
                track: TrackId(track),
                sid: format!("DTR_{track}").into(),
                publisher_handle: 1,
            },
        });
        fixture.run(Command::UnpublishDataTrack(TrackId(track)));
    }
    assert!(fixture.plane.participants[&ALICE].data_tracks.is_empty());
    assert!(fixture.plane.data_tracks.is_empty());
}

#[test]
fn paths_that_led_nowhere_are_forgotten_when_ice_restarts() {
    let mut fixture = Fixture::new();
    fixture.plane.config.candidates = vec![LocalCandidate {
        protocol: crate::transport::Protocol::Udp,
        address: ([192, 0, 2, 1], 7_882).into(),
        base: None,
    }];
    let mut offer = fixture.join(ALICE, DUAL);
    let mut client = Client::new();
    for restart in 0..20u16 {
        answer(&mut fixture, ALICE, &mut client, &offer);
        for port in 1..=10 {
            fixture.run(Command::RemoteCandidate {
                participant: ALICE,
                target: Target::Subscriber,
                candidate: format!(
                    "candidate:1 1 udp 2130706431 198.51.100.7 {} typ host",
                    restart * 10 + port
                ),
            });
        }
        fixture.wait(Duration::from_millis(500));
        offer = fixture.run(Command::RestartIce {
            participant: ALICE,
            target: Target::Subscriber,
        });
    }
    assert!(fixture.plane.by_tuple.len() <= 10);
}

#[test]
fn what_is_gone_is_ignored() {
    let mut fixture = Fixture::new();
    for command in [
        Command::RemoveParticipant(ALICE),
        Command::RemoveTrack(TrackId(9)),
        Command::MuteTrack {
            track: TrackId(9),
            muted: true,
        },
        Command::CloseRoom(RoomId(9)),
        Command::UnpublishDataTrack(TrackId(9)),
        Command::RestartIce {
            participant: ALICE,
            target: Target::Subscriber,
        },
    ] {
        assert!(fixture.run(command).is_empty());
    }
}

#[test]
fn a_room_that_closes_leaves_nothing() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    let mut client = Client::new();
    client.send(1, "mic", &[Codec::Opus]);
    fixture.expect(ALICE, spec(5, MediaKind::Audio, "mic"));
    fixture.offer(ALICE, &mut client);
    fixture.join(BOB, ConnectionMode::Single);
    fixture.run(Command::CloseRoom(ROOM));
    let plane = &fixture.plane;
    assert!(
        plane.participants.is_empty() && plane.connections.is_empty() && plane.tracks.is_empty()
    );
    assert!(plane.subs.is_empty() && plane.variants.is_empty() && plane.rooms.is_empty());
    assert!(plane.by_ufrag.is_empty() && plane.by_tuple.is_empty());
}

#[test]
fn an_ice_restart_is_offered_with_fresh_credentials() {
    let mut fixture = Fixture::new();
    let first = fixture.join(ALICE, DUAL);
    let mut client = Client::new();
    answer(&mut fixture, ALICE, &mut client, &first);
    let ufrag = |events: &[Event]| {
        events.iter().find_map(|event| match event {
            Event::Description { sdp, .. } => {
                let line = sdp.lines().find(|line| line.starts_with("a=ice-ufrag:"));
                line.map(str::to_owned)
            }
            _ => None,
        })
    };
    let second = fixture.run(Command::RestartIce {
        participant: ALICE,
        target: Target::Subscriber,
    });
    assert!(ufrag(&second).is_some());
    assert_ne!(ufrag(&first), ufrag(&second));
    assert_eq!(fixture.plane.by_ufrag.len(), 1);
}

#[test]
fn a_client_that_resumes_is_asked_again_for_what_is_missing() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, ConnectionMode::Single);
    let mut alice = Client::new();
    alice.send(1, "mic", &[Codec::Opus]);
    fixture.expect(ALICE, spec(5, MediaKind::Audio, "mic"));
    fixture.join(BOB, ConnectionMode::Single);
    let mut bob = Client::new();
    bob.send(1, "mic", &[Codec::Opus]);
    fixture.expect(BOB, spec(6, MediaKind::Audio, "mic"));
    fixture.offer(BOB, &mut bob);
    assert_eq!(asked(&fixture.offer(ALICE, &mut alice)), [(1, 0)]);
    let events = fixture.run(Command::Resume(BOB));
    assert!(
        matches!(events.first(), Some(Event::Resumed { participant, last_sequence: 0 }) if *participant == BOB)
    );
    assert_eq!(asked(&events), [(1, 0)]);
}
