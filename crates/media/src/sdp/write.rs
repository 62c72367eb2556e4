//! From [`Description`] to text.

use std::fmt;

use sdp_types::{AddrType, Attribute, Connection, Media, NetType, Origin, Session, Time};

use super::{
    DataMedia, Description, Direction, Feedback, MediaMedia, Msid, PayloadFormat, Section,
    SectionMedia, Simulcast,
};
use crate::api::MediaKind;

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        session(self).fmt(f)
    }
}

/// Gathers attributes in order.
struct Attributes(Vec<Attribute>);

impl Attributes {
    fn flag(&mut self, name: &str) {
        self.0.push(Attribute::new(name));
    }

    fn flag_if(&mut self, condition: bool, name: &str) {
        if condition {
            self.flag(name);
        }
    }

    fn value(&mut self, name: &str, value: impl ToString) {
        self.0.push(Attribute::with_value(name, value));
    }
}

fn session(description: &Description) -> Session {
    let origin = Origin::new(
        &description.session_id,
        description.version,
        NetType::In,
        AddrType::Ip4,
        "127.0.0.1",
    );
    let mut session = Session::new(origin, "-");
    session.add_time(Time::new(0, 0));
    let mut attributes = Attributes(Vec::new());
    if let Some(mids) = &description.bundle {
        attributes.value("group", format!("BUNDLE {}", mids.join(" ")).trim_end());
    }
    attributes.flag_if(description.extmap_allow_mixed, "extmap-allow-mixed");
    attributes.value("msid-semantic", " WMS *");
    attributes.flag_if(description.ice_lite, "ice-lite");
    session.attributes = attributes.0;
    session.medias = description.sections.iter().map(media).collect();
    session
}

fn media(section: &Section) -> Media {
    let (name, formats) = match &section.media {
        SectionMedia::Media(media) => {
            let name = match media.kind {
                MediaKind::Audio => "audio",
                MediaKind::Video => "video",
            };
            (name, media.formats.clone())
        }
        SectionMedia::Data(data) if data.draft => ("application", data.sctp_port.to_string()),
        SectionMedia::Data(_) => ("application", "webrtc-datachannel".to_owned()),
        SectionMedia::Other { media, formats } => (media.as_str(), formats.clone()),
    };
    let mut attributes = Attributes(Vec::new());
    attributes.value("mid", &section.mid);
    attributes.flag_if(section.bundle_only, "bundle-only");
    if !section.is_rejected() {
        transport(section, &mut attributes);
    }
    match &section.media {
        SectionMedia::Media(media) if section.is_rejected() => {
            attributes.flag(Direction::Inactive.as_str());
            // A rejected line still explains the formats it lists.
            media
                .payloads
                .iter()
                .for_each(|payload| format(payload, &mut attributes));
        }
        SectionMedia::Media(media) => rtp(media, &mut attributes),
        SectionMedia::Data(data) => self::data(data, &mut attributes),
        SectionMedia::Other { .. } => attributes.flag(Direction::Inactive.as_str()),
    }
    Media {
        media: name.to_owned(),
        port: section.port,
        num_ports: None,
        proto: section.proto.clone(),
        fmt: formats,
        media_title: None,
        connections: vec![Connection::new(NetType::In, AddrType::Ip4, "0.0.0.0")],
        bandwidths: Vec::new(),
        key: None,
        attributes: attributes.0,
    }
}

fn transport(section: &Section, attributes: &mut Attributes) {
    if let Some(ice) = &section.ice {
        attributes.value("ice-ufrag", &ice.ufrag);
        attributes.value("ice-pwd", &ice.pwd);
        attributes.value("ice-options", "trickle");
    }
    for fingerprint in &section.fingerprints {
        attributes.value("fingerprint", fingerprint);
    }
    if let Some(setup) = section.setup {
        attributes.value("setup", setup.as_str());
    }
    for candidate in &section.candidates {
        attributes.value("candidate", candidate.trim_start_matches("candidate:"));
    }
    attributes.flag_if(section.end_of_candidates, "end-of-candidates");
}

fn data(data: &DataMedia, attributes: &mut Attributes) {
    if data.draft {
        attributes.value(
            "sctpmap",
            format!("{} webrtc-datachannel 1024", data.sctp_port),
        );
    } else {
        attributes.value("sctp-port", data.sctp_port);
    }
    attributes.value("max-message-size", data.max_message_size);
}

fn rtp(media: &MediaMedia, attributes: &mut Attributes) {
    attributes.flag(media.direction.as_str());
    if let Some(msid) = &media.msid {
        attributes.value("msid", self::msid(msid));
    }
    attributes.flag_if(media.rtcp_mux, "rtcp-mux");
    attributes.flag_if(media.rtcp_rsize, "rtcp-rsize");
    attributes.flag_if(media.extmap_allow_mixed, "extmap-allow-mixed");
    for map in &media.extensions {
        let uri = map.extension.uri();
        match map.direction {
            Direction::SendRecv => attributes.value("extmap", format!("{} {uri}", map.id)),
            direction => {
                attributes.value("extmap", format!("{}/{} {uri}", map.id, direction.as_str()));
            }
        }
    }
    media
        .payloads
        .iter()
        .for_each(|payload| format(payload, attributes));
    for rid in &media.rids {
        let direction = if rid.send { "send" } else { "recv" };
        attributes.value(
            "rid",
            format!("{} {direction} {}", rid.id, rid.restrictions).trim_end(),
        );
    }
    if let Some(simulcast) = &media.simulcast {
        attributes.value("simulcast", self::simulcast(simulcast));
    }
    for group in &media.ssrc_groups {
        let ssrcs: Vec<String> = group.ssrcs.iter().map(u32::to_string).collect();
        attributes.value(
            "ssrc-group",
            format!("{} {}", group.semantics, ssrcs.join(" ")),
        );
    }
    for info in &media.ssrcs {
        if let Some(cname) = &info.cname {
            attributes.value("ssrc", format!("{} cname:{cname}", info.ssrc));
        }
        if let Some(msid) = &info.msid {
            attributes.value("ssrc", format!("{} msid:{}", info.ssrc, self::msid(msid)));
        }
    }
}

fn msid(msid: &Msid) -> String {
    format!("{} {}", msid.stream, msid.track)
        .trim_end()
        .to_owned()
}

fn simulcast(simulcast: &Simulcast) -> String {
    let prefix = if simulcast.draft { "rid=" } else { "" };
    let mut parts = Vec::new();
    for (direction, rids) in [("send", &simulcast.send), ("recv", &simulcast.recv)] {
        if !rids.is_empty() {
            parts.push(format!("{direction} {prefix}{}", rids.join(";")));
        }
    }
    parts.join(" ")
}

fn format(payload: &PayloadFormat, attributes: &mut Attributes) {
    let pt = payload.payload_type;
    let (name, clock) = (payload.codec.encoding_name(), payload.clock_rate);
    let channels = if payload.channels > 1 {
        format!("/{}", payload.channels)
    } else {
        String::new()
    };
    attributes.value("rtpmap", format!("{pt} {name}/{clock}{channels}"));
    let Feedback {
        nack,
        pli,
        fir,
        transport_cc,
        remb,
    } = payload.feedback;
    for (present, feedback) in [
        (remb, "goog-remb"),
        (transport_cc, "transport-cc"),
        (fir, "ccm fir"),
        (nack, "nack"),
        (pli, "nack pli"),
    ] {
        if present {
            attributes.value("rtcp-fb", format!("{pt} {feedback}"));
        }
    }
    if !payload.fmtp.is_empty() {
        attributes.value("fmtp", format!("{pt} {}", payload.fmtp));
    }
    if let Some(rtx) = payload.rtx {
        attributes.value("rtpmap", format!("{rtx} rtx/{clock}"));
        attributes.value("fmtp", format!("{rtx} apt={pt}"));
    }
}

/// The format list of an m-line with these formats.
pub(super) fn format_list(payloads: &[PayloadFormat]) -> String {
    let types: Vec<String> = payloads
        .iter()
        .flat_map(|payload| [Some(payload.payload_type), payload.rtx])
        .flatten()
        .map(|payload_type| payload_type.to_string())
        .collect();
    types.join(" ")
}
