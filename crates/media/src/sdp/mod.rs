//! Session descriptions (RFC 8866) and their negotiation (RFC 8829).
//!
//! [`Description`] is a typed WebRTC layer over the lossless syntax of `sdp-types`; [`Negotiator`] is
//! the offer/answer state of one peer connection. It is role-symmetrical and knows nothing of ICE,
//! DTLS or packets: it takes the local transport parameters and yields the remote ones.

mod codec;
mod description;
mod error;
mod extension;
mod negotiation;
mod parse;
mod stream;
mod transport;
mod write;

pub use codec::{Codec, Feedback, Fmtp, H264Profile, PayloadFormat};
pub use description::{DataMedia, Description, Direction, MediaMedia, Section, SectionMedia};
pub use error::SdpError;
pub use extension::{Extension, ExtensionMap};
pub use negotiation::{
    Answered, CodecWish, CongestionFeedback, DataSection, LineReuse, LocalDescription, Negotiated,
    Negotiator, NegotiatorConfig, Offered, OfferedSection, ReceiveChange, ReceivePreferences,
    ReceiveSection, Rejected, SendChange, SendSection, SendSpec, Unplaced,
};
pub use stream::{Msid, Rid, Simulcast, SsrcGroup, SsrcInfo, StreamSsrc};
pub use transport::{
    DtlsRole, Fingerprint, IceCredentials, LocalTransport, RemoteTransport, Setup, TransportChange,
};
