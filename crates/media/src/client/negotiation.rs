//! Descriptions: we offer on the publisher connection, the server on the subscriber one.

use std::sync::Arc;
use std::time::Instant;

use super::{Client, ClientEvent, index};
use crate::api::{MediaKind, SdpKind, Target};
use crate::convert;
use crate::sdp::{LocalDescription, Negotiated, ReceiveChange, RemoteTransport, SendChange};
use crate::transport::IceCredentials;

impl Client {
    /// Wants sections that only receive: so many more of each kind.
    pub fn add_receivers(&mut self, audio: usize, video: usize) {
        if let Some(connection) = self.connection(Target::Publisher) {
            connection.negotiator.add_receive(MediaKind::Audio, audio);
            connection.negotiator.add_receive(MediaKind::Video, video);
        }
    }

    /// Offers on the publisher connection: at the end of the turn, or as soon as the offer before is answered.
    pub fn negotiate(&mut self) {
        if let Some(connection) = self.connection(Target::Publisher) {
            connection.wants_negotiation = true;
        }
    }

    /// Takes a description of the server's. What is wrong with it comes as [`ClientEvent::Rejected`].
    pub fn remote_description(
        &mut self,
        now: Instant,
        target: Target,
        kind: SdpKind,
        sdp: &str,
        id: u32,
    ) {
        let outcome = match (kind, target) {
            (SdpKind::Answer, Target::Publisher) => self.take_answer(now, sdp, id),
            (SdpKind::Offer, Target::Subscriber) => self.answer(now, sdp, id),
            (SdpKind::Offer, Target::Publisher) => {
                Err("the client offers on the publisher connection".into())
            }
            (SdpKind::Answer, Target::Subscriber) => {
                Err("the server offers on the subscriber connection".into())
            }
        };
        if let Err(reason) = outcome {
            if kind == SdpKind::Offer
                && let Some(connection) = self.connection(Target::Subscriber)
            {
                connection.negotiator.rollback();
            }
            self.events
                .push_back(ClientEvent::Rejected { target, id, reason });
        }
    }

    /// A `candidate:…` line of the server's.
    pub fn remote_candidate(&mut self, now: Instant, target: Target, candidate: &str) {
        let Some(connection) = self.connection(target) else {
            return;
        };
        if !connection.described {
            connection.keep_candidate(candidate);
        } else {
            connection.add_candidate(now, candidate);
        }
    }

    /// Fresh ICE credentials. On the publisher connection an offer follows at once; on the other one they go
    /// into the answer to the server's next.
    pub fn restart_ice(&mut self, now: Instant, target: Target) {
        self.fresh_credentials(now, target);
        if target == Target::Publisher
            && let Some(connection) = self.connection(target)
        {
            // An offer on its way names credentials that are no longer ours.
            connection.negotiator.withdraw_offer();
            connection.wants_negotiation = true;
        }
    }

    fn fresh_credentials(&mut self, now: Instant, target: Target) {
        let credentials = IceCredentials::from_random(self.random.bytes());
        let identity = Arc::clone(&self.identity);
        if let Some(connection) = self.connections.get_mut(index(target)) {
            connection.transport.restart_ice(now, credentials);
            connection.restart_paths();
            connection.ask_reflexive(now, &self.stun, &mut self.random);
            connection.described = false;
            let local = connection.local(&identity);
            connection.negotiator.set_local(local);
        }
    }

    pub(super) fn offer(&mut self, at: usize) {
        let Some(connection) = self.connections.get_mut(at) else {
            return;
        };
        if connection.target != Target::Publisher
            || !connection.wants_negotiation
            || connection.negotiator.offer_outstanding()
        {
            return;
        }
        connection.wants_negotiation = false;
        match connection.negotiator.create_offer() {
            Ok(description) => {
                connection.offer_id = connection.offer_id.wrapping_add(1).max(1);
                let id = connection.offer_id;
                self.tell(at, SdpKind::Offer, description, id);
            }
            // Nothing was asked for so far that could be negotiated.
            Err(error) => log::debug!("no offer: {error}"),
        }
    }

    fn take_answer(&mut self, now: Instant, sdp: &str, id: u32) -> Result<(), String> {
        let Some(connection) = self.connection(Target::Publisher) else {
            return Ok(());
        };
        if id != 0 && id != connection.offer_id {
            // To an offer that another took the place of.
            return Ok(());
        }
        let negotiated = connection
            .negotiator
            .apply_answer(sdp)
            .map_err(|error| error.to_string())?;
        if let Some((remote, _)) = &negotiated.remote {
            self.apply_remote(now, Target::Publisher, remote, &negotiated)?;
        }
        self.apply(now, Target::Publisher, negotiated);
        // What was wanted meanwhile goes into the next offer.
        if let Some(connection) = self.connection(Target::Publisher) {
            connection.wants_negotiation |= connection.negotiator.needs_offer();
        }
        Ok(())
    }

    fn answer(&mut self, now: Instant, sdp: &str, id: u32) -> Result<(), String> {
        let target = Target::Subscriber;
        let Some(connection) = self.connection(target) else {
            return Err("there is no such peer connection".into());
        };
        let offered = connection
            .negotiator
            .apply_offer(sdp)
            .map_err(|error| error.to_string())?;
        if offered.change.fingerprint_changed && !offered.change.first {
            return Err(
                "the certificate fingerprint changed: a new peer connection is needed".into(),
            );
        }
        let ice = IceCredentials {
            ufrag: offered.remote.ice.ufrag.clone(),
            password: offered.remote.ice.pwd.clone(),
        };
        if connection.transport.is_restart(&ice) {
            self.fresh_credentials(now, target);
        }
        let Some(connection) = self.connection(target) else {
            return Ok(());
        };
        let answered = connection
            .negotiator
            .create_answer()
            .map_err(|error| error.to_string())?;
        self.apply_remote(now, target, &offered.remote, &answered.negotiated)?;
        self.apply(now, target, answered.negotiated);
        self.tell(index(target), SdpKind::Answer, answered.description, id);
        Ok(())
    }

    fn apply_remote(
        &mut self,
        now: Instant,
        target: Target,
        remote: &RemoteTransport,
        negotiated: &Negotiated,
    ) -> Result<(), String> {
        let Some(connection) = self.connection(target) else {
            return Ok(());
        };
        let parameters = convert::remote_parameters(remote, negotiated.data.as_ref());
        connection
            .transport
            .set_remote(now, &parameters)
            .map_err(|error| error.to_string())?;
        if !std::mem::replace(&mut connection.described, true) {
            connection.begin_paths(now);
        }
        let early = std::mem::take(&mut connection.early_candidates);
        let early = early.iter().filter(|it| is_of(it, &remote.ice.ufrag));
        for candidate in remote.candidates.iter().chain(early) {
            connection.add_candidate(now, candidate);
        }
        Ok(())
    }

    /// What changed by an offer and its answer takes effect.
    fn apply(&mut self, now: Instant, target: Target, negotiated: Negotiated) {
        for change in negotiated.receive {
            match change {
                ReceiveChange::Started(section) => self.section_started(now, target, &section),
                ReceiveChange::Changed(section) => self.section_changed(now, target, &section),
                ReceiveChange::Stopped { mid } => self.section_stopped(now, target, &mid),
            }
        }
        for rejected in negotiated.rejected {
            self.events.push_back(ClientEvent::Rejected {
                target,
                id: 0,
                reason: format!(
                    "section {} cannot be received: {}",
                    rejected.mid, rejected.reason
                ),
            });
        }
        let resent = !negotiated.send.is_empty();
        for change in negotiated.send {
            match change {
                SendChange::Ready(section) => self.send_ready(&section),
                SendChange::Stopped { key } => self.send_stopped(key),
                SendChange::Unsupported { key } => {
                    self.send_stopped(key);
                    self.events.push_back(ClientEvent::Rejected {
                        target,
                        id: 0,
                        reason: "the server takes none of the track's codecs".into(),
                    });
                }
            }
        }
        if resent {
            self.share(now);
        }
    }

    /// Hands out a local description. It holds our candidates: other ways are ours alone to try.
    fn tell(&mut self, at: usize, kind: SdpKind, description: LocalDescription, id: u32) {
        let Some(connection) = self.connections.get_mut(at) else {
            return;
        };
        let target = connection.target;
        self.events.push_back(ClientEvent::Description {
            target,
            kind,
            sdp: description.sdp,
            id,
        });
    }
}

/// Whether a candidate's line names that username fragment, or none (RFC 8839 §5.1).
fn is_of(line: &str, ufrag: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == "ufrag").is_none() || words.next() == Some(ufrag)
}
