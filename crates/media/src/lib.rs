//! The media plane of roomful: ICE, DTLS, SRTP, forwarding and data channels.
//!
//! The crate knows nothing of tokens, signalling or room rules: a control plane sends
//! [`api::Command`]s and receives [`api::Event`]s. Everything but [`io`] is sans-IO: time, randomness
//! and datagrams are arguments.
#![forbid(unsafe_code)]

pub mod api;
pub mod client;
pub mod codec;
pub mod congestion;
mod convert;
pub mod data;
pub mod encryption;
pub mod frame;
pub mod io;
mod outbox;
pub mod plain;
pub mod plane;
pub mod probe;
mod random;
pub mod rtp;
pub mod sdp;
pub mod srtp;
pub mod statistics;
pub mod subscription;
pub mod track;
pub mod transport;
pub mod turn;
