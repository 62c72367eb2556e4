//! Sealing of what we send.

use rustc_hash::FxHashMap;

use super::cipher::Cipher;
use super::replay::RtpWindow;
use super::{MAX_RTCP_INDEX, MasterKey, SrtpError, SrtpProfile, rtcp_ssrc};

/// Seals packets of any number of streams under one master key.
pub struct SrtpSender {
    cipher: Cipher,
    streams: FxHashMap<u32, RtpWindow>,
    /// One counter for all sources: each source's indices rise, which is all that is asked.
    rtcp_index: u32,
}

impl SrtpSender {
    pub fn new(profile: SrtpProfile, master: MasterKey<'_>) -> Result<Self, SrtpError> {
        Ok(Self {
            cipher: Cipher::new(profile, master)?,
            streams: FxHashMap::default(),
            rtcp_index: 0,
        })
    }

    /// Seals the packet that fills the buffer. See [`Self::protect_rtp_at`].
    #[inline]
    pub fn protect_rtp(
        &mut self,
        buffer: &mut Vec<u8>,
        header_len: usize,
    ) -> Result<(), SrtpError> {
        self.protect_rtp_at(buffer, 0, header_len)
    }

    /// Seals the packet that begins at `start` and ends the buffer, in place, and appends the tag. What
    /// lies before it (earlier packets of a batch) is left alone. On an error the packet is cut off.
    ///
    /// A sequence number of a stream can be sealed once only: its nonce must not be used for anything else.
    /// To send a packet twice, use RTX or [`Self::protect_rtp_again_at`].
    #[inline]
    pub fn protect_rtp_at(
        &mut self,
        buffer: &mut Vec<u8>,
        start: usize,
        header_len: usize,
    ) -> Result<(), SrtpError> {
        let sealed = self.seal_rtp(buffer, start, header_len);
        if sealed.is_err() {
            buffer.truncate(start);
        }
        sealed
    }

    #[inline]
    fn seal_rtp(
        &mut self,
        buffer: &mut Vec<u8>,
        start: usize,
        header_len: usize,
    ) -> Result<(), SrtpError> {
        let (ssrc, sequence) = rtp_identity(buffer, start)?;
        let index = if let Some(window) = self.streams.get_mut(&ssrc) {
            let index = window.index(sequence);
            if index >> 48 != 0 {
                return Err(SrtpError::KeyExhausted);
            }
            if !window.is_fresh(index) {
                return Err(SrtpError::IndexReused);
            }
            window.insert(index);
            index
        } else {
            let index = u64::from(sequence);
            self.streams.insert(ssrc, RtpWindow::new(index));
            index
        };
        self.cipher.seal_rtp(buffer, start, header_len, ssrc, index)
    }

    /// Seals a packet once more under the number it was sealed with before, for resending it without RTX.
    /// It must be the same to the last byte, header included: then what leaves is, too, and the nonce tells
    /// nothing new. On an error the packet is cut off.
    ///
    /// # Errors
    /// [`SrtpError::IndexReused`] when the number was never sealed, or too long ago to tell.
    pub fn protect_rtp_again_at(
        &mut self,
        buffer: &mut Vec<u8>,
        start: usize,
        header_len: usize,
    ) -> Result<(), SrtpError> {
        let sealed = rtp_identity(buffer, start).and_then(|(ssrc, sequence)| {
            let index = self
                .streams
                .get(&ssrc)
                .and_then(|window| window.seen(sequence))
                .ok_or(SrtpError::IndexReused)?;
            self.cipher.seal_rtp(buffer, start, header_len, ssrc, index)
        });
        if sealed.is_err() {
            buffer.truncate(start);
        }
        sealed
    }

    /// Seals the compound that fills the buffer and appends tag and index.
    pub fn protect_rtcp(&mut self, buffer: &mut Vec<u8>) -> Result<(), SrtpError> {
        self.protect_rtcp_at(buffer, 0)
    }

    /// Seals the compound that begins at `start` and ends the buffer. On an error it is cut off.
    pub fn protect_rtcp_at(&mut self, buffer: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        let sealed = self.seal_rtcp(buffer, start);
        if sealed.is_err() {
            buffer.truncate(start);
        }
        sealed
    }

    fn seal_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        let ssrc = buffer
            .get(start..)
            .and_then(rtcp_ssrc)
            .ok_or(SrtpError::Malformed)?;
        if self.rtcp_index == MAX_RTCP_INDEX {
            return Err(SrtpError::KeyExhausted);
        }
        self.rtcp_index += 1;
        self.cipher.seal_rtcp(buffer, start, ssrc, self.rtcp_index)
    }
}

/// SSRC and sequence number of the packet at `start`.
#[inline]
fn rtp_identity(buffer: &[u8], start: usize) -> Result<(u32, u16), SrtpError> {
    let Some(&[_, _, s0, s1, _, _, _, _, i0, i1, i2, i3]) =
        buffer.get(start..).and_then(|p| p.first_chunk())
    else {
        return Err(SrtpError::Malformed);
    };
    Ok((
        u32::from_be_bytes([i0, i1, i2, i3]),
        u16::from_be_bytes([s0, s1]),
    ))
}
