//! Answering the peer's offer.

use std::collections::{HashSet, VecDeque};

use super::line::{self, Line, LineKind, SendId};
use super::{
    DataSection, Negotiated, Negotiator, OfferedSection, ReceiveChange, ReceivePreferences,
    Rejected, SendChange, SendSection, SendSpec, bare_section, formats,
};
use crate::api::MediaKind;
use crate::sdp::{
    Codec, DataMedia, Description, Direction, Extension, ExtensionMap, Feedback, MediaMedia,
    PayloadFormat, Rid, Section, SectionMedia, Simulcast, write::format_list,
};

/// What an answer does with an offered section.
enum Verdict {
    Media,
    Data,
    /// The peer has stopped sending here for good.
    Retire,
    Reject(Option<String>),
}

/// The sections of an offer that the peer wants to send in.
pub(super) fn offered_sections(
    negotiator: &Negotiator,
    offer: &Description,
) -> Vec<OfferedSection> {
    let sections = offer.sections.iter().filter_map(|section| {
        let media = section.media()?;
        let msid = line::msid_of(media);
        let streams = msid.is_some() || !media.rids.is_empty() || !media.ssrcs.is_empty();
        if section.is_rejected() || !media.direction.sends() || !streams {
            return None;
        }
        let mut codecs = Vec::new();
        for format in formats::enabled(&negotiator.config, media) {
            if format.codec != Codec::Red && !codecs.contains(&format.codec) {
                codecs.push(format.codec);
            }
        }
        let known = negotiator.lines.iter().find(|line| line.mid == section.mid);
        Some(OfferedSection {
            mid: section.mid.clone(),
            kind: media.kind,
            msid,
            codecs,
            new: known.is_none_or(|line| line.receive.is_none()),
        })
    });
    sections.collect()
}

impl Negotiator {
    /// Computes the answer and the lines in force with it; changes nothing here.
    pub(super) fn answer_to(&self, offer: &Description) -> (Description, Vec<Line>, Outcome) {
        let mut outcome = Outcome::default();
        let bundle: Option<HashSet<&str>> = offer
            .bundle
            .as_ref()
            .map(|mids| mids.iter().map(String::as_str).collect());
        let alone = offer
            .sections
            .iter()
            .filter(|section| !section.is_rejected())
            .count()
            == 1;
        let tag = offer.bundle.as_ref().and_then(|mids| mids.first());
        let verdicts: Vec<Verdict> = offer
            .sections
            .iter()
            .map(|section| {
                let bundled = match &bundle {
                    Some(mids) => mids.contains(section.mid.as_str()),
                    None => alone,
                };
                match self.verdict(section, bundled) {
                    Verdict::Media if tag != Some(&section.mid) && self.retires(section) => {
                        Verdict::Retire
                    }
                    verdict => verdict,
                }
            })
            .collect();
        let mut lines = self.lines_of(offer, &verdicts, &mut outcome);
        self.place(offer, &mut lines, &mut outcome);

        let mut sections = Vec::with_capacity(offer.sections.len());
        let mut kinds = HashSet::new();
        for ((section, verdict), line) in offer.sections.iter().zip(&verdicts).zip(&mut lines) {
            let media = match (verdict, &section.media) {
                (Verdict::Media, SectionMedia::Media(media)) => {
                    let first = kinds.insert(media.kind);
                    SectionMedia::Media(Box::new(self.answer_media(
                        section,
                        media,
                        line,
                        first,
                        &mut outcome,
                    )))
                }
                (Verdict::Data, SectionMedia::Data(data)) => {
                    outcome.negotiated.data = Some(DataSection {
                        mid: section.mid.clone(),
                        port: data.sctp_port,
                        max_message_size: data.max_message_size,
                    });
                    SectionMedia::Data(DataMedia {
                        sctp_port: 5_000,
                        max_message_size: self.config.max_message_size,
                        draft: data.draft,
                    })
                }
                _ => {
                    outcome.reject(section, verdict);
                    stop_receiving(line, &mut outcome);
                    sections.push(rejected(section));
                    continue;
                }
            };
            sections.push(bare_section(&section.mid, &section.proto, media));
        }
        let accepted = sections.iter().filter(|section| !section.is_rejected());
        let answer = Description {
            session_id: self.config.session_id.to_string(),
            version: self.version + 1,
            bundle: offer
                .bundle
                .is_some()
                .then(|| accepted.map(|section| section.mid.clone()).collect()),
            ice_lite: self.local.ice_lite,
            extmap_allow_mixed: offer.extmap_allow_mixed,
            sections,
        };
        (answer, lines, outcome)
    }

    fn verdict(&self, section: &Section, bundled: bool) -> Verdict {
        if section.is_rejected() {
            return Verdict::Reject(None);
        }
        let reject = |reason: &str| Verdict::Reject(Some(reason.to_owned()));
        if !bundled {
            return reject("the section is not in the BUNDLE group");
        }
        match &section.media {
            SectionMedia::Data(_) => Verdict::Data,
            SectionMedia::Other { media, .. } => {
                reject(&format!("media of type {media:?} is not supported"))
            }
            SectionMedia::Media(media) if !media.rtcp_mux => reject("rtcp-mux is required"),
            SectionMedia::Media(media) => {
                if formats::enabled(&self.config, media).is_empty() {
                    let enabled: Vec<&str> = self
                        .config
                        .codecs
                        .iter()
                        .filter(|codec| codec.kind() == media.kind)
                        .map(|codec| codec.mime())
                        .collect();
                    reject(&format!(
                        "none of the offered codecs is enabled ({})",
                        enabled.join(", ")
                    ))
                } else {
                    Verdict::Media
                }
            }
        }
    }

    /// Whether a section is one that the peer has sent in and stopped to.
    ///
    /// A browser never sends in such a section again, and adds another one for each new track. Only a
    /// rejected section's place can be taken by a later one (RFC 8829 §5.2.2), so that its descriptions
    /// stay small. Over one connection LiveKit's Rust core leaves it ready to receive; over two, and in
    /// browsers, it is inactive. A peer that does send there again all the same is answered as if nothing
    /// had been.
    fn retires(&self, section: &Section) -> bool {
        let stopped = |media: &MediaMedia| !media.direction.sends();
        self.config.retire_stopped
            && section.media().is_some_and(stopped)
            && self.lines.iter().any(|line| {
                line.mid == section.mid && line.receive.is_some() && line.sender.is_none()
            })
    }

    /// The lines as the offer leaves them: new ones, replaced ones, and senders turned out.
    fn lines_of(
        &self,
        offer: &Description,
        verdicts: &[Verdict],
        outcome: &mut Outcome,
    ) -> Vec<Line> {
        let mut lines = self.lines.clone();
        for (index, (section, verdict)) in offer.sections.iter().zip(verdicts).enumerate() {
            let kind = match &section.media {
                SectionMedia::Media(media) => LineKind::Media(media.kind),
                SectionMedia::Data(_) => LineKind::Data,
                SectionMedia::Other { media, formats } => {
                    LineKind::Other(media.clone(), formats.clone())
                }
            };
            let fresh = Line::new(section.mid.clone(), kind.clone());
            match lines.get_mut(index) {
                None => lines.push(fresh),
                Some(line) if line.mid != section.mid || line.kind != kind => {
                    let mut old = std::mem::replace(line, fresh);
                    self.turn_out(&mut old, outcome);
                    stop_receiving(&mut old, outcome);
                }
                Some(_) => {}
            }
            let Some(line) = lines.get_mut(index) else {
                continue;
            };
            line.stopped = matches!(verdict, Verdict::Reject(_) | Verdict::Retire);
            let receives = section
                .media()
                .is_some_and(|media| media.direction.receives());
            if line.stopped || !receives {
                self.turn_out(line, outcome);
                line.sending = false;
            }
        }
        lines
    }

    /// Takes the sender off a line that does not receive any more.
    fn turn_out(&self, line: &mut Line, outcome: &mut Outcome) {
        if let Some(spec) = line.sender.take().and_then(|id| self.sends.get(&id))
            && line.send.take().is_some()
        {
            outcome
                .negotiated
                .send
                .push(SendChange::Stopped { key: spec.key });
        }
    }

    /// Puts waiting sends on free sections of the offer.
    fn place(&self, offer: &Description, lines: &mut [Line], outcome: &mut Outcome) {
        let placed: HashSet<SendId> = lines.iter().filter_map(|line| line.sender).collect();
        let free = |kind: MediaKind, direction: Direction, lines: &[Line]| -> VecDeque<usize> {
            let sections = offer.sections.iter().zip(lines).enumerate();
            sections
                .filter(|(_, (section, line))| {
                    let media = section.media();
                    media.is_some_and(|media| media.kind == kind && media.direction == direction)
                        && !line.stopped
                        && line.sender.is_none()
                        && !line.sending
                })
                .map(|(index, _)| index)
                .collect()
        };
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let mut sections = free(kind, Direction::RecvOnly, lines);
            if self.config.send_in_sendrecv {
                sections.extend(free(kind, Direction::SendRecv, lines));
            }
            let waiting = self.sends.iter().filter(|(id, _)| !placed.contains(id));
            for (id, spec) in waiting.filter(|(_, spec)| spec.kind == kind) {
                let Some(index) = sections.front().copied() else {
                    break;
                };
                let media = offer.sections.get(index).and_then(Section::media);
                let (Some(media), Some(line)) = (media, lines.get_mut(index)) else {
                    break;
                };
                let enabled = formats::enabled(&self.config, media);
                if formats::select(&spec.codecs, &enabled).is_empty() {
                    outcome.unsupported.push(*id);
                    outcome
                        .negotiated
                        .send
                        .push(SendChange::Unsupported { key: spec.key });
                } else {
                    line.sender = Some(*id);
                    sections.pop_front();
                }
            }
        }
    }

    /// Answers one audio or video section and brings its line up to date.
    fn answer_media(
        &self,
        section: &Section,
        offered: &MediaMedia,
        line: &mut Line,
        first: bool,
        outcome: &mut Outcome,
    ) -> MediaMedia {
        let default = ReceivePreferences::default();
        let preferences = self.preferences.get(&section.mid).unwrap_or(&default);
        let receives = offered.direction.sends();
        let kind = offered.kind;
        line.receive_only = offered.direction == Direction::RecvOnly;

        let mut payloads = formats::enabled(&self.config, offered);
        if receives {
            formats::order(&mut payloads, preferences);
        }
        let mut spec = line.sender.and_then(|id| self.sends.get(&id));
        if let (Some(id), Some(wanted)) = (line.sender, spec) {
            let mut selected = formats::select(&wanted.codecs, &payloads);
            if selected.is_empty() {
                outcome.unsupported.push(id);
                outcome
                    .negotiated
                    .send
                    .push(SendChange::Unsupported { key: wanted.key });
                line.sender = None;
                spec = None;
            } else if !receives {
                if first {
                    formats::add_others(&mut selected, payloads);
                }
                payloads = selected;
            }
        }
        let extensions = self.answer_extensions(offered);
        let has = |wanted| {
            extensions
                .iter()
                .any(|map: &ExtensionMap| map.extension == wanted)
        };
        let red = payloads
            .first()
            .is_some_and(|format| format.codec == Codec::Red);
        for format in &mut payloads {
            let cc = has(Extension::TransportCc);
            format.feedback = if receives {
                formats::receive_feedback(kind, format.feedback, cc)
            } else {
                formats::send_feedback(&self.config, kind, format.feedback, red, cc)
            };
            if format.codec == Codec::Opus {
                adjust_opus(format, receives.then_some(preferences), spec);
            }
        }

        let received = receives
            .then(|| {
                let ids = formats::receive_ids(kind, &extensions);
                line::receive_section(line.receive.as_ref(), section, payloads.clone(), ids)
            })
            .flatten();
        report_received(line, received, outcome);

        let sent = spec.map(|spec| {
            let payloads = formats::select(&spec.codecs, &payloads);
            SendSection {
                key: spec.key,
                mid: section.mid.clone(),
                extensions: formats::send_ids(&self.config, kind, &extensions, &payloads),
                payloads,
                rids: Vec::new(),
            }
        });
        if let Some(sent) = &sent
            && line.send.as_ref() != Some(sent)
        {
            outcome
                .negotiated
                .send
                .push(SendChange::Ready(Box::new(sent.clone())));
        }
        line.sending = sent.is_some();
        line.send = sent;
        line.payloads.clone_from(&payloads);
        line.extensions.clone_from(&extensions);

        let rids = if receives {
            line::sent_rids(offered)
        } else {
            Vec::new()
        };
        let simulcast = offered
            .simulcast
            .as_ref()
            .filter(|simulcast| !simulcast.send.is_empty());
        let mut media = MediaMedia {
            kind,
            direction: Direction::new(spec.is_some(), receives),
            formats: format_list(&payloads),
            payloads,
            extensions,
            rtcp_mux: true,
            rtcp_rsize: offered.rtcp_rsize,
            extmap_allow_mixed: offered.extmap_allow_mixed,
            msid: None,
            ssrcs: Vec::new(),
            ssrc_groups: Vec::new(),
            simulcast: simulcast
                .filter(|_| !rids.is_empty())
                .map(|simulcast| Simulcast {
                    send: Vec::new(),
                    recv: rids.clone(),
                    draft: simulcast.draft,
                }),
            rids: rids
                .into_iter()
                .map(|id| Rid {
                    id,
                    send: false,
                    restrictions: String::new(),
                })
                .collect(),
        };
        if let Some(spec) = spec {
            self.write_stream(&mut media, spec);
        }
        media
    }

    /// The offer's extensions that we use in either direction, with the offer's ids.
    ///
    /// Not only those of this section's direction: an extension that is refused once, libwebrtc never
    /// offers again on the connection, so a section that only receives today would cost the publisher
    /// its rids and sequence numbers tomorrow.
    fn answer_extensions(&self, offered: &MediaMedia) -> Vec<ExtensionMap> {
        let receive = formats::receive_extensions(offered.kind);
        let send = formats::send_extensions(&self.config, offered.kind);
        let used =
            |map: &&ExtensionMap| receive.contains(&map.extension) || send.contains(&map.extension);
        let answer = |map: &ExtensionMap| ExtensionMap {
            direction: map.direction.reversed(),
            ..*map
        };
        offered.extensions.iter().filter(used).map(answer).collect()
    }
}

/// What an answer brings about.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) negotiated: Negotiated,
    /// Sends to forget.
    pub(super) unsupported: Vec<SendId>,
}

impl Outcome {
    fn reject(&mut self, section: &Section, verdict: &Verdict) {
        let Verdict::Reject(Some(reason)) = verdict else {
            return;
        };
        let media = section.media();
        if media.is_some_and(|media| !media.direction.sends()) {
            return;
        }
        self.negotiated.rejected.push(Rejected {
            mid: section.mid.clone(),
            kind: media.map(|media| media.kind),
            msid: media.and_then(line::msid_of),
            reason: reason.clone(),
        });
    }
}

fn stop_receiving(line: &mut Line, outcome: &mut Outcome) {
    report_received(line, None, outcome);
}

/// Reports how what the peer sends differs from what it sent before.
pub(super) fn report_received(
    line: &mut Line,
    received: Option<super::ReceiveSection>,
    outcome: &mut Outcome,
) {
    let changes = &mut outcome.negotiated.receive;
    let stopped = |mid: &str| ReceiveChange::Stopped {
        mid: mid.to_owned(),
    };
    match (&line.receive, &received) {
        (None, None) => {}
        (Some(before), None) => changes.push(stopped(&before.mid)),
        (None, Some(now)) => changes.push(ReceiveChange::Started(Box::new(now.clone()))),
        (Some(before), Some(now)) if before == now => {}
        (Some(before), Some(now)) => {
            let track = |section: &super::ReceiveSection| {
                section
                    .msid
                    .as_ref()
                    .map(|msid| (msid.stream.clone(), msid.track.clone()))
            };
            if track(before) == track(now) {
                changes.push(ReceiveChange::Changed(Box::new(now.clone())));
            } else {
                changes.push(stopped(&before.mid));
                changes.push(ReceiveChange::Started(Box::new(now.clone())));
            }
        }
    }
    line.receive = received;
}

fn adjust_opus(
    format: &mut PayloadFormat,
    preferences: Option<&ReceivePreferences>,
    sent: Option<&SendSpec>,
) {
    if let Some(preferences) = preferences {
        if preferences.dtx {
            format.fmtp.set("usedtx", "1");
        } else if format.fmtp.get("usedtx").is_some() {
            format.fmtp.set("usedtx", "0");
        }
        if preferences.stereo {
            format.fmtp.set("stereo", "1");
            format.fmtp.set("maxaveragebitrate", "510000");
        }
    }
    if sent.is_some_and(|spec| spec.stereo) {
        format.fmtp.set("sprop-stereo", "1");
    }
}

/// A rejected section of an answer: as offered, with port 0.
fn rejected(offered: &Section) -> Section {
    let media = match &offered.media {
        SectionMedia::Media(media) => SectionMedia::Media(Box::new(MediaMedia {
            kind: media.kind,
            direction: Direction::Inactive,
            formats: media.formats.clone(),
            payloads: media
                .payloads
                .iter()
                .map(|format| PayloadFormat {
                    feedback: Feedback::default(),
                    ..format.clone()
                })
                .collect(),
            extensions: Vec::new(),
            rtcp_mux: false,
            rtcp_rsize: false,
            extmap_allow_mixed: false,
            msid: None,
            ssrcs: Vec::new(),
            ssrc_groups: Vec::new(),
            rids: Vec::new(),
            simulcast: None,
        })),
        other => other.clone(),
    };
    Section {
        mid: offered.mid.clone(),
        port: 0,
        bundle_only: false,
        proto: offered.proto.clone(),
        ice: None,
        fingerprints: Vec::new(),
        setup: None,
        candidates: Vec::new(),
        end_of_candidates: false,
        media,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::NegotiatorConfig;
    use crate::sdp::negotiation::tests;

    fn negotiator() -> Negotiator {
        negotiator_with(true)
    }

    fn negotiator_with(retire_stopped: bool) -> Negotiator {
        let config = NegotiatorConfig {
            retire_stopped,
            ..NegotiatorConfig::default()
        };
        tests::negotiator(config)
    }

    /// An offer with a section for each `(mid, direction)`.
    fn offer(sections: &[(&str, &str)]) -> String {
        let mids: Vec<&str> = sections.iter().map(|(mid, _)| *mid).collect();
        let digest = ["07"; 32].join(":");
        let mut sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n",
            mids.join(" ")
        );
        for (mid, direction) in sections {
            let stream = match *direction {
                "sendonly" => format!("a=msid:stream track{mid}\r\n"),
                _ => String::new(),
            };
            sdp += &format!(
                "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n\
                 a=ice-ufrag:peer\r\na=ice-pwd:peerpasswordpeerpassword\r\n\
                 a=fingerprint:sha-256 {digest}\r\na=setup:actpass\r\na=rtcp-mux\r\n\
                 a={direction}\r\na=rtpmap:111 opus/48000/2\r\n{stream}"
            );
        }
        sdp
    }

    /// The answer's ports by mid, and how many sections the peer started and stopped to send in.
    fn negotiate(
        negotiator: &mut Negotiator,
        sections: &[(&str, &str)],
    ) -> (Vec<u16>, usize, usize) {
        negotiator.apply_offer(&offer(sections)).unwrap();
        let answered = negotiator.create_answer().unwrap();
        let answer = Description::parse(&answered.description.sdp).unwrap();
        let changes = &answered.negotiated.receive;
        let started = |change: &&ReceiveChange| matches!(change, ReceiveChange::Started(_));
        let started = changes.iter().filter(started).count();
        let ports = answer.sections.iter().map(|section| section.port).collect();
        (ports, started, changes.len() - started)
    }

    #[test]
    fn a_section_that_the_peer_stopped_to_send_in_is_freed_for_another() {
        let mut negotiator = negotiator();
        let listening = ("0", "recvonly");
        let first = negotiate(&mut negotiator, &[listening, ("1", "sendonly")]);
        assert_eq!(first, (vec![9, 9], 1, 0));
        for (mid, next, stopped) in [("1", "2", "inactive"), ("2", "3", "recvonly")] {
            let unpublished = negotiate(&mut negotiator, &[listening, (mid, stopped)]);
            assert_eq!(unpublished, (vec![9, 0], 0, 1));
            let recycled = negotiate(&mut negotiator, &[listening, (next, "sendonly")]);
            assert_eq!(recycled, (vec![9, 9], 1, 0));
        }
    }

    #[test]
    fn a_peer_that_sends_again_where_it_had_stopped_is_received() {
        let mut negotiator = negotiator();
        let listening = ("0", "recvonly");
        negotiate(&mut negotiator, &[listening, ("1", "sendonly")]);
        negotiate(&mut negotiator, &[listening, ("1", "inactive")]);
        let again = negotiate(&mut negotiator, &[listening, ("1", "sendonly")]);
        assert_eq!(again, (vec![9, 9], 1, 0));
    }

    #[test]
    fn a_peer_that_reuses_its_sections_keeps_them() {
        let mut negotiator = negotiator_with(false);
        let listening = ("0", "recvonly");
        negotiate(&mut negotiator, &[listening, ("1", "sendonly")]);
        let unpublished = negotiate(&mut negotiator, &[listening, ("1", "inactive")]);
        assert_eq!(unpublished, (vec![9, 9], 0, 1));
    }

    #[test]
    fn the_section_that_carries_the_bundle_stays() {
        let mut negotiator = negotiator();
        negotiate(&mut negotiator, &[("0", "sendonly")]);
        let unpublished = negotiate(&mut negotiator, &[("0", "inactive")]);
        assert_eq!(unpublished, (vec![9], 0, 1));
    }

    #[test]
    fn a_section_that_nothing_was_ever_sent_in_stays() {
        let mut negotiator = negotiator();
        let sections = [("0", "recvonly"), ("1", "inactive")];
        assert_eq!(negotiate(&mut negotiator, &sections), (vec![9, 9], 0, 0));
        assert_eq!(negotiate(&mut negotiator, &sections), (vec![9, 9], 0, 0));
    }
}
