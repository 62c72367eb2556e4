//! Media of a transport: SRTP, sealed and opened.

use std::time::Instant;

use super::dtls::Keys;
use super::{DropReason, FiveTuple, Received, SealError, Transport, TransportState};
use crate::srtp::{self, SrtpProfile, SrtpReceiver, SrtpSender};

/// SRTP contexts of both directions, boxed: a transport that only waits does not pay for them.
pub(super) struct Srtp {
    pub(super) profile: SrtpProfile,
    sender: SrtpSender,
    receiver: SrtpReceiver,
}

impl Srtp {
    pub(super) fn new(keys: &Keys, client: bool) -> Result<Self, String> {
        let (sender, receiver) = srtp::from_keying_material(keys.profile, &keys.material, client)
            .map_err(|error| format!("SRTP keys: {error}"))?;
        Ok(Self {
            profile: keys.profile,
            sender,
            receiver,
        })
    }
}

impl Transport {
    #[inline]
    pub(super) fn handle_srtp(
        &mut self,
        now: Instant,
        tuple: &FiveTuple,
        datagram: &mut [u8],
        control: bool,
    ) -> Received {
        let Some(index) = self.ice.find(tuple) else {
            return Received::Dropped(DropReason::NotValidated);
        };
        let Some(srtp) = &mut self.srtp else {
            return Received::Dropped(DropReason::NoKeys);
        };
        let opened = if control {
            srtp.receiver.unprotect_rtcp(datagram)
        } else {
            srtp.receiver.unprotect_rtp(datagram)
        };
        let Ok(length) = opened else {
            return Received::Dropped(DropReason::Srtp);
        };
        self.ice.media(now, index);
        if self.state == TransportState::Disconnected {
            self.advance(now);
        }
        if control {
            Received::Rtcp(0..length)
        } else {
            Received::Rtp(0..length)
        }
    }

    /// Encrypts the RTP packet that begins at `start` and ends the buffer, and appends its tag. What lies
    /// before it (earlier packets of a batch) is left alone. `header_len` includes extensions. On an error
    /// the packet is cut off.
    #[inline]
    pub fn seal_rtp_at(
        &mut self,
        buffer: &mut Vec<u8>,
        start: usize,
        header_len: usize,
    ) -> Result<(), SealError> {
        self.seal(buffer, start, |sender, buffer| {
            sender.protect_rtp_at(buffer, start, header_len)
        })
    }

    /// [`Self::seal_rtp_at`] for a packet that was sealed before with the same number and is the same to the
    /// last byte.
    pub fn seal_rtp_again_at(
        &mut self,
        buffer: &mut Vec<u8>,
        start: usize,
        header_len: usize,
    ) -> Result<(), SealError> {
        self.seal(buffer, start, |sender, buffer| {
            sender.protect_rtp_again_at(buffer, start, header_len)
        })
    }

    /// Cuts off what cannot be sealed for want of keys; the sender does so for other reasons.
    #[inline]
    fn seal(
        &mut self,
        buffer: &mut Vec<u8>,
        start: usize,
        protect: impl FnOnce(&mut SrtpSender, &mut Vec<u8>) -> Result<(), srtp::SrtpError>,
    ) -> Result<(), SealError> {
        if self.memory.is_some() {
            return Ok(());
        }
        let Some(srtp) = &mut self.srtp else {
            buffer.truncate(start);
            return Err(SealError::NoKeys);
        };
        protect(&mut srtp.sender, buffer).map_err(|_| SealError::Refused)
    }

    /// [`Self::seal_rtp_at`] for the packet that fills the buffer.
    #[inline]
    pub fn seal_rtp(&mut self, packet: &mut Vec<u8>, header_len: usize) -> Result<(), SealError> {
        self.seal_rtp_at(packet, 0, header_len)
    }

    /// Encrypts the RTCP compound that begins at `start` and ends the buffer, and appends index and tag.
    #[inline]
    pub fn seal_rtcp_at(&mut self, buffer: &mut Vec<u8>, start: usize) -> Result<(), SealError> {
        self.seal(buffer, start, |sender, buffer| {
            sender.protect_rtcp_at(buffer, start)
        })
    }

    /// [`Self::seal_rtcp_at`] for the compound that fills the buffer.
    #[inline]
    pub fn seal_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), SealError> {
        self.seal_rtcp_at(packet, 0)
    }
}
