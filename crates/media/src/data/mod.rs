//! Data between participants: `livekit.DataPacket`s over SCTP channels and data tracks.
//!
//! Packets are checked and stamped on the wire ([`packet`]), so that kinds and fields newer than this
//! server pass unharmed; [`router`] decides who gets one, and shares one buffer among all of them.

pub mod packet;
pub mod router;
pub mod track_packet;
pub mod wire;

use crate::transport::ChannelSpec;

/// Largest message read from a channel, in bytes (what `a=max-message-size` says).
pub const MAX_MESSAGE_SIZE: usize = 65_535;

/// What a data channel is for, told by its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// `_reliable`: ordered.
    Reliable,
    /// `_lossy`: unordered, never sent again.
    Lossy,
    /// `_data_track`: unordered, never sent again.
    DataTrack,
    /// Any other label: raw payloads, broadcast as reliable user packets.
    Unlabelled,
}

impl Channel {
    pub fn from_label(label: &str) -> Self {
        match label {
            "_reliable" => Self::Reliable,
            "_lossy" => Self::Lossy,
            "_data_track" => Self::DataTrack,
            _ => Self::Unlabelled,
        }
    }

    /// How it is opened, by either side.
    pub(crate) fn spec(self) -> ChannelSpec {
        match self {
            Self::Reliable | Self::Unlabelled => ChannelSpec::reliable(self.label()),
            Self::Lossy | Self::DataTrack => ChannelSpec::lossy(self.label()),
        }
    }

    /// The label of a channel the server opens.
    pub fn label(self) -> &'static str {
        match self {
            Self::Reliable => "_reliable",
            Self::Lossy => "_lossy",
            Self::DataTrack => "_data_track",
            Self::Unlabelled => "",
        }
    }
}
