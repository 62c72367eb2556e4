//! Published tracks: everything between a publisher's decrypted RTP and the packets its subscribers share.

pub mod activity;
pub mod clock;
pub mod dynacast;
pub mod keyframe;
pub mod nack;
pub mod negotiated;
pub mod packet;
pub mod quality;
pub mod receiver;
mod recovery;
pub mod section;
pub mod speakers;
pub mod statistics;
mod stream;
#[cfg(test)]
pub(crate) mod testing;

pub use clock::WallClock;
pub use dynacast::Dynacast;
pub use packet::MediaPacket;
pub use receiver::{Discard, Ingress, Receiver, ReceiverEvent};
pub use section::{ReceivePayload, ReceiveSection, ReceiveSsrc};
pub use speakers::{LevelMeter, Loudness};
