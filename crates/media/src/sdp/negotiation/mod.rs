//! Offer and answer (RFC 8829) for one bundled peer connection.

mod report;

pub use report::{
    Answered, CodecWish, CongestionFeedback, DataSection, LineReuse, LocalDescription, Negotiated,
    NegotiatorConfig, Offered, OfferedSection, ReceiveChange, ReceivePreferences, ReceiveSection,
    Rejected, SendChange, SendSection, SendSpec, Unplaced,
};

use super::{LocalTransport, SdpError};
use crate::api::{MediaKind, TrackId};

/// The negotiation state of one peer connection.
pub struct Negotiator {
    _config: NegotiatorConfig,
}

#[allow(unused_variables)]
impl Negotiator {
    pub fn new(config: NegotiatorConfig, local: LocalTransport) -> Self {
        Self { _config: config }
    }

    /// Replaces the local transport: more candidates, or an ICE restart (which asks for an offer when
    /// this side has offered before).
    pub fn set_local(&mut self, local: LocalTransport) {
        todo!()
    }

    /// A data section in our own offers.
    pub fn add_data(&mut self) {
        todo!()
    }

    /// Sections in our own offers that only receive.
    pub fn add_receive(&mut self, kind: MediaKind, count: usize) {
        todo!()
    }

    /// A track to send: goes on a line of our next offer, or a free section of the peer's in our next
    /// answer.
    pub fn add_send(&mut self, spec: SendSpec) {
        todo!()
    }

    /// Ends a sending track. `false` when it is not known.
    pub fn remove_send(&mut self, key: TrackId) -> bool {
        todo!()
    }

    /// Sends without a section. Counted after an answer, they are what the peer must add.
    pub fn unplaced(&self) -> Unplaced {
        todo!()
    }

    /// Whether something waits for a negotiation that this side (or, in single mode, the peer at our
    /// request) has to start. False while an own offer is outstanding.
    pub fn needs_offer(&self) -> bool {
        todo!()
    }

    /// The sections of the last complete negotiation that we send in.
    pub fn mids(&self) -> Vec<(String, TrackId)> {
        todo!()
    }

    /// Takes the peer's offer. On an error the state is as before.
    pub fn apply_offer(&mut self, sdp: &str) -> Result<Offered, SdpError> {
        todo!()
    }

    /// How to answer a section; between [`Self::apply_offer`] and [`Self::create_answer`]. Kept for
    /// later offers while the section goes on.
    pub fn set_receive_preferences(
        &mut self,
        mid: &str,
        preferences: ReceivePreferences,
    ) -> Result<(), SdpError> {
        todo!()
    }

    /// Answers the offer taken last.
    pub fn create_answer(&mut self) -> Result<Answered, SdpError> {
        todo!()
    }

    /// Makes an offer of all that is wanted now. It is outstanding until answered or rolled back.
    pub fn create_offer(&mut self) -> Result<LocalDescription, SdpError> {
        todo!()
    }

    /// Takes the peer's answer to the outstanding offer. On an error the offer stays outstanding and
    /// the rest as before.
    pub fn apply_answer(&mut self, sdp: &str) -> Result<Negotiated, SdpError> {
        todo!()
    }

    /// Drops an outstanding offer, own or remote; its wishes stay for the next one.
    pub fn rollback(&mut self) {
        todo!()
    }
}
