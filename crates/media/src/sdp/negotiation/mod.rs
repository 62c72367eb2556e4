//! Offer and answer (RFC 8829) for one bundled peer connection.

mod answer;
mod formats;
mod line;
mod offer;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

pub use report::{
    Answered, CodecWish, CongestionFeedback, DataSection, LineReuse, LocalDescription, Negotiated,
    NegotiatorConfig, Offered, OfferedSection, ReceiveChange, ReceivePreferences, ReceiveSection,
    Rejected, SendChange, SendSection, SendSpec, Unplaced,
};

use self::line::{Line, LineKind, SendId};
use super::{
    Description, DtlsRole, IceCredentials, LocalTransport, MediaMedia, Msid, RemoteTransport, Rid,
    SdpError, Section, SectionMedia, Setup, Simulcast, SsrcGroup, SsrcInfo, TransportChange,
};
use crate::api::{MediaKind, TrackId};

/// Candidates that ICE is given of one description.
const MAX_REMOTE_CANDIDATES: usize = 16;
/// Sections of each kind that we ask to receive in, whoever wants more: a description has a bound.
const MOST_RECEIVERS: usize = 400;

/// The negotiation state of one peer connection.
///
/// Either side may offer at any time when nothing is outstanding. A step that fails changes nothing.
pub struct Negotiator {
    config: NegotiatorConfig,
    local: LocalTransport,
    /// Lines of the last complete negotiation.
    lines: Vec<Line>,
    /// In the order of adding.
    sends: BTreeMap<SendId, SendSpec>,
    next_send: SendId,
    preferences: HashMap<String, ReceivePreferences>,
    data: bool,
    /// Sections wanted that only receive.
    receivers: Unplaced,
    outstanding: Outstanding,
    remote: Option<RemoteTransport>,
    /// Our ICE credentials in the last complete negotiation.
    negotiated_ice: Option<IceCredentials>,
    version: u64,
    next_mid: u64,
}

enum Outstanding {
    None,
    Remote(Box<RemoteOffer>),
    Local(Box<LocalOffer>),
}

struct RemoteOffer {
    description: Description,
    remote: RemoteTransport,
}

struct LocalOffer {
    description: Description,
    lines: Vec<Line>,
    next_mid: u64,
}

impl Negotiator {
    pub fn new(config: NegotiatorConfig, local: LocalTransport) -> Self {
        Self {
            config,
            local,
            lines: Vec::new(),
            sends: BTreeMap::new(),
            next_send: 0,
            preferences: HashMap::new(),
            data: false,
            receivers: Unplaced::default(),
            outstanding: Outstanding::None,
            remote: None,
            negotiated_ice: None,
            version: 0,
            next_mid: 0,
        }
    }

    /// Replaces the local transport: more candidates, or fresh credentials for an ICE restart, which
    /// then ask for an offer.
    pub fn set_local(&mut self, local: LocalTransport) {
        self.local = local;
    }

    /// Wants a data section in our own offers.
    pub fn add_data(&mut self) {
        self.data = true;
    }

    /// Wants that many more sections in our own offers that only receive.
    pub fn add_receive(&mut self, kind: MediaKind, count: usize) {
        let wanted = match kind {
            MediaKind::Audio => &mut self.receivers.audio,
            MediaKind::Video => &mut self.receivers.video,
        };
        *wanted = wanted.saturating_add(count).min(MOST_RECEIVERS);
    }

    /// A track to send: goes on a line of our next offer, or on a free section of the peer's in our
    /// next answer.
    pub fn add_send(&mut self, spec: SendSpec) {
        self.sends.insert(self.next_send, spec);
        self.next_send += 1;
    }

    /// Ends a sending track; its line falls silent in the next description and can then be taken by
    /// another. `false` when the track is not known.
    pub fn remove_send(&mut self, key: TrackId) -> bool {
        let Some(id) = self
            .sends
            .iter()
            .find(|(_, spec)| spec.key == key)
            .map(|(id, _)| *id)
        else {
            return false;
        };
        self.sends.remove(&id);
        for line in self.lines.iter_mut().filter(|line| line.sender == Some(id)) {
            line.sender = None;
            line.send = None;
        }
        true
    }

    /// Sends that neither have a section nor find a free one: what the peer must add.
    pub fn unplaced(&self) -> Unplaced {
        let mut unplaced = Unplaced::default();
        for spec in self.waiting().map(|(_, spec)| spec) {
            match spec.kind {
                MediaKind::Audio => unplaced.audio += 1,
                MediaKind::Video => unplaced.video += 1,
            }
        }
        let free = |kind| {
            let of_kind = |line: &&Line| line.kind == LineKind::Media(kind) && line.free();
            self.lines.iter().filter(of_kind).count()
        };
        Unplaced {
            audio: unplaced.audio.saturating_sub(free(MediaKind::Audio)),
            video: unplaced.video.saturating_sub(free(MediaKind::Video)),
        }
    }

    /// Whether something waits for a negotiation: one that this side starts, or in single mode the
    /// peer at our request. False while any description is outstanding.
    pub fn needs_offer(&self) -> bool {
        matches!(self.outstanding, Outstanding::None)
            && (self
                .negotiated_ice
                .as_ref()
                .is_some_and(|ice| *ice != self.local.ice)
                || self.data && !self.has_line(&LineKind::Data)
                || self.missing_receivers() != Unplaced::default()
                || self.lines.iter().any(Line::releasing)
                || self.waiting().next().is_some())
    }

    /// Whether an own offer waits for its answer.
    pub fn offer_outstanding(&self) -> bool {
        matches!(self.outstanding, Outstanding::Local(_))
    }

    /// The sections of the last complete negotiation that we send in.
    pub fn mids(&self) -> Vec<(String, TrackId)> {
        self.mids_of(&self.lines)
    }

    /// Takes the peer's offer, in place of one not yet answered.
    ///
    /// # Errors
    /// Names what is wrong with it; the state is as before then.
    pub fn apply_offer(&mut self, sdp: &str) -> Result<Offered, SdpError> {
        if self.offer_outstanding() {
            return Err(SdpError::OfferOutstanding);
        }
        let description = Description::parse(sdp)?;
        let (before, now) = (self.lines.len(), description.sections.len());
        if now < before {
            return Err(SdpError::SectionsVanished { before, now });
        }
        let (mut remote, setup) = self.remote_transport(&description)?;
        let change = self.change(&remote);
        remote.role = match setup {
            Some(Setup::Active) => DtlsRole::Server,
            Some(Setup::Passive) => DtlsRole::Client,
            // An association that goes on keeps its roles (RFC 8842 §5.5).
            _ => match &self.remote {
                Some(known) if !change.fingerprint_changed => known.role,
                _ => self.config.answer_role,
            },
        };
        let offered = Offered {
            remote: remote.clone(),
            change,
            sections: answer::offered_sections(self, &description),
        };
        self.outstanding = Outstanding::Remote(Box::new(RemoteOffer {
            description,
            remote,
        }));
        Ok(offered)
    }

    /// How to answer a section; between [`Self::apply_offer`] and [`Self::create_answer`]. Holds for
    /// later offers too, as long as the section is there.
    ///
    /// # Errors
    /// When no offer waits, or it has no such section.
    pub fn set_receive_preferences(
        &mut self,
        mid: &str,
        preferences: ReceivePreferences,
    ) -> Result<(), SdpError> {
        let Outstanding::Remote(offer) = &self.outstanding else {
            return Err(SdpError::NothingToAnswer);
        };
        if offer.description.section(mid).is_none() {
            return Err(SdpError::UnknownMid {
                mid: mid.to_owned(),
            });
        }
        self.preferences.insert(mid.to_owned(), preferences);
        Ok(())
    }

    /// Answers the offer taken last.
    ///
    /// # Errors
    /// When no offer waits for an answer.
    pub fn create_answer(&mut self) -> Result<Answered, SdpError> {
        let offer = match std::mem::replace(&mut self.outstanding, Outstanding::None) {
            Outstanding::Remote(offer) => *offer,
            other => {
                self.outstanding = other;
                return Err(SdpError::NothingToAnswer);
            }
        };
        let (mut answer, lines, outcome) = self.answer_to(&offer.description);
        self.write_transport(&mut answer, setup_of(offer.remote.role));
        let description = self.local_description(&answer, &lines);
        for id in &outcome.unsupported {
            self.sends.remove(id);
        }
        self.version += 1;
        self.commit(lines, offer.remote, Some(self.local.ice.clone()));
        Ok(Answered {
            description,
            negotiated: outcome.negotiated,
        })
    }

    /// Makes an offer of all that is wanted now. It is outstanding until answered or rolled back.
    ///
    /// # Errors
    /// When a description is outstanding, or there is nothing to offer.
    pub fn create_offer(&mut self) -> Result<LocalDescription, SdpError> {
        if !matches!(self.outstanding, Outstanding::None) {
            return Err(SdpError::OfferOutstanding);
        }
        let (mut description, lines, next_mid) = self.offer();
        if description.sections.is_empty() {
            return Err(SdpError::NothingToOffer);
        }
        self.write_transport(&mut description, Setup::ActPass);
        let local = self.local_description(&description, &lines);
        self.version += 1;
        self.outstanding = Outstanding::Local(Box::new(LocalOffer {
            description,
            lines,
            next_mid,
        }));
        Ok(local)
    }

    /// Takes the peer's answer to the outstanding offer.
    ///
    /// # Errors
    /// Names what is wrong with it; the offer stays outstanding then.
    pub fn apply_answer(&mut self, sdp: &str) -> Result<Negotiated, SdpError> {
        let Outstanding::Local(offer) = &self.outstanding else {
            return Err(SdpError::AnswerWithoutOffer);
        };
        let answer = Description::parse(sdp)?;
        offer::check_answer(&offer.description, &answer)?;
        let (mut remote, setup) = self.remote_transport(&answer)?;
        remote.role = match setup {
            None | Some(Setup::Active) => DtlsRole::Server,
            Some(Setup::Passive) => DtlsRole::Client,
            Some(Setup::ActPass | Setup::HoldConn) => return Err(SdpError::AnswerSetup),
        };
        let change = self.change(&remote);
        let (lines, mut outcome) = self.answered(offer, &answer);
        outcome.negotiated.remote = Some((remote.clone(), change));
        let offered_ice = offer
            .description
            .sections
            .iter()
            .find_map(|section| section.ice.clone());
        self.next_mid = offer.next_mid;
        for id in &outcome.unsupported {
            self.sends.remove(id);
        }
        self.outstanding = Outstanding::None;
        self.commit(lines, remote, offered_ice);
        Ok(outcome.negotiated)
    }

    /// Drops an outstanding offer, own or remote; what was wanted stays for the next one.
    pub fn rollback(&mut self) {
        self.outstanding = Outstanding::None;
    }

    /// Drops our outstanding offer, which the peer may have taken though its answer does not come: what it added
    /// stays, as the peer would miss it in the next one.
    pub fn withdraw_offer(&mut self) {
        let outstanding = std::mem::replace(&mut self.outstanding, Outstanding::None);
        let Outstanding::Local(offer) = outstanding else {
            return;
        };
        self.next_mid = offer.next_mid;
        for (index, mut offered) in offer.lines.into_iter().enumerate() {
            offered.sending |= offered.sender.is_some();
            offered.sender = offered.sender.filter(|id| self.sends.contains_key(id));
            match self.lines.get_mut(index) {
                Some(line) if line.mid == offered.mid => {
                    line.sending |= offered.sending;
                    line.sender = line.sender.or(offered.sender);
                }
                Some(line) => *line = offered,
                None => self.lines.push(offered),
            }
        }
    }

    fn waiting(&self) -> impl Iterator<Item = (&SendId, &SendSpec)> {
        let lines = match &self.outstanding {
            Outstanding::Local(offer) => &offer.lines,
            _ => &self.lines,
        };
        let placed: HashSet<SendId> = lines.iter().filter_map(|line| line.sender).collect();
        self.sends
            .iter()
            .filter(move |(id, _)| !placed.contains(id))
    }

    fn has_line(&self, kind: &LineKind) -> bool {
        self.lines
            .iter()
            .any(|line| line.kind == *kind && !line.stopped)
    }

    fn missing_receivers(&self) -> Unplaced {
        let have = |kind| {
            let kind = LineKind::Media(kind);
            self.lines
                .iter()
                .filter(|line| line.receiver && line.kind == kind && !line.stopped)
                .count()
        };
        Unplaced {
            audio: self.receivers.audio.saturating_sub(have(MediaKind::Audio)),
            video: self.receivers.video.saturating_sub(have(MediaKind::Video)),
        }
    }

    fn mids_of(&self, lines: &[Line]) -> Vec<(String, TrackId)> {
        let sending = lines
            .iter()
            .filter(|line| !line.stopped)
            .filter_map(|line| {
                let spec = self.sends.get(&line.sender?)?;
                Some((line.mid.clone(), spec.key))
            });
        sending.collect()
    }

    fn local_description(&self, description: &Description, lines: &[Line]) -> LocalDescription {
        let live = |section: &&Section| !section.is_rejected();
        let line = description
            .sections
            .iter()
            .position(|section| live(&section))
            .unwrap_or(0);
        LocalDescription {
            sdp: description.to_string(),
            mids: self.mids_of(lines),
            transport_mid: description
                .sections
                .get(line)
                .map(|s| s.mid.clone())
                .unwrap_or_default(),
            transport_line: u16::try_from(line).unwrap_or(0),
        }
    }

    fn commit(&mut self, lines: Vec<Line>, remote: RemoteTransport, ice: Option<IceCredentials>) {
        self.lines = lines;
        let mids: HashSet<&str> = self
            .lines
            .iter()
            .filter(|line| !line.stopped)
            .map(|line| line.mid.as_str())
            .collect();
        self.preferences
            .retain(|mid, _| mids.contains(mid.as_str()));
        self.remote = Some(remote);
        self.negotiated_ice = ice;
    }

    /// The peer's transport, with the role still to be set, and its setup attribute.
    fn remote_transport(
        &self,
        description: &Description,
    ) -> Result<(RemoteTransport, Option<Setup>), SdpError> {
        let live = || {
            description
                .sections
                .iter()
                .filter(|section| !section.is_rejected())
        };
        let tag = description.bundle.as_ref().and_then(|mids| {
            let tagged = mids.iter().take(1);
            tagged
                .filter_map(|mid| live().find(|section| section.mid == *mid))
                .next()
        });
        let Some(tag) = tag.or_else(|| live().next()) else {
            // Everything is stopped: the transport of before stays.
            return self
                .remote
                .clone()
                .map(|remote| (remote, None))
                .ok_or(SdpError::MissingIce);
        };
        if tag.fingerprints.is_empty() {
            return Err(SdpError::MissingFingerprint);
        }
        let mut candidates: Vec<String> = Vec::new();
        for candidate in live().flat_map(|section| &section.candidates) {
            if candidates.len() < MAX_REMOTE_CANDIDATES && !candidates.contains(candidate) {
                candidates.push(candidate.clone());
            }
        }
        let remote = RemoteTransport {
            ice: tag.ice.clone().ok_or(SdpError::MissingIce)?,
            ice_lite: description.ice_lite,
            fingerprints: tag.fingerprints.clone(),
            role: self.config.answer_role,
            candidates,
            end_of_candidates: tag.end_of_candidates,
        };
        Ok((remote, tag.setup))
    }

    fn change(&self, remote: &RemoteTransport) -> TransportChange {
        match &self.remote {
            None => TransportChange {
                first: true,
                ..TransportChange::default()
            },
            Some(before) => TransportChange {
                first: false,
                ice_restarted: before.ice != remote.ice,
                fingerprint_changed: before.fingerprints != remote.fingerprints,
            },
        }
    }

    /// Fills our side of the transport into every live section; candidates go into the first.
    fn write_transport(&self, description: &mut Description, setup: Setup) {
        let live = description
            .sections
            .iter_mut()
            .filter(|section| !section.is_rejected());
        for (index, section) in live.enumerate() {
            section.ice = Some(self.local.ice.clone());
            section.fingerprints = vec![self.local.fingerprint.clone()];
            section.setup = Some(setup);
            if index == 0 {
                section.candidates.clone_from(&self.local.candidates);
                section.end_of_candidates = self.local.end_of_candidates;
            }
        }
    }

    /// Names the stream of a track in a section that sends it.
    fn write_stream(&self, media: &mut MediaMedia, spec: &SendSpec) {
        let msid = Msid {
            stream: spec.stream.clone(),
            track: spec.track.clone(),
        };
        media.msid = Some(msid.clone());
        if !spec.rids.is_empty() {
            // The peer learns the SSRCs from the rids in the packets.
            media.rids.extend(spec.rids.iter().map(|id| Rid {
                id: id.clone(),
                send: true,
                restrictions: String::new(),
            }));
            media.simulcast = Some(Simulcast {
                send: spec.rids.clone(),
                ..media.simulcast.take().unwrap_or_default()
            });
            return;
        }
        let rtx = spec
            .rtx_ssrc
            .filter(|_| media.payloads.iter().any(|format| format.rtx.is_some()));
        media.ssrcs = [Some(spec.ssrc), rtx]
            .into_iter()
            .flatten()
            .map(|ssrc| SsrcInfo {
                ssrc,
                cname: Some(self.config.cname.clone()),
                msid: Some(msid.clone()),
            })
            .collect();
        if let Some(rtx) = rtx {
            let ssrcs = vec![spec.ssrc, rtx];
            media.ssrc_groups = vec![SsrcGroup {
                semantics: "FID".to_owned(),
                ssrcs,
            }];
        }
    }
}

/// A live section without transport.
fn bare_section(mid: &str, proto: &str, media: SectionMedia) -> Section {
    Section {
        mid: mid.to_owned(),
        port: 9,
        bundle_only: false,
        proto: proto.to_owned(),
        ice: None,
        fingerprints: Vec::new(),
        setup: None,
        candidates: Vec::new(),
        end_of_candidates: false,
        media,
    }
}

fn setup_of(role: DtlsRole) -> Setup {
    match role {
        DtlsRole::Client => Setup::Active,
        DtlsRole::Server => Setup::Passive,
    }
}
