//! One m-line over the life of a connection.

use super::{ReceiveSection, SendSection};
use crate::api::MediaKind;
use crate::sdp::{
    Extension, ExtensionMap, MediaMedia, Msid, PayloadFormat, Section, SsrcInfo, StreamSsrc,
};

/// A number for each call of `add_send`, so that a track removed and added again is not taken for its
/// former self.
pub(super) type SendId = u64;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum LineKind {
    Media(MediaKind),
    Data,
    /// Another media type, and its formats.
    Other(String, String),
}

#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) mid: String,
    pub(super) kind: LineKind,
    /// Port 0 in the last negotiation: the place may be taken by a line with another mid.
    pub(super) stopped: bool,
    /// The track that this line is for.
    pub(super) sender: Option<SendId>,
    /// The last negotiation has us sending here. Without a sender the line must first go inactive:
    /// a peer does not announce a new track on a line that never stopped.
    pub(super) sending: bool,
    /// The peer's offer has it only receiving.
    pub(super) receive_only: bool,
    /// Made by us to receive in.
    pub(super) receiver: bool,
    /// Formats of the last description.
    pub(super) payloads: Vec<PayloadFormat>,
    pub(super) extensions: Vec<ExtensionMap>,
    /// As last reported.
    pub(super) receive: Option<ReceiveSection>,
    pub(super) send: Option<SendSection>,
}

impl Line {
    pub(super) fn new(mid: String, kind: LineKind) -> Self {
        Self {
            mid,
            kind,
            stopped: false,
            sender: None,
            sending: false,
            receive_only: false,
            receiver: false,
            payloads: Vec::new(),
            extensions: Vec::new(),
            receive: None,
            send: None,
        }
    }

    /// A section of the peer's that the next answer can send in.
    pub(super) fn free(&self) -> bool {
        self.receive_only && !self.stopped && !self.sending && self.sender.is_none()
    }

    /// Was sending, and has nothing to send now.
    pub(super) fn releasing(&self) -> bool {
        self.sending && self.sender.is_none() && !self.stopped
    }
}

/// The msid of a section, also the old way, by SSRC.
pub(super) fn msid_of(media: &MediaMedia) -> Option<Msid> {
    media.msid.clone().or_else(|| {
        media
            .ssrcs
            .iter()
            .find_map(|info: &SsrcInfo| info.msid.clone())
    })
}

/// Rids that the writer of a section sends, in its order of preference.
pub(super) fn sent_rids(media: &MediaMedia) -> Vec<String> {
    let declared = || media.rids.iter().filter(|rid| rid.send).map(|rid| &rid.id);
    match &media.simulcast {
        Some(simulcast) if !simulcast.send.is_empty() => simulcast
            .send
            .iter()
            .filter(|id| declared().any(|rid| rid == *id))
            .cloned()
            .collect(),
        _ => declared().cloned().collect(),
    }
}

/// Primary streams with their retransmission streams.
pub(super) fn streams_of(media: &MediaMedia) -> Vec<StreamSsrc> {
    let groups = |semantics: &'static str| {
        media
            .ssrc_groups
            .iter()
            .filter(move |group| group.semantics == semantics)
    };
    let rtx_of = |ssrc: u32| {
        groups("FID")
            .find(|group| group.ssrcs.first() == Some(&ssrc))
            .and_then(|g| g.ssrcs.get(1).copied())
    };
    let primary: Vec<u32> = match groups("SIM").next() {
        Some(group) => group.ssrcs.clone(),
        None => {
            let repair = |ssrc: u32| {
                groups("FID")
                    .chain(groups("FEC-FR"))
                    .chain(groups("FEC"))
                    .any(|group| group.ssrcs.iter().skip(1).any(|other| *other == ssrc))
            };
            media
                .ssrcs
                .iter()
                .map(|info| info.ssrc)
                .filter(|ssrc| !repair(*ssrc))
                .collect()
        }
    };
    primary
        .into_iter()
        .map(|ssrc| StreamSsrc {
            ssrc,
            rtx: rtx_of(ssrc),
        })
        .collect()
}

/// What the peer sends in a section of its description, if it does.
pub(super) fn receive_section(
    before: Option<&ReceiveSection>,
    section: &Section,
    payloads: Vec<PayloadFormat>,
    extensions: Vec<(u8, Extension)>,
) -> Option<ReceiveSection> {
    let media = section.media()?;
    if section.is_rejected() || !media.direction.sends() || payloads.is_empty() {
        return None;
    }
    let msid = msid_of(media);
    let rids = sent_rids(media);
    let ssrcs = streams_of(media);
    if msid.is_none() {
        // Without an msid other signs of a stream do, unless the msid was there before.
        let had = before.is_some_and(|before| before.msid.is_some());
        if had || rids.is_empty() && ssrcs.is_empty() {
            return None;
        }
    }
    Some(ReceiveSection {
        mid: section.mid.clone(),
        kind: media.kind,
        msid,
        rids,
        ssrcs,
        payloads,
        extensions,
    })
}
