//! Descriptions: the client's are applied and answered at once, our own gather while one is outstanding.

use std::time::{Duration, Instant};

use super::Plane;
use crate::api::{Event, ParticipantId, SdpKind, SubscriptionFailure, Target};
use crate::convert;
use crate::sdp::{
    LocalDescription, Negotiated, ReceiveChange, RemoteTransport, SendChange, TransportChange,
    Unplaced,
};
use crate::transport::IceCredentials;

/// Until a client is asked again for an offer that does not come; each time twice as long.
const REMINDER: Duration = Duration::from_secs(1);
const MOST_REMINDERS: u32 = 4;

/// What a client that makes the offers was asked for since its last one.
#[derive(Debug, Default)]
pub(super) struct Asked {
    sections: Unplaced,
    /// An offer was asked for at all.
    offer: bool,
    reminders: u32,
    /// When to ask again: clients lose a request that comes while they apply an answer.
    pub(super) due: Option<Instant>,
}

impl Plane {
    pub(super) fn remote_description(
        &mut self,
        now: Instant,
        participant: ParticipantId,
        target: Target,
        kind: SdpKind,
        sdp: &str,
        id: u32,
    ) {
        let Some(key) = self.connect(now, participant, target) else {
            let reason = "there is no such peer connection".into();
            self.events.push_back(Event::DescriptionRejected {
                participant,
                target,
                id,
                reason,
            });
            return;
        };
        let outcome = match (kind, target) {
            (SdpKind::Offer, Target::Publisher) => self.answer(now, key, sdp, id),
            (SdpKind::Answer, Target::Subscriber) => self.take_answer(now, key, sdp),
            (SdpKind::Offer, Target::Subscriber) => {
                Err("the server offers on the subscriber connection".into())
            }
            (SdpKind::Answer, Target::Publisher) => {
                Err("the client offers on the publisher connection".into())
            }
        };
        if let Err(reason) = outcome {
            if let Some(connection) = self.connections.get_mut(key)
                && kind == SdpKind::Offer
                && target == Target::Publisher
            {
                connection.negotiator.rollback();
            }
            self.events.push_back(Event::DescriptionRejected {
                participant,
                target,
                id,
                reason,
            });
        }
        self.touch(key);
    }

    fn answer(&mut self, now: Instant, key: usize, sdp: &str, id: u32) -> Result<(), String> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        let offered = connection
            .negotiator
            .apply_offer(sdp)
            .map_err(|error| error.to_string())?;
        let participant = connection.participant;
        self.follow_transport(now, key, &offered.remote, offered.change)?;
        let preferences = self.match_sections(participant, key, &offered.sections);
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        for (mid, preferences) in preferences {
            connection
                .negotiator
                .set_receive_preferences(&mid, preferences)
                .map_err(|error| error.to_string())?;
        }
        connection.asked = Asked::default();
        let answered = connection
            .negotiator
            .create_answer()
            .map_err(|error| error.to_string())?;
        self.apply_remote(now, key, &offered.remote, &answered.negotiated)?;
        self.apply(now, key, answered.negotiated);
        self.tell(key, SdpKind::Answer, answered.description, id);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.wants_negotiation = true;
        }
        Ok(())
    }

    fn take_answer(&mut self, now: Instant, key: usize, sdp: &str) -> Result<(), String> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        let negotiated = connection
            .negotiator
            .apply_answer(sdp)
            .map_err(|error| error.to_string())?;
        if let Some((remote, _)) = &negotiated.remote {
            self.apply_remote(now, key, remote, &negotiated)?;
        }
        self.apply(now, key, negotiated);
        if let Some(connection) = self.connections.get_mut(key) {
            // What was wanted meanwhile goes into the next offer.
            connection.wants_negotiation = true;
        }
        Ok(())
    }

    /// Restarts our side of ICE when the client restarted its own.
    fn follow_transport(
        &mut self,
        now: Instant,
        key: usize,
        remote: &RemoteTransport,
        change: TransportChange,
    ) -> Result<(), String> {
        if change.fingerprint_changed && !change.first {
            return Err(
                "the certificate fingerprint changed: a new peer connection is needed".into(),
            );
        }
        let ice = IceCredentials {
            ufrag: remote.ice.ufrag.clone(),
            password: remote.ice.pwd.clone(),
        };
        let restarted = self
            .connections
            .get(key)
            .is_some_and(|it| it.transport.is_restart(&ice));
        if restarted {
            self.fresh_credentials(now, key);
        }
        Ok(())
    }

    fn fresh_credentials(&mut self, now: Instant, key: usize) {
        let credentials = IceCredentials::from_random(self.random.bytes());
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        self.by_ufrag
            .remove(&connection.transport.local_credentials().ufrag);
        self.by_ufrag.insert(credentials.ufrag.clone(), key);
        connection.transport.restart_ice(now, credentials);
        let transport = &connection.transport;
        for gone in connection
            .tuples
            .extract_if(.., |tuple| !transport.uses(tuple))
        {
            if self.by_tuple.get(&gone) == Some(&key) {
                self.by_tuple.remove(&gone);
            }
        }
        connection.trickled = false;
        let local = connection.local(&self.config.identity);
        connection.negotiator.set_local(local);
    }

    pub(super) fn set_tcp_only(&mut self, id: ParticipantId, tcp_only: bool) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.spec.tcp_only = tcp_only;
        for key in [participant.publisher, participant.subscriber]
            .into_iter()
            .flatten()
        {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.transport.set_tcp_only(tcp_only);
            }
        }
    }

    pub(super) fn restart_ice(&mut self, now: Instant, participant: ParticipantId, target: Target) {
        // Where the client offers, the restart is its own.
        if target == Target::Publisher {
            return;
        }
        let Some(key) = self.connect(now, participant, target) else {
            return;
        };
        self.fresh_credentials(now, key);
        if let Some(connection) = self.connections.get_mut(key) {
            // An offer on its way names credentials that are no longer ours.
            connection.negotiator.withdraw_offer();
            connection.wants_negotiation = true;
        }
        self.touch(key);
    }

    /// What the client was last asked on a signalling connection that is gone is asked again.
    pub(super) fn resume(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let room = self.rooms.get(&participant.spec.room);
        let last_sequence = room.map_or(0, |room| room.router.last_sequence(id));
        self.events.push_back(Event::Resumed {
            participant: id,
            last_sequence,
        });
        if let Some(key) = participant.publisher
            && let Some(connection) = self.connections.get_mut(key)
        {
            connection.asked = Asked::default();
            connection.wants_negotiation = true;
            self.touch(key);
        }
    }

    fn apply_remote(
        &mut self,
        now: Instant,
        key: usize,
        remote: &RemoteTransport,
        negotiated: &Negotiated,
    ) -> Result<(), String> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        let parameters = convert::remote_parameters(remote, negotiated.data.as_ref());
        connection
            .transport
            .set_remote(now, &parameters)
            .map_err(|error| error.to_string())?;
        connection.described = true;
        let early = std::mem::take(&mut connection.early_candidates);
        for candidate in remote.candidates.iter().chain(&early) {
            if let Err(error) = connection.transport.add_remote_candidate(now, candidate) {
                log::debug!("candidate ignored: {error}");
            }
        }
        Ok(())
    }

    pub(super) fn remote_candidate(
        &mut self,
        now: Instant,
        participant: ParticipantId,
        target: Target,
        candidate: &str,
    ) {
        let Some(key) = self.connect(now, participant, target) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !connection.described {
            connection.keep_candidate(candidate);
        } else if let Err(error) = connection.transport.add_remote_candidate(now, candidate) {
            let detail = format!("candidate ignored: {error}");
            self.refuse(now, participant, detail);
        }
        self.touch(key);
    }

    /// What changed by an offer and its answer takes effect.
    fn apply(&mut self, now: Instant, key: usize, negotiated: Negotiated) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let participant = connection.participant;
        for change in negotiated.receive {
            match change {
                ReceiveChange::Started(section) => self.section_started(now, key, *section),
                ReceiveChange::Changed(section) => self.section_changed(now, key, *section),
                ReceiveChange::Stopped { mid } => self.section_stopped(now, key, &mid),
            }
        }
        for rejected in negotiated.rejected {
            let detail = format!(
                "section {} cannot be received: {}",
                rejected.mid, rejected.reason
            );
            self.refuse(now, participant, detail);
        }
        for change in negotiated.send {
            match change {
                SendChange::Ready(section) => self.send_ready(now, key, &section),
                SendChange::Stopped { key: track } => self.send_stopped(now, participant, track),
                SendChange::Unsupported { key: track } => {
                    self.drop_subscription(now, participant, track);
                    self.events.push_back(Event::SubscriptionFailed {
                        participant,
                        track,
                        reason: SubscriptionFailure::CodecUnsupported,
                    });
                }
            }
        }
    }

    /// Offers, or asks the client to, when something waits for it.
    pub(super) fn negotiate(&mut self, now: Instant, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !std::mem::take(&mut connection.wants_negotiation) {
            return;
        }
        let participant = connection.participant;
        match connection.target {
            Target::Publisher => self.ask_for_sections(now, key),
            Target::Subscriber => {
                if connection.negotiator.offer_outstanding() || !connection.negotiator.needs_offer()
                {
                    return;
                }
                match connection.negotiator.create_offer() {
                    Ok(description) => {
                        connection.offer_id = connection.offer_id.wrapping_add(1).max(1);
                        let id = connection.offer_id;
                        self.tell(key, SdpKind::Offer, description, id);
                    }
                    Err(error) => self.refuse(now, participant, format!("cannot offer: {error}")),
                }
            }
        }
    }

    fn ask_for_sections(&mut self, now: Instant, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let participant = connection.participant;
        let single = self
            .participants
            .get(&participant)
            .is_some_and(|it| it.is_single());
        // Before the first offer nothing is known of the client's sections.
        if !single || !connection.described || !connection.negotiator.needs_offer() {
            return;
        }
        let missing = connection.negotiator.unplaced();
        let asked = &mut connection.asked;
        let audios = missing.audio.saturating_sub(asked.sections.audio);
        let videos = missing.video.saturating_sub(asked.sections.video);
        if audios + videos == 0 && (asked.offer || missing != Unplaced::default()) {
            return;
        }
        asked.sections.audio += audios;
        asked.sections.video += videos;
        asked.offer = true;
        asked.reminders = 0;
        asked.due = Some(now + REMINDER);
        self.events.push_back(Event::MediaSections {
            participant,
            audios: audios as u32,
            videos: videos as u32,
        });
    }

    /// Asks once more for an offer that did not come. The sections are not asked for again: they may be there
    /// and only the offer missing. What the offer lacks is asked for when it is answered.
    pub(super) fn remind(&mut self, now: Instant, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let asked = &mut connection.asked;
        if asked.due.is_none_or(|due| now < due) {
            return;
        }
        asked.due = None;
        if asked.reminders >= MOST_REMINDERS || !connection.negotiator.needs_offer() {
            return;
        }
        asked.reminders += 1;
        asked.due = Some(now + REMINDER * (1 << asked.reminders));
        self.events.push_back(Event::MediaSections {
            participant: connection.participant,
            audios: 0,
            videos: 0,
        });
    }

    /// Hands a local description to the control plane, and after it the candidates not told yet.
    fn tell(&mut self, key: usize, kind: SdpKind, description: LocalDescription, id: u32) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let (participant, target) = (connection.participant, connection.target);
        let mids = description
            .mids
            .into_iter()
            .filter_map(|(mid, track)| Some((mid, self.tracks.get(&track)?.spec.sid.clone())));
        self.events.push_back(Event::Description {
            participant,
            target,
            kind,
            sdp: description.sdp,
            id,
            mids: mids.collect(),
        });
        if std::mem::replace(&mut connection.trickled, true) {
            return;
        }
        let candidates = connection.transport.local_candidates();
        let count = candidates.len();
        for (index, candidate) in candidates.into_iter().enumerate() {
            self.events.push_back(Event::Candidate {
                participant,
                target,
                candidate,
                mid: description.transport_mid.clone(),
                mline: description.transport_line,
                last: index + 1 == count,
            });
        }
    }
}
