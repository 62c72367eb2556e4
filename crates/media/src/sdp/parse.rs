//! From text to [`Description`].

use std::collections::HashSet;

use super::{
    Codec, DataMedia, Description, Direction, Extension, ExtensionMap, Feedback, Fingerprint, Fmtp,
    IceCredentials, MediaMedia, Msid, PayloadFormat, Rid, SdpError, Section, SectionMedia, Setup,
    Simulcast, SsrcGroup, SsrcInfo,
};
use crate::api::MediaKind;

const MAX_BYTES: usize = 1_000_000;
/// Each takes a worker a sixth of a millisecond, and a real one about a kilobyte of the size above.
const MAX_SECTIONS: usize = 1_000;
const MAX_LINES: usize = 100_000;
const MAX_SECTION_ATTRIBUTES: usize = 2_000;
/// A host with many interfaces lists dozens; far more is an attack.
const MAX_CANDIDATES: usize = 1_000;
/// Candidates kept of one section; the rest is of no use to ICE here.
const KEPT_CANDIDATES: usize = 16;
const MAX_CANDIDATE_BYTES: usize = 512;
const MAX_PAYLOADS: usize = 128;
const MAX_EXTENSIONS: usize = 64;
const MAX_RIDS: usize = 16;
const MAX_SSRCS: usize = 64;
const MAX_SSRC_GROUPS: usize = 64;
const MAX_FINGERPRINTS: usize = 8;
/// Fits a one-byte header extension with room to spare: browsers use one to three digits.
const MAX_MID_BYTES: usize = 64;
const MAX_CREDENTIAL_BYTES: usize = 256;
/// Until told (RFC 8841 §6.1).
const DEFAULT_MAX_MESSAGE_SIZE: u64 = 65_536;

pub(super) fn description(text: &str) -> Result<Description, SdpError> {
    let session = syntax(text)?;
    let defaults = Defaults::parse(&session)?;
    let mut mids = HashSet::with_capacity(session.medias.len());
    let mut candidates = 0;
    let mut sections = Vec::with_capacity(session.medias.len());
    for (index, media) in session.medias.iter().enumerate() {
        let section = section(index, media, &defaults, &mut candidates)?;
        if !mids.insert(section.mid.clone()) {
            return Err(SdpError::DuplicateMid { mid: section.mid });
        }
        sections.push(section);
    }
    let bundle = session.attributes.iter().find_map(|attribute| {
        let mids = attribute.value.as_deref()?.strip_prefix("BUNDLE")?;
        (attribute.attribute == "group").then(|| {
            mids.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
    });
    Ok(Description {
        session_id: session.origin.sess_id,
        version: session.origin.sess_version,
        bundle,
        ice_lite: session.attributes.iter().any(|a| a.attribute == "ice-lite"),
        extmap_allow_mixed: session
            .attributes
            .iter()
            .any(|a| a.attribute == "extmap-allow-mixed"),
        sections,
    })
}

/// Checks the size and normalises line endings, which `sdp-types` is strict about.
fn syntax(text: &str) -> Result<sdp_types::Session, SdpError> {
    if text.len() > MAX_BYTES {
        return Err(SdpError::TooLarge {
            size: text.len(),
            limit: MAX_BYTES,
        });
    }
    let mut normal = String::with_capacity(text.len());
    let (mut lines, mut sections) = (0, 0);
    for line in text
        .split(['\r', '\n'])
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
    {
        lines += 1;
        if line.starts_with("m=") {
            sections += 1;
        }
        normal.push_str(line);
        normal.push('\n');
    }
    limit("lines", lines, MAX_LINES)?;
    limit("sections", sections, MAX_SECTIONS)?;
    sdp_types::Session::parse(normal.as_bytes())
        .map_err(|error| SdpError::Syntax(error.to_string()))
}

fn limit(what: &'static str, count: usize, limit: usize) -> Result<(), SdpError> {
    if count > limit {
        Err(SdpError::TooMany { what, limit })
    } else {
        Ok(())
    }
}

/// Session-level attributes that hold for every section without its own.
struct Defaults {
    ufrag: Option<String>,
    pwd: Option<String>,
    fingerprints: Vec<Fingerprint>,
    setup: Option<Setup>,
    direction: Option<Direction>,
    extensions: Vec<(String, String)>,
}

impl Defaults {
    fn parse(session: &sdp_types::Session) -> Result<Self, SdpError> {
        let mut defaults = Self {
            ufrag: None,
            pwd: None,
            fingerprints: Vec::new(),
            setup: None,
            direction: None,
            extensions: Vec::new(),
        };
        limit(
            "session attributes",
            session.attributes.len(),
            MAX_SECTION_ATTRIBUTES,
        )?;
        for attribute in &session.attributes {
            let value = attribute.value.as_deref().unwrap_or_default();
            match attribute.attribute.as_str() {
                "ice-ufrag" => defaults.ufrag = Some(value.to_owned()),
                "ice-pwd" => defaults.pwd = Some(value.to_owned()),
                "fingerprint" => {
                    limit(
                        "fingerprints",
                        defaults.fingerprints.len() + 1,
                        MAX_FINGERPRINTS,
                    )?;
                    defaults.fingerprints.push(Fingerprint::parse(value).ok_or(
                        SdpError::Attribute {
                            attribute: "fingerprint",
                            section: 0,
                        },
                    )?);
                }
                "setup" => defaults.setup = Setup::parse(value),
                "extmap" => {
                    limit(
                        "header extensions",
                        defaults.extensions.len() + 1,
                        MAX_EXTENSIONS,
                    )?;
                    if let Some((id, uri)) = value.split_once(' ') {
                        defaults.extensions.push((id.to_owned(), uri.to_owned()));
                    }
                }
                name => defaults.direction = Direction::parse(name).or(defaults.direction),
            }
        }
        Ok(defaults)
    }
}

fn section(
    index: usize,
    media: &sdp_types::Media,
    defaults: &Defaults,
    candidates: &mut usize,
) -> Result<Section, SdpError> {
    limit(
        "attributes in a section",
        media.attributes.len(),
        MAX_SECTION_ATTRIBUTES,
    )?;
    let bad = |attribute| SdpError::Attribute {
        attribute,
        section: index,
    };
    let mut mid = None;
    let (mut ufrag, mut pwd, mut setup) = (None, None, None);
    let mut section = Section {
        mid: String::new(),
        port: media.port,
        bundle_only: false,
        proto: media.proto.clone(),
        ice: None,
        fingerprints: Vec::new(),
        setup: None,
        candidates: Vec::new(),
        end_of_candidates: false,
        media: section_media(index, media, defaults)?,
    };
    for attribute in &media.attributes {
        let value = attribute.value.as_deref().unwrap_or_default();
        match attribute.attribute.as_str() {
            "mid" => mid = Some(value.trim()),
            "bundle-only" => section.bundle_only = true,
            "ice-ufrag" => ufrag = Some(value.to_owned()),
            "ice-pwd" => pwd = Some(value.to_owned()),
            "setup" => setup = Some(Setup::parse(value).ok_or_else(|| bad("setup"))?),
            "fingerprint" => {
                limit(
                    "fingerprints",
                    section.fingerprints.len() + 1,
                    MAX_FINGERPRINTS,
                )?;
                let fingerprint = Fingerprint::parse(value).ok_or_else(|| bad("fingerprint"))?;
                section.fingerprints.push(fingerprint);
            }
            "candidate" => {
                *candidates += 1;
                limit("candidates", *candidates, MAX_CANDIDATES)?;
                if section.candidates.len() < KEPT_CANDIDATES && value.len() <= MAX_CANDIDATE_BYTES
                {
                    section.candidates.push(format!("candidate:{value}"));
                }
            }
            "end-of-candidates" => section.end_of_candidates = true,
            _ => {}
        }
    }
    match mid {
        None if media.port == 0 => section.mid = format!("stopped-{index}"),
        None => return Err(SdpError::MissingMid { section: index }),
        Some(mid) if mid.is_empty() || mid.len() > MAX_MID_BYTES => return Err(bad("mid")),
        Some(mid) if mid.contains(char::is_whitespace) => return Err(bad("mid")),
        Some(mid) => section.mid = mid.to_owned(),
    }
    section.setup = setup.or(defaults.setup);
    if section.fingerprints.is_empty() {
        section.fingerprints.clone_from(&defaults.fingerprints);
    }
    section.ice = match (
        ufrag.or_else(|| defaults.ufrag.clone()),
        pwd.or_else(|| defaults.pwd.clone()),
    ) {
        (Some(ufrag), Some(pwd)) => {
            if !valid_credential(&ufrag, 4) {
                return Err(bad("ice-ufrag"));
            }
            if !valid_credential(&pwd, 22) {
                return Err(bad("ice-pwd"));
            }
            Some(IceCredentials { ufrag, pwd })
        }
        _ => None,
    };
    Ok(section)
}

/// RFC 8839 §5.4, the alphabet aside.
fn valid_credential(value: &str, least: usize) -> bool {
    value.len() >= least
        && value.len() <= MAX_CREDENTIAL_BYTES
        && value.bytes().all(|byte| byte.is_ascii_graphic())
}

fn section_media(
    index: usize,
    media: &sdp_types::Media,
    defaults: &Defaults,
) -> Result<SectionMedia, SdpError> {
    let rtp = media.proto.contains("RTP/");
    match media.media.as_str() {
        "audio" if rtp => rtp_media(index, MediaKind::Audio, media, defaults),
        "video" if rtp => rtp_media(index, MediaKind::Video, media, defaults),
        "application" if media.proto.contains("SCTP") => data_media(index, media),
        other => Ok(SectionMedia::Other {
            media: other.to_owned(),
            formats: media.fmt.clone(),
        }),
    }
}

fn data_media(index: usize, media: &sdp_types::Media) -> Result<SectionMedia, SdpError> {
    let bad = |attribute| SdpError::Attribute {
        attribute,
        section: index,
    };
    let mut data = DataMedia {
        sctp_port: 5_000,
        max_message_size: DEFAULT_MAX_MESSAGE_SIZE,
        draft: !media.proto.starts_with("UDP/") && !media.proto.starts_with("TCP/"),
    };
    for attribute in &media.attributes {
        let value = attribute.value.as_deref().unwrap_or_default().trim();
        match attribute.attribute.as_str() {
            "sctp-port" => data.sctp_port = value.parse().map_err(|_| bad("sctp-port"))?,
            "sctpmap" => {
                let port = value.split(' ').next().and_then(|port| port.parse().ok());
                data.sctp_port = port.ok_or_else(|| bad("sctpmap"))?;
                data.draft = true;
            }
            "max-message-size" => {
                data.max_message_size = value.parse().map_err(|_| bad("max-message-size"))?;
            }
            _ => {}
        }
    }
    Ok(SectionMedia::Data(data))
}

fn rtp_media(
    index: usize,
    kind: MediaKind,
    section: &sdp_types::Media,
    defaults: &Defaults,
) -> Result<SectionMedia, SdpError> {
    let bad = |attribute| SdpError::Attribute {
        attribute,
        section: index,
    };
    let mut formats = Formats::default();
    let mut media = MediaMedia {
        kind,
        direction: defaults.direction.unwrap_or_default(),
        formats: section.fmt.clone(),
        payloads: Vec::new(),
        extensions: Vec::new(),
        rtcp_mux: false,
        rtcp_rsize: false,
        extmap_allow_mixed: false,
        msid: None,
        ssrcs: Vec::new(),
        ssrc_groups: Vec::new(),
        rids: Vec::new(),
        simulcast: None,
    };
    for (id, uri) in &defaults.extensions {
        media.extensions.extend(extension(id, uri));
    }
    for attribute in &section.attributes {
        let value = attribute.value.as_deref().unwrap_or_default().trim();
        match attribute.attribute.as_str() {
            "rtpmap" => formats.rtpmap(value).ok_or_else(|| bad("rtpmap"))?,
            "fmtp" => formats.fmtp(value),
            "rtcp-fb" => formats.feedback(value),
            "extmap" => {
                limit(
                    "header extensions",
                    media.extensions.len() + 1,
                    MAX_EXTENSIONS,
                )?;
                let (id, uri) = value.split_once(' ').ok_or_else(|| bad("extmap"))?;
                if let Some(map) = extension(id, uri) {
                    media
                        .extensions
                        .retain(|other| other.extension != map.extension);
                    media.extensions.push(map);
                }
            }
            "rtcp-mux" => media.rtcp_mux = true,
            "rtcp-rsize" => media.rtcp_rsize = true,
            "extmap-allow-mixed" => media.extmap_allow_mixed = true,
            "msid" => {
                // More than one means that the track is in several streams; the first names it.
                media.msid = media.msid.or_else(|| msid(value));
            }
            "ssrc" => ssrc(value, &mut media.ssrcs).ok_or_else(|| bad("ssrc"))?,
            "ssrc-group" => {
                media
                    .ssrc_groups
                    .push(ssrc_group(value).ok_or_else(|| bad("ssrc-group"))?);
                limit(
                    "SSRC groups in a section",
                    media.ssrc_groups.len(),
                    MAX_SSRC_GROUPS,
                )?;
            }
            "rid" => {
                media.rids.push(rid(value).ok_or_else(|| bad("rid"))?);
                limit("rids in a section", media.rids.len(), MAX_RIDS)?;
            }
            "simulcast" => {
                media.simulcast = Some(simulcast(value).ok_or_else(|| bad("simulcast"))?)
            }
            name => media.direction = Direction::parse(name).unwrap_or(media.direction),
        }
        limit("SSRCs in a section", media.ssrcs.len(), MAX_SSRCS)?;
    }
    media.payloads = formats.payloads(kind, &section.fmt)?;
    Ok(SectionMedia::Media(Box::new(media)))
}

/// `a=extmap`. Ids beyond 255 are proposals to be renumbered (RFC 8285 §6) that we do not take up.
fn extension(id: &str, uri: &str) -> Option<ExtensionMap> {
    let (id, direction) = match id.split_once('/') {
        Some((id, direction)) => (id, Direction::parse(direction)?),
        None => (id, Direction::SendRecv),
    };
    let id = id.parse().ok().filter(|id| *id != 0)?;
    let extension = Extension::from_uri(uri.split_whitespace().next()?)?;
    Some(ExtensionMap {
        id,
        extension,
        direction,
    })
}

fn msid(value: &str) -> Option<Msid> {
    let mut parts = value.split_whitespace();
    let stream = parts.next()?.to_owned();
    Some(Msid {
        stream,
        track: parts.next().unwrap_or_default().to_owned(),
    })
}

fn ssrc(value: &str, ssrcs: &mut Vec<SsrcInfo>) -> Option<()> {
    let (ssrc, attribute) = value.split_once(' ').unwrap_or((value, ""));
    let ssrc = ssrc.parse().ok()?;
    let position = ssrcs
        .iter()
        .position(|info| info.ssrc == ssrc)
        .unwrap_or_else(|| {
            ssrcs.push(SsrcInfo {
                ssrc,
                cname: None,
                msid: None,
            });
            ssrcs.len() - 1
        });
    let info = ssrcs.get_mut(position)?;
    match attribute.split_once(':') {
        Some(("cname", cname)) => info.cname = Some(cname.to_owned()),
        Some(("msid", value)) => info.msid = msid(value),
        _ => {}
    }
    Some(())
}

fn ssrc_group(value: &str) -> Option<SsrcGroup> {
    let mut parts = value.split_whitespace();
    let semantics = parts.next()?.to_owned();
    let ssrcs = parts
        .take(MAX_SSRCS)
        .map(|ssrc| ssrc.parse().ok())
        .collect::<Option<Vec<_>>>()?;
    Some(SsrcGroup { semantics, ssrcs })
}

fn rid(value: &str) -> Option<Rid> {
    let (id, rest) = value.split_once(' ')?;
    let (direction, restrictions) = rest.split_once(' ').unwrap_or((rest, ""));
    let send = match direction {
        "send" => true,
        "recv" => false,
        _ => return None,
    };
    valid_rid(id).then(|| Rid {
        id: id.to_owned(),
        send,
        restrictions: restrictions.to_owned(),
    })
}

/// RFC 8851 §10, plus the underscore and dash that libwebrtc allows, as long as fits a one-byte header.
fn valid_rid(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 16
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn simulcast(value: &str) -> Option<Simulcast> {
    let mut simulcast = Simulcast::default();
    let mut parts = value.split_whitespace();
    while let Some(direction) = parts.next() {
        let list = parts.next()?;
        let list = match list.strip_prefix("rid=") {
            Some(list) => {
                simulcast.draft = true;
                list
            }
            None => list,
        };
        let rids = list
            .split(';')
            // The first of several alternatives; a tilde marks a layer that starts paused.
            .filter_map(|stream| stream.split(',').next())
            .map(|id| id.trim_start_matches('~').to_owned())
            .take(MAX_RIDS)
            .collect();
        match direction {
            "send" => simulcast.send = rids,
            "recv" => simulcast.recv = rids,
            _ => return None,
        }
    }
    Some(simulcast)
}

/// The format attributes of a section, by payload type.
#[derive(Default)]
struct Formats {
    maps: Vec<RtpMap>,
    fmtp: Vec<(u8, Fmtp)>,
    feedback: Vec<(Option<u8>, Feedback)>,
}

struct RtpMap {
    payload_type: u8,
    name: String,
    clock_rate: u32,
    channels: u8,
}

impl Formats {
    fn rtpmap(&mut self, value: &str) -> Option<()> {
        let (payload_type, encoding) = value.split_once(' ')?;
        let payload_type = payload_type.parse().ok().filter(|pt| *pt < 128)?;
        let mut parts = encoding.trim().split('/');
        let name = parts.next()?.to_ascii_lowercase();
        let clock_rate = parts.next()?.parse().ok()?;
        let channels = parts
            .next()
            .map_or(Some(1), |channels| channels.parse().ok())?;
        self.maps.push(RtpMap {
            payload_type,
            name,
            clock_rate,
            channels,
        });
        Some(())
    }

    fn fmtp(&mut self, value: &str) {
        if let Some((payload_type, parameters)) = value.split_once(' ')
            && let Ok(payload_type) = payload_type.parse()
        {
            self.fmtp.push((payload_type, Fmtp::new(parameters)));
        }
    }

    fn feedback(&mut self, value: &str) {
        let mut parts = value.split_whitespace();
        let payload_type = match parts.next() {
            Some("*") => None,
            Some(payload_type) => match payload_type.parse() {
                Ok(payload_type) => Some(payload_type),
                Err(_) => return,
            },
            None => return,
        };
        let mut feedback = Feedback::default();
        match (parts.next(), parts.next()) {
            (Some("nack"), None) => feedback.nack = true,
            (Some("nack"), Some("pli")) => feedback.pli = true,
            (Some("ccm"), Some("fir")) => feedback.fir = true,
            (Some("transport-cc"), None) => feedback.transport_cc = true,
            (Some("goog-remb"), None) => feedback.remb = true,
            _ => return,
        }
        self.feedback.push((payload_type, feedback));
    }

    fn fmtp_of(&self, payload_type: u8) -> Option<&Fmtp> {
        self.fmtp
            .iter()
            .find(|(pt, _)| *pt == payload_type)
            .map(|(_, fmtp)| fmtp)
    }

    fn feedback_of(&self, payload_type: u8) -> Feedback {
        self.feedback
            .iter()
            .filter(|(pt, _)| pt.is_none_or(|pt| pt == payload_type))
            .fold(Feedback::default(), |all, (_, one)| all.union(*one))
    }

    /// The formats that we know, in the order of the m-line.
    fn payloads(&self, kind: MediaKind, order: &str) -> Result<Vec<PayloadFormat>, SdpError> {
        let mut payloads: Vec<PayloadFormat> = Vec::new();
        for (index, payload_type) in order.split_whitespace().enumerate() {
            limit("payload types in a section", index + 1, MAX_PAYLOADS)?;
            let Ok(payload_type) = payload_type.parse::<u8>() else {
                continue;
            };
            if payloads
                .iter()
                .any(|payload| payload.payload_type == payload_type)
            {
                continue;
            }
            let map = self
                .maps
                .iter()
                .find(|map| map.payload_type == payload_type);
            let (codec, clock_rate, channels) = match map {
                Some(map) => {
                    let codec = Codec::ALL.into_iter().find(|codec| {
                        codec.kind() == kind
                            && codec.encoding_name().eq_ignore_ascii_case(&map.name)
                            && codec.clock_rate() == map.clock_rate
                    });
                    (codec, map.clock_rate, map.channels)
                }
                // The static types need no rtpmap (RFC 3551).
                None if kind == MediaKind::Audio && payload_type == 0 => {
                    (Some(Codec::Pcmu), 8_000, 1)
                }
                None if kind == MediaKind::Audio && payload_type == 8 => {
                    (Some(Codec::Pcma), 8_000, 1)
                }
                None => (None, 0, 0),
            };
            let Some(codec) = codec else { continue };
            payloads.push(PayloadFormat {
                payload_type,
                codec,
                clock_rate,
                channels,
                fmtp: self.fmtp_of(payload_type).cloned().unwrap_or_default(),
                feedback: self.feedback_of(payload_type),
                rtx: None,
            });
        }
        let listed: HashSet<&str> = order.split_whitespace().collect();
        for map in self.maps.iter().filter(|map| map.name == "rtx") {
            let apt = self
                .fmtp_of(map.payload_type)
                .and_then(|fmtp| fmtp.get("apt")?.parse().ok());
            if let Some(apt) = apt
                && listed.contains(map.payload_type.to_string().as_str())
                && let Some(payload) = payloads
                    .iter_mut()
                    .find(|payload| payload.payload_type == apt)
                && payload.rtx.is_none()
            {
                payload.rtx = Some(map.payload_type);
            }
        }
        Ok(payloads)
    }
}
