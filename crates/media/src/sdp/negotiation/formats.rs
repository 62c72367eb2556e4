//! Which formats of two sides fit, and the ones that our own offers use.

use super::{CodecWish, CongestionFeedback, NegotiatorConfig, ReceivePreferences};
use crate::api::MediaKind;
use crate::sdp::{
    Codec, Extension, ExtensionMap, Feedback, Fmtp, H264Profile, MediaMedia, PayloadFormat,
};

/// How well a format takes a stream of the wished codec: the lower the better, `None` not at all.
pub(super) fn fitness(wish: &CodecWish, format: &PayloadFormat) -> Option<u8> {
    if wish.codec != format.codec {
        return None;
    }
    let any = wish.fmtp.is_empty();
    match wish.codec {
        Codec::H264 => h264_fitness((!any).then_some(&wish.fmtp), &format.fmtp),
        Codec::Vp9 | Codec::H265 | Codec::Av1 => {
            let profile = format.fmtp.profile(format.codec);
            if any {
                Some(profile)
            } else {
                (wish.fmtp.profile(wish.codec) == profile).then_some(0)
            }
        }
        _ => Some(0),
    }
}

/// What a decoder must be able to do; the constrained profiles are no more than their bases.
fn h264_rank(profile: H264Profile) -> u8 {
    match profile {
        H264Profile::ConstrainedBaseline | H264Profile::Baseline => 0,
        H264Profile::Main => 1,
        H264Profile::ConstrainedHigh => 2,
        H264Profile::High => 3,
    }
}

fn h264_fitness(stream: Option<&Fmtp>, format: &Fmtp) -> Option<u8> {
    let profile = format.h264_profile()?;
    let mode = format.packetization_mode();
    let Some(stream) = stream else {
        // Unknown: most senders fragment, and every decoder takes Constrained Baseline.
        let fragments = if mode == 1 { 0 } else { 10 };
        return Some(h264_rank(profile) + fragments);
    };
    let from = stream.h264_profile()?;
    // A receiver of single NAL units cannot take fragments; the other way round it may not be asked to.
    let mode = match (stream.packetization_mode(), mode) {
        (from, to) if from == to => 0,
        (0, 1) => 20,
        _ => return None,
    };
    let distance = h264_rank(profile).checked_sub(h264_rank(from))?;
    Some(mode + 2 * distance + u8::from(profile != from))
}

/// Formats to send a track with, the best for its first codec first.
pub(super) fn select(wishes: &[CodecWish], formats: &[PayloadFormat]) -> Vec<PayloadFormat> {
    let mut selected: Vec<PayloadFormat> = Vec::new();
    for wish in wishes {
        let mut fitting: Vec<(u8, &PayloadFormat)> = formats
            .iter()
            .filter(|format| {
                selected
                    .iter()
                    .all(|s| s.payload_type != format.payload_type)
            })
            .filter_map(|format| Some((fitness(wish, format)?, format)))
            .collect();
        fitting.sort_by_key(|(fitness, _)| *fitness);
        selected.extend(fitting.into_iter().map(|(_, format)| format.clone()));
    }
    drop_orphaned_red(&mut selected);
    selected
}

/// RED needs the format that it carries.
fn drop_orphaned_red(formats: &mut Vec<PayloadFormat>) {
    let opus: Vec<u8> = formats
        .iter()
        .filter(|f| f.codec == Codec::Opus)
        .map(|f| f.payload_type)
        .collect();
    formats.retain(|format| {
        let carries = |part: &str| part.parse().is_ok_and(|pt| opus.contains(&pt));
        format.codec != Codec::Red
            || !opus.is_empty()
                && (format.fmtp.is_empty() || format.fmtp.as_str().split('/').all(carries))
    });
}

/// Puts formats of other codecs behind those of a track.
///
/// A peer may take the formats of all sections from the first of its kind, as Pion does when its media engine
/// is not copied: what that one leaves out can never be sent later.
pub(super) fn add_others(selected: &mut Vec<PayloadFormat>, all: Vec<PayloadFormat>) {
    let codecs: Vec<Codec> = selected.iter().map(|format| format.codec).collect();
    let other =
        |format: &PayloadFormat| format.codec != Codec::Red && !codecs.contains(&format.codec);
    selected.extend(all.into_iter().filter(other));
}

/// The formats of an offered section that are enabled here, in the offer's order.
pub(super) fn enabled(config: &NegotiatorConfig, media: &MediaMedia) -> Vec<PayloadFormat> {
    let mut formats: Vec<PayloadFormat> = media
        .payloads
        .iter()
        .filter(|format| config.codecs.contains(&format.codec))
        .filter(|format| !media.direction.sends() || !config.never_received.contains(&format.codec))
        .filter(|format| format.codec != Codec::H264 || format.fmtp.h264_profile().is_some())
        .cloned()
        .collect();
    drop_orphaned_red(&mut formats);
    formats
}

/// Orders enabled formats as the answer to a sender wants them.
pub(super) fn order(formats: &mut Vec<PayloadFormat>, preferences: &ReceivePreferences) {
    if !preferences.red {
        formats.retain(|format| format.codec != Codec::Red);
    }
    if let Some(codec) = preferences.codec
        && preferences.only
        && formats.iter().any(|format| format.codec == codec)
    {
        let red = codec == Codec::Opus || codec == Codec::Red;
        formats.retain(|format| {
            format.codec == codec || red && matches!(format.codec, Codec::Red | Codec::Opus)
        });
    }
    let red_first = !matches!(preferences.codec, Some(Codec::Pcmu | Codec::Pcma));
    formats.sort_by_key(|format| {
        let preferred = preferences.codec == Some(format.codec);
        match format.codec {
            Codec::Red if red_first => 0,
            _ if preferred => 1,
            _ => 2,
        }
    });
    // Among H.264 formats the one that most viewers decode comes first; they trade places among
    // themselves only.
    let slots: Vec<usize> = (0..formats.len())
        .filter(|i| {
            formats
                .get(*i)
                .is_some_and(|format| format.codec == Codec::H264)
        })
        .collect();
    let mut h264: Vec<PayloadFormat> = formats
        .iter()
        .filter(|format| format.codec == Codec::H264)
        .cloned()
        .collect();
    h264.sort_by_key(|format| h264_fitness(None, &format.fmtp));
    for (slot, format) in slots.into_iter().zip(h264) {
        if let Some(place) = formats.get_mut(slot) {
            *place = format;
        }
    }
}

/// Feedback for what the peer sends us. REMB is for peers without transport-wide feedback.
pub(super) fn receive_feedback(kind: MediaKind, offered: Feedback, transport_cc: bool) -> Feedback {
    match kind {
        MediaKind::Audio => Feedback {
            nack: offered.nack,
            ..Feedback::default()
        },
        MediaKind::Video => {
            let transport_cc = transport_cc && offered.transport_cc;
            Feedback {
                transport_cc,
                remb: offered.remb && !transport_cc,
                ..offered
            }
        }
    }
}

/// Feedback for what we send. With RED the redundancy stands in for retransmission.
pub(super) fn send_feedback(
    config: &NegotiatorConfig,
    kind: MediaKind,
    offered: Feedback,
    red: bool,
    transport_cc: bool,
) -> Feedback {
    match kind {
        MediaKind::Audio => Feedback {
            nack: offered.nack && !red,
            ..Feedback::default()
        },
        MediaKind::Video => {
            let available = transport_cc && offered.transport_cc;
            let wanted = config.congestion == CongestionFeedback::TransportCc || !offered.remb;
            let transport_cc = available && wanted;
            Feedback {
                transport_cc,
                remb: offered.remb && !transport_cc,
                ..offered
            }
        }
    }
}

/// Extensions of what the peer sends us.
pub(super) fn receive_extensions(kind: MediaKind) -> &'static [Extension] {
    match kind {
        MediaKind::Audio => &[
            Extension::Mid,
            Extension::Rid,
            Extension::AudioLevel,
            Extension::AbsCaptureTime,
        ],
        MediaKind::Video => &[
            Extension::Mid,
            Extension::Rid,
            Extension::RepairedRid,
            Extension::TransportCc,
            Extension::AbsSendTime,
            Extension::FrameMarking,
            Extension::DependencyDescriptor,
            Extension::AbsCaptureTime,
        ],
    }
}

/// Extensions of what we send.
pub(super) fn send_extensions(config: &NegotiatorConfig, kind: MediaKind) -> Vec<Extension> {
    if config.publishing {
        return receive_extensions(kind).to_vec();
    }
    let mut extensions = vec![Extension::Mid, Extension::AbsCaptureTime];
    if kind == MediaKind::Video {
        extensions.push(Extension::DependencyDescriptor);
        extensions.push(match config.congestion {
            CongestionFeedback::Remb => Extension::AbsSendTime,
            CongestionFeedback::TransportCc => Extension::TransportCc,
        });
        if config.playout_delay {
            extensions.push(Extension::PlayoutDelay);
        }
    }
    extensions
}

/// The ids of what the peer sends us, of those negotiated in both directions. The peer writes an
/// extension only where the direction of its map lets it.
pub(super) fn receive_ids(kind: MediaKind, negotiated: &[ExtensionMap]) -> Vec<(u8, Extension)> {
    let wanted = receive_extensions(kind);
    let maps = negotiated.iter().filter(|map| map.direction.receives());
    maps.filter(|map| wanted.contains(&map.extension))
        .map(|map| (map.id, map.extension))
        .collect()
}

/// The ids to write into what we send: transport-wide sequence numbers go out only where feedback for
/// them comes back.
pub(super) fn send_ids(
    config: &NegotiatorConfig,
    kind: MediaKind,
    negotiated: &[ExtensionMap],
    payloads: &[PayloadFormat],
) -> Vec<(u8, Extension)> {
    let transport_cc = payloads.iter().any(|format| format.feedback.transport_cc);
    let mut wanted = send_extensions(config, kind);
    wanted.retain(|extension| *extension != Extension::TransportCc);
    if transport_cc {
        wanted.push(Extension::TransportCc);
    }
    let maps = negotiated.iter().filter(|map| map.direction.sends());
    maps.filter(|map| wanted.contains(&map.extension))
        .map(|map| (map.id, map.extension))
        .collect()
}

/// Our own payload types: codec, payload type, format parameters. Retransmission is one above.
const OWN: [(Codec, u8, &str); 17] = [
    (Codec::Red, 63, "111/111"),
    (Codec::Opus, 111, "minptime=10;useinbandfec=1"),
    (Codec::Pcmu, 0, ""),
    (Codec::Pcma, 8, ""),
    (Codec::Vp8, 96, ""),
    (Codec::Vp9, 98, "profile-id=0"),
    (Codec::Vp9, 100, "profile-id=1"),
    (
        Codec::H264,
        108,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
    (
        Codec::H264,
        102,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
    ),
    (
        Codec::H264,
        125,
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f",
    ),
    (
        Codec::H264,
        104,
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f",
    ),
    (
        Codec::H264,
        39,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
    ),
    (
        Codec::H264,
        106,
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=4d001f",
    ),
    (
        Codec::H264,
        123,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640032",
    ),
    (
        Codec::H265,
        116,
        "level-id=180;profile-id=1;tier-flag=0;tx-mode=SRST",
    ),
    (Codec::Av1, 35, "level-idx=5;profile=0;tier=0"),
    (Codec::Av1, 37, "level-idx=5;profile=1;tier=0"),
];

/// All formats of our own offers for a kind, in the configuration's order of codecs.
pub(super) fn own(config: &NegotiatorConfig, kind: MediaKind) -> Vec<PayloadFormat> {
    let mut formats = Vec::new();
    for codec in config.codecs.iter().filter(|codec| codec.kind() == kind) {
        for (_, payload_type, fmtp) in OWN.iter().filter(|(own, _, _)| own == codec) {
            let feedback = match kind {
                MediaKind::Audio if *codec == Codec::Opus => Feedback {
                    nack: true,
                    ..Feedback::default()
                },
                MediaKind::Audio => Feedback::default(),
                MediaKind::Video => Feedback {
                    nack: true,
                    pli: true,
                    fir: true,
                    transport_cc: true,
                    remb: true,
                },
            };
            formats.push(PayloadFormat {
                payload_type: *payload_type,
                codec: *codec,
                clock_rate: codec.clock_rate(),
                channels: if matches!(codec, Codec::Opus | Codec::Red) {
                    2
                } else {
                    1
                },
                fmtp: Fmtp::new(fmtp),
                feedback,
                rtx: (kind == MediaKind::Video).then_some(payload_type + 1),
            });
        }
    }
    formats
}

/// The formats that our own offer has for a track: of each codec those that decode it with the least
/// demand on the peer. High is offered only to carry High.
pub(super) fn own_for(
    config: &NegotiatorConfig,
    kind: MediaKind,
    wishes: &[CodecWish],
) -> Vec<PayloadFormat> {
    let all = own(config, kind);
    let mut selected = Vec::new();
    for wish in wishes {
        let mut fitting = select(std::slice::from_ref(wish), &all);
        if wish.codec == Codec::Red {
            fitting = all
                .iter()
                .filter(|format| format.codec == Codec::Red)
                .cloned()
                .collect();
        }
        if wish.codec == Codec::H264 {
            let rank = |format: &PayloadFormat| format.fmtp.h264_profile().map(h264_rank);
            let least = fitting.iter().filter_map(rank).min();
            fitting.retain(|format| rank(format) == least);
        }
        selected.append(&mut fitting);
    }
    drop_orphaned_red(&mut selected);
    selected
}
