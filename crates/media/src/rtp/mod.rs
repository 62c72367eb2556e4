//! RTP and RTCP on the wire (RFC 3550, 8285): zero-copy parsing and building, no state.
//!
//! Nothing here allocates while parsing, and no input can make it panic.

pub mod extension;
pub mod header;
pub mod rtcp;
pub mod sequence;

pub use extension::ExtensionKind;
pub use header::{HeaderFields, RtpError, RtpHeader};
pub use sequence::{SequenceExtender, TimestampExtender};
