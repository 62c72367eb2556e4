//! Opening of what a peer sends.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::cipher::Cipher;
use super::replay::{RtcpWindow, RtpWindow};
use super::{ENCRYPTED_FLAG, MAX_STREAMS, MasterKey, SrtpError, SrtpProfile, rtcp_ssrc};
use crate::rtp::RtpHeader;

/// Opens packets of one peer. Only packets that authenticate make or change state, and the state is
/// bounded: when 1,024 streams are known, the one idle for longest makes room.
pub struct SrtpReceiver {
    cipher: Cipher,
    rtp: FxHashMap<u32, Stream<RtpWindow>>,
    rtcp: FxHashMap<u32, Stream<RtcpWindow>>,
    /// Counts opened packets: the clock of [`Stream::last_used`].
    opened: u64,
}

struct Stream<W> {
    window: W,
    last_used: u64,
}

impl SrtpReceiver {
    pub fn new(profile: SrtpProfile, master: MasterKey<'_>) -> Result<Self, SrtpError> {
        Ok(Self {
            cipher: Cipher::new(profile, master)?,
            rtp: FxHashMap::default(),
            rtcp: FxHashMap::default(),
            opened: 0,
        })
    }

    /// RTP streams whose state is kept.
    pub fn rtp_streams(&self) -> usize {
        self.rtp.len()
    }

    /// RTCP sources whose state is kept.
    pub fn rtcp_sources(&self) -> usize {
        self.rtcp.len()
    }

    /// Authenticates and decrypts an RTP packet in place and returns its length without the tag. After an
    /// error the buffer's content is undefined.
    #[inline]
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let header = RtpHeader::parse_clear_part(packet).map_err(|_| SrtpError::Malformed)?;
        self.unprotect_parsed(&header, packet)
    }

    /// As [`Self::unprotect_rtp`], for a packet whose clear part was parsed already.
    #[inline]
    pub fn unprotect_parsed(
        &mut self,
        header: &RtpHeader,
        packet: &mut [u8],
    ) -> Result<usize, SrtpError> {
        let header_len = usize::from(header.header_len);
        let Some(stream) = self.rtp.get_mut(&header.ssrc) else {
            // The counter of a stream that was never seen is taken to be zero.
            let index = u64::from(header.sequence);
            let len = self
                .cipher
                .open_rtp(packet, header_len, header.ssrc, index)?;
            self.opened += 1;
            insert(
                &mut self.rtp,
                header.ssrc,
                RtpWindow::new(index),
                self.opened,
            );
            return Ok(len);
        };
        let index = stream.window.index(header.sequence);
        if index >> 48 != 0 || !stream.window.is_fresh(index) {
            return Err(SrtpError::Replayed);
        }
        let len = self
            .cipher
            .open_rtp(packet, header_len, header.ssrc, index)?;
        self.opened += 1;
        stream.window.insert(index);
        stream.last_used = self.opened;
        Ok(len)
    }

    /// Authenticates and decrypts an RTCP compound in place and returns its length without tag and index.
    /// After an error the buffer's content is undefined.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = rtcp_ssrc(packet).ok_or(SrtpError::Malformed)?;
        let trailer = self
            .cipher
            .rtcp_trailer(packet)
            .ok_or(SrtpError::Malformed)?;
        let index = trailer & !ENCRYPTED_FLAG;
        let known = self.rtcp.get_mut(&ssrc);
        if known
            .as_ref()
            .is_some_and(|stream| !stream.window.is_fresh(index))
        {
            return Err(SrtpError::Replayed);
        }
        let len = self.cipher.open_rtcp(packet, ssrc, trailer)?;
        self.opened += 1;
        match known {
            Some(stream) => {
                stream.window.insert(index);
                stream.last_used = self.opened;
            }
            None => insert(&mut self.rtcp, ssrc, RtcpWindow::new(index), self.opened),
        }
        Ok(len)
    }
}

fn insert<K: Eq + Hash + Copy, W>(
    streams: &mut FxHashMap<K, Stream<W>>,
    key: K,
    window: W,
    now: u64,
) {
    if streams.len() >= MAX_STREAMS
        && let Some(idle) = streams
            .iter()
            .min_by_key(|(_, stream)| stream.last_used)
            .map(|(key, _)| *key)
    {
        streams.remove(&idle);
    }
    streams.insert(
        key,
        Stream {
            window,
            last_used: now,
        },
    );
}
