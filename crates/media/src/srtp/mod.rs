//! SRTP and SRTCP (RFC 3711, 6188, 7714): protection in place in the caller's buffers.
//!
//! Nonces come from packet indices alone. A sender never seals two packets under one index, and a
//! receiver accepts each index once.

mod cipher;
mod kdf;
mod receiver;
mod replay;
mod sender;

pub use receiver::SrtpReceiver;
pub use sender::SrtpSender;

/// How packets are encrypted and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    AeadAes256Gcm,
    AeadAes128Gcm,
    Aes128CmSha1_80,
}

impl SrtpProfile {
    /// Bytes of a master key.
    pub fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            Self::AeadAes128Gcm | Self::Aes128CmSha1_80 => 16,
        }
    }

    /// Bytes of a master salt.
    pub fn salt_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }

    /// Bytes that the DTLS exporter must give (RFC 5764 section 4.2).
    pub fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// Bytes that protection adds to an RTP packet.
    pub fn rtp_overhead(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => cipher::GCM_TAG_LEN,
            Self::Aes128CmSha1_80 => cipher::SHA1_TAG_LEN,
        }
    }

    /// Bytes that protection adds to an RTCP compound.
    pub fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + INDEX_LEN
    }
}

/// The master key and salt of one direction.
#[derive(Clone, Copy)]
pub struct MasterKey<'a> {
    pub key: &'a [u8],
    pub salt: &'a [u8],
}

/// Splits what the DTLS exporter gave into the DTLS client's and the server's write keys (RFC 5764
/// section 4.2), or `None` when it is too short.
pub fn split_keying_material(
    profile: SrtpProfile,
    material: &[u8],
) -> Option<(MasterKey<'_>, MasterKey<'_>)> {
    let (client_key, rest) = material.split_at_checked(profile.key_len())?;
    let (server_key, rest) = rest.split_at_checked(profile.key_len())?;
    let (client_salt, rest) = rest.split_at_checked(profile.salt_len())?;
    let server_salt = rest.get(..profile.salt_len())?;
    let client = MasterKey {
        key: client_key,
        salt: client_salt,
    };
    Some((
        client,
        MasterKey {
            key: server_key,
            salt: server_salt,
        },
    ))
}

/// Sender and receiver of one end from exported keying material.
pub fn from_keying_material(
    profile: SrtpProfile,
    material: &[u8],
    dtls_client: bool,
) -> Result<(SrtpSender, SrtpReceiver), SrtpError> {
    let (client, server) = split_keying_material(profile, material).ok_or(SrtpError::BadKey)?;
    let (local, remote) = if dtls_client {
        (client, server)
    } else {
        (server, client)
    };
    Ok((
        SrtpSender::new(profile, local)?,
        SrtpReceiver::new(profile, remote)?,
    ))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    #[error("key or salt of the wrong length")]
    BadKey,
    /// Not a packet that can be opened, or a buffer that cannot be sealed.
    #[error("malformed packet")]
    Malformed,
    #[error("authentication failed")]
    Unauthenticated,
    /// Seen before, or too old to tell.
    #[error("replayed packet")]
    Replayed,
    /// The sender was asked to seal an index again (or one too old to tell).
    #[error("packet index used before")]
    IndexReused,
    /// The key has protected as many packets as it may.
    #[error("key exhausted")]
    KeyExhausted,
}

/// Bytes of the SRTCP index with its encryption flag.
const INDEX_LEN: usize = 4;
const ENCRYPTED_FLAG: u32 = 1 << 31;
const RTCP_HEADER_LEN: usize = 8;
const MAX_RTCP_INDEX: u32 = (1 << 31) - 1;
/// Streams whose state is kept. The one idle for longest makes room for a new one.
const MAX_STREAMS: usize = 1_024;

/// Reads the SSRC of an RTCP compound's first packet.
fn rtcp_ssrc(packet: &[u8]) -> Option<u32> {
    packet
        .get(4..)?
        .first_chunk()
        .map(|ssrc| u32::from_be_bytes(*ssrc))
}

#[cfg(test)]
mod tests;
