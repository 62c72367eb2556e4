//! Our own offers and the peer's answers to them.

use std::collections::HashSet;

use super::answer::{Outcome, report_received};
use super::line::{self, Line, LineKind};
use super::{
    CongestionFeedback, DataSection, LineReuse, LocalOffer, Negotiator, SendChange, SendSection,
    SendSpec, bare_section, formats,
};
use crate::api::MediaKind;
use crate::sdp::write::format_list;
use crate::sdp::{
    Codec, DataMedia, Description, Direction, Extension, ExtensionMap, Fmtp, MediaMedia,
    PayloadFormat, SdpError, Section, SectionMedia,
};

const RTP_PROTO: &str = "UDP/TLS/RTP/SAVPF";
const SCTP_PROTO: &str = "UDP/DTLS/SCTP";
/// Payload types to renumber to: the dynamic range, and the part below that RFC 5761 leaves free.
const DYNAMIC: [std::ops::RangeInclusive<u8>; 2] = [96..=127, 35..=63];

impl Negotiator {
    /// Computes an offer, the lines that it stands for and the next free mid.
    pub(super) fn offer(&self) -> (Description, Vec<Line>, u64) {
        let mut lines = Lines {
            lines: self.lines.clone(),
            used: self.lines.iter().map(|line| line.mid.clone()).collect(),
            next_mid: self.next_mid,
        };
        if self.config.line_reuse == LineReuse::Recycle {
            for line in lines
                .lines
                .iter_mut()
                .filter(|line| line.releasing() && !line.receiver)
            {
                line.stopped = true;
            }
        }
        // Only what was stopped in the negotiation before may be recycled now.
        let mut recyclable: Vec<usize> = (0..self.lines.len())
            .rev()
            .filter(|index| self.lines.get(*index).is_some_and(|line| line.stopped))
            .collect();
        if self.data && !self.has_line(&LineKind::Data) {
            lines.add(LineKind::Data, &mut recyclable);
        }
        let missing = self.missing_receivers();
        for (kind, count) in [
            (MediaKind::Audio, missing.audio),
            (MediaKind::Video, missing.video),
        ] {
            for _ in 0..count {
                lines.add(LineKind::Media(kind), &mut recyclable).receiver = true;
            }
        }
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let mut free = (0..self.lines.len()).filter(|index| {
                self.lines.get(*index).is_some_and(|line| {
                    line.kind == LineKind::Media(kind)
                        && !line.stopped
                        && !line.receiver
                        && line.receive.is_none()
                        && line.sender.is_none()
                        && !line.sending
                })
            });
            let waiting: Vec<u64> = self
                .waiting()
                .filter(|(_, spec)| spec.kind == kind)
                .map(|(id, _)| *id)
                .collect();
            for id in waiting {
                let line = match free.next() {
                    Some(index) => lines.lines.get_mut(index),
                    None => Some(lines.add(LineKind::Media(kind), &mut recyclable)),
                };
                if let Some(line) = line {
                    line.sender = Some(id);
                }
            }
        }
        let Lines {
            mut lines,
            next_mid,
            ..
        } = lines;
        let numbers = Numbers::of(&self.lines);
        let mut kinds = HashSet::new();
        let sections: Vec<Section> = lines
            .iter_mut()
            .map(|line| {
                let first = kinds.insert(line.kind.clone());
                self.offer_section(line, first, &numbers)
            })
            .collect();
        let live = sections.iter().filter(|section| !section.is_rejected());
        let description = Description {
            session_id: self.config.session_id.to_string(),
            version: self.version + 1,
            bundle: Some(live.map(|section| section.mid.clone()).collect()),
            ice_lite: self.local.ice_lite,
            extmap_allow_mixed: true,
            sections,
        };
        (description, lines, next_mid)
    }

    fn offer_section(&self, line: &mut Line, first: bool, numbers: &Numbers) -> Section {
        let (proto, media) = match &line.kind {
            LineKind::Media(kind) => {
                let media = self.offer_media(*kind, line, first, numbers);
                line.payloads.clone_from(&media.payloads);
                line.extensions.clone_from(&media.extensions);
                (RTP_PROTO, SectionMedia::Media(Box::new(media)))
            }
            LineKind::Data => {
                let max_message_size = self.config.max_message_size;
                (
                    SCTP_PROTO,
                    SectionMedia::Data(DataMedia {
                        sctp_port: 5_000,
                        max_message_size,
                        draft: false,
                    }),
                )
            }
            LineKind::Other(media, formats) => (
                RTP_PROTO,
                SectionMedia::Other {
                    media: media.clone(),
                    formats: formats.clone(),
                },
            ),
        };
        let mut section = bare_section(&line.mid, proto, media);
        if line.stopped {
            section.port = 0;
        }
        section
    }

    fn offer_media(
        &self,
        kind: MediaKind,
        line: &Line,
        first: bool,
        numbers: &Numbers,
    ) -> MediaMedia {
        let spec = line
            .sender
            .and_then(|id| self.sends.get(&id))
            .filter(|_| !line.stopped);
        let receives = (line.receiver || line.receive.is_some()) && !line.stopped;
        let mut payloads = match spec {
            Some(spec) if !receives => self.send_formats(kind, spec, first),
            _ if line.payloads.is_empty() || receives => self.receive_formats(kind),
            _ => line.payloads.clone(),
        };
        numbers.renumber(&mut payloads);
        let mut wanted = Vec::new();
        if spec.is_some() {
            wanted.extend(formats::send_extensions(&self.config, kind));
        }
        if receives {
            wanted.extend_from_slice(formats::receive_extensions(kind));
        }
        let extensions = if wanted.is_empty() {
            line.extensions.clone()
        } else {
            wanted.sort_unstable();
            wanted.dedup();
            wanted
                .into_iter()
                .map(|extension| numbers.extension(extension))
                .collect()
        };
        let mut media = MediaMedia {
            kind,
            direction: Direction::new(spec.is_some(), receives),
            // A stopped line that never had formats still has to list one.
            formats: if payloads.is_empty() {
                "0".to_owned()
            } else {
                format_list(&payloads)
            },
            payloads,
            extensions,
            rtcp_mux: true,
            rtcp_rsize: true,
            extmap_allow_mixed: true,
            msid: None,
            ssrcs: Vec::new(),
            ssrc_groups: Vec::new(),
            rids: Vec::new(),
            simulcast: None,
        };
        if let Some(spec) = spec {
            self.write_stream(&mut media, spec);
        }
        media
    }

    fn send_formats(&self, kind: MediaKind, spec: &SendSpec, first: bool) -> Vec<PayloadFormat> {
        let mut payloads = formats::own_for(&self.config, kind, &spec.codecs);
        if first {
            formats::add_others(&mut payloads, formats::own(&self.config, kind));
        }
        let red = payloads
            .first()
            .is_some_and(|format| format.codec == Codec::Red);
        let both = self.config.publishing;
        for format in &mut payloads {
            if !both {
                let cc = self.config.congestion == CongestionFeedback::TransportCc;
                format.feedback =
                    formats::send_feedback(&self.config, kind, format.feedback, red, cc);
            }
            if format.codec == Codec::Opus && spec.stereo {
                format.fmtp.set("sprop-stereo", "1");
            }
        }
        payloads
    }

    fn receive_formats(&self, kind: MediaKind) -> Vec<PayloadFormat> {
        let mut payloads = formats::own(&self.config, kind);
        // The sender chooses who of us estimates.
        if kind == MediaKind::Audio {
            for format in &mut payloads {
                format.feedback = formats::receive_feedback(kind, format.feedback, true);
            }
        }
        payloads
    }

    /// The lines in force once the peer has answered.
    pub(super) fn answered(
        &self,
        offer: &LocalOffer,
        answer: &Description,
    ) -> (Vec<Line>, Outcome) {
        let mut outcome = Outcome::default();
        let mut lines = offer.lines.clone();
        let sections = offer.description.sections.iter().zip(&answer.sections);
        for (line, (offered, answered)) in lines.iter_mut().zip(sections) {
            line.stopped = answered.is_rejected() || offered.is_rejected();
            match (&offered.media, &answered.media) {
                (SectionMedia::Media(offered), SectionMedia::Media(media)) => {
                    self.answered_media(line, offered, answered, media, &mut outcome);
                }
                (SectionMedia::Data(_), SectionMedia::Data(data)) if !line.stopped => {
                    outcome.negotiated.data = Some(DataSection {
                        mid: line.mid.clone(),
                        port: data.sctp_port,
                        max_message_size: data.max_message_size,
                    });
                }
                _ => {}
            }
        }
        (lines, outcome)
    }

    fn answered_media(
        &self,
        line: &mut Line,
        offered: &MediaMedia,
        section: &Section,
        answered: &MediaMedia,
        outcome: &mut Outcome,
    ) {
        let mut payloads = formats::enabled(&self.config, answered);
        payloads.retain_mut(|format| {
            let ours = offered
                .payloads
                .iter()
                .find(|ours| ours.codec == format.codec);
            if let Some(ours) = ours {
                format.feedback = format.feedback.intersect(ours.feedback);
            }
            ours.is_some()
        });
        let mut extensions = answered.extensions.clone();
        extensions.retain(|map| {
            offered
                .extensions
                .iter()
                .any(|ours| ours.extension == map.extension)
        });
        for map in &mut extensions {
            map.direction = map.direction.reversed();
        }

        let received = if offered.direction.receives() {
            let ids = formats::receive_ids(offered.kind, &extensions);
            line::receive_section(line.receive.as_ref(), section, payloads.clone(), ids)
        } else {
            None
        };
        report_received(line, received, outcome);

        let accepted = !line.stopped && offered.direction.sends() && answered.direction.receives();
        let spec = line.sender.and_then(|id| Some((id, self.sends.get(&id)?)));
        let sent = spec.and_then(|(id, spec)| {
            let payloads = formats::select(&spec.codecs, &payloads);
            if section.is_rejected() || payloads.is_empty() {
                outcome.unsupported.push(id);
                outcome
                    .negotiated
                    .send
                    .push(SendChange::Unsupported { key: spec.key });
                return None;
            }
            accepted.then(|| SendSection {
                key: spec.key,
                mid: line.mid.clone(),
                extensions: formats::send_ids(&self.config, offered.kind, &extensions, &payloads),
                payloads,
                rids: accepted_rids(spec, answered),
            })
        });
        let kept = spec.filter(|(id, _)| !outcome.unsupported.contains(id));
        match (&sent, kept) {
            (Some(sent), _) if line.send.as_ref() != Some(sent) => {
                outcome
                    .negotiated
                    .send
                    .push(SendChange::Ready(Box::new(sent.clone())));
            }
            (None, Some((_, spec))) if line.send.is_some() => {
                outcome
                    .negotiated
                    .send
                    .push(SendChange::Stopped { key: spec.key });
            }
            _ => {}
        }
        line.sender = kept.map(|(id, _)| id);
        line.send = sent;
        line.sending = accepted;
        if !line.stopped && !payloads.is_empty() && offered.direction == Direction::Inactive {
            line.payloads.clone_from(&offered.payloads);
        }
    }
}

/// Rids that the answer takes; without simulcast in the answer there is one stream.
fn accepted_rids(spec: &SendSpec, answered: &MediaMedia) -> Vec<String> {
    let taken = |id: &&String| answered.rids.iter().any(|rid| !rid.send && rid.id == **id);
    match &answered.simulcast {
        Some(simulcast) => spec
            .rids
            .iter()
            .filter(taken)
            .filter(|id| simulcast.recv.contains(id))
            .cloned()
            .collect(),
        None => Vec::new(),
    }
}

/// Whether an answer fits the offer line by line.
pub(super) fn check_answer(offer: &Description, answer: &Description) -> Result<(), SdpError> {
    let (offered, answered) = (offer.sections.len(), answer.sections.len());
    if offered != answered {
        return Err(SdpError::SectionCount {
            offer: offered,
            answer: answered,
        });
    }
    for (index, (ours, theirs)) in offer.sections.iter().zip(&answer.sections).enumerate() {
        let mismatch = |what| {
            Err(SdpError::SectionMismatch {
                section: index,
                what,
            })
        };
        let same_kind = match (&ours.media, &theirs.media) {
            (SectionMedia::Media(ours), SectionMedia::Media(theirs)) => ours.kind == theirs.kind,
            (SectionMedia::Data(_), SectionMedia::Data(_)) => true,
            (
                SectionMedia::Other { media: ours, .. },
                SectionMedia::Other { media: theirs, .. },
            ) => ours == theirs,
            _ => false,
        };
        if !same_kind {
            return mismatch("another media type");
        }
        if ours.mid != theirs.mid && !theirs.is_rejected() {
            return mismatch("another mid");
        }
        if ours.is_rejected() && !theirs.is_rejected() {
            return mismatch("a stopped section came back");
        }
    }
    Ok(())
}

/// The lines of an offer in the making.
struct Lines {
    lines: Vec<Line>,
    used: HashSet<String>,
    next_mid: u64,
}

impl Lines {
    /// Adds a line, in the place of a stopped one where there is any.
    fn add(&mut self, kind: LineKind, recyclable: &mut Vec<usize>) -> &mut Line {
        let mid = loop {
            let mid = self.next_mid.to_string();
            self.next_mid += 1;
            if self.used.insert(mid.clone()) {
                break mid;
            }
        };
        let line = Line::new(mid, kind);
        let index = match recyclable.pop() {
            Some(index) => index,
            None => {
                self.lines.push(line.clone());
                self.lines.len() - 1
            }
        };
        // In range: just pushed, or the index of a line of before.
        let place = &mut self.lines[index];
        *place = line;
        place
    }
}

/// Payload types and extension ids already in force: within a bundle a number means one thing.
struct Numbers {
    payloads: Vec<PayloadFormat>,
    extensions: Vec<ExtensionMap>,
}

impl Numbers {
    fn of(lines: &[Line]) -> Self {
        let mut numbers = Self {
            payloads: Vec::new(),
            extensions: Vec::new(),
        };
        for line in lines.iter().filter(|line| !line.stopped) {
            for format in &line.payloads {
                if numbers
                    .payloads
                    .iter()
                    .all(|known| known.payload_type != format.payload_type)
                {
                    numbers.payloads.push(format.clone());
                }
            }
            for map in &line.extensions {
                if numbers.extensions.iter().all(|known| known.id != map.id) {
                    numbers.extensions.push(*map);
                }
            }
        }
        numbers
    }

    /// Whether two formats are one configuration, but for what each side adjusts by itself.
    fn same(one: &PayloadFormat, other: &PayloadFormat) -> bool {
        one.codec == other.codec
            && match one.codec {
                Codec::H264 => {
                    one.fmtp.h264_profile() == other.fmtp.h264_profile()
                        && one.fmtp.packetization_mode() == other.fmtp.packetization_mode()
                }
                Codec::Vp9 | Codec::H265 | Codec::Av1 => {
                    one.fmtp.profile(one.codec) == other.fmtp.profile(one.codec)
                }
                _ => true,
            }
    }

    fn renumber(&self, formats: &mut [PayloadFormat]) {
        let mut taken: HashSet<u8> = self
            .payloads
            .iter()
            .flat_map(|known| [Some(known.payload_type), known.rtx])
            .flatten()
            .collect();
        if taken.is_empty() {
            return;
        }
        let kept: HashSet<u8> = formats
            .iter()
            .flat_map(|f| [Some(f.payload_type), f.rtx])
            .flatten()
            .collect();
        let mut opus = None;
        for format in formats.iter_mut() {
            if let Some(known) = self.payloads.iter().find(|known| Self::same(known, format)) {
                format.payload_type = known.payload_type;
                format.rtx = format.rtx.and(known.rtx);
            } else {
                for number in [Some(&mut format.payload_type), format.rtx.as_mut()]
                    .into_iter()
                    .flatten()
                {
                    if taken.contains(number) {
                        let mut free = DYNAMIC.into_iter().flatten();
                        if let Some(other) =
                            free.find(|pt| !taken.contains(pt) && !kept.contains(pt))
                        {
                            *number = other;
                        }
                    }
                    taken.insert(*number);
                }
            }
            if format.codec == Codec::Opus {
                opus = Some(format.payload_type);
            }
        }
        if let Some(opus) = opus {
            for format in formats
                .iter_mut()
                .filter(|format| format.codec == Codec::Red)
            {
                format.fmtp = Fmtp::new(&format!("{opus}/{opus}"));
            }
        }
    }

    fn extension(&self, extension: Extension) -> ExtensionMap {
        let known = self
            .extensions
            .iter()
            .find(|map| map.extension == extension)
            .map(|map| map.id);
        let id = known.unwrap_or_else(|| {
            let free = |id: &u8| self.extensions.iter().all(|map| map.id != *id);
            let own = extension.own_id();
            // All our ids lie below 15, so one taken by the peer moves above.
            if free(&own) {
                own
            } else {
                (16 + own..=255).step_by(16).find(free).unwrap_or(own)
            }
        });
        ExtensionMap {
            id,
            extension,
            direction: Direction::SendRecv,
        }
    }
}
