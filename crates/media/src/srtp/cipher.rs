//! The transforms: AES-GCM (RFC 7714) and AES-CM with HMAC-SHA1 (RFC 3711), keys kept ready.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

use super::kdf::Derivation;
use super::{ENCRYPTED_FLAG, INDEX_LEN, MasterKey, RTCP_HEADER_LEN, SrtpError, SrtpProfile, kdf};

pub(super) const GCM_TAG_LEN: usize = 16;
pub(super) const SHA1_TAG_LEN: usize = 10;

/// Session keys of one direction, for RTP and RTCP.
#[expect(
    clippy::large_enum_variant,
    reason = "one a direction, and no indirection on a packet's way"
)]
pub(super) enum Cipher {
    Gcm { rtp: GcmKeys, rtcp: GcmKeys },
    CmSha1 { rtp: CmKeys, rtcp: CmKeys },
}

pub(super) struct GcmKeys {
    pub(super) key: LessSafeKey,
    pub(super) salt: [u8; 12],
}

pub(super) struct CmKeys {
    pub(super) key: EncryptingKey,
    /// Keeps the inner and outer hash states, so no packet hashes the key again.
    pub(super) authentication: hmac::Key,
    pub(super) salt: [u8; 14],
}

impl Cipher {
    pub(super) fn new(profile: SrtpProfile, master: MasterKey<'_>) -> Result<Self, SrtpError> {
        let derivation = Derivation::new(profile, master)?;
        match profile {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => {
                let keys = |encryption, salt| -> Result<GcmKeys, SrtpError> {
                    let mut bytes = [0; 32];
                    let bytes = bytes
                        .get_mut(..profile.key_len())
                        .ok_or(SrtpError::BadKey)?;
                    derivation.derive_into(encryption, bytes)?;
                    GcmKeys::new(bytes, derivation.derive(salt)?)
                };
                Ok(Self::Gcm {
                    rtp: keys(kdf::RTP_ENCRYPTION, kdf::RTP_SALT)?,
                    rtcp: keys(kdf::RTCP_ENCRYPTION, kdf::RTCP_SALT)?,
                })
            }
            SrtpProfile::Aes128CmSha1_80 => {
                let keys = |encryption, authentication, salt| -> Result<CmKeys, SrtpError> {
                    CmKeys::new(
                        derivation.derive(encryption)?,
                        derivation.derive(authentication)?,
                        derivation.derive(salt)?,
                    )
                };
                Ok(Self::CmSha1 {
                    rtp: keys(kdf::RTP_ENCRYPTION, kdf::RTP_AUTHENTICATION, kdf::RTP_SALT)?,
                    rtcp: keys(
                        kdf::RTCP_ENCRYPTION,
                        kdf::RTCP_AUTHENTICATION,
                        kdf::RTCP_SALT,
                    )?,
                })
            }
        }
    }

    /// Encrypts what follows the header of the packet at `start` and appends the tag.
    #[inline]
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        let packet = buffer.get_mut(start..).ok_or(SrtpError::Malformed)?;
        let (header, payload) = packet
            .split_at_mut_checked(header_len)
            .ok_or(SrtpError::Malformed)?;
        match self {
            Self::Gcm { rtp, .. } => {
                let tag = rtp.seal(rtp.nonce(ssrc, index), header, payload)?;
                buffer.extend_from_slice(tag.as_ref());
            }
            Self::CmSha1 { rtp, .. } => {
                rtp.crypt(ssrc, index, payload)?;
                let tag = rtp.rtp_tag(packet, index);
                buffer.extend_from_slice(sha1_tag(&tag));
            }
        }
        Ok(())
    }

    /// Authenticates and decrypts a packet, and returns its length without the tag.
    #[inline]
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        match self {
            Self::Gcm { rtp, .. } => {
                let (header, sealed) = packet
                    .split_at_mut_checked(header_len)
                    .ok_or(SrtpError::Malformed)?;
                Ok(header_len + rtp.open(rtp.nonce(ssrc, index), header, sealed)?)
            }
            Self::CmSha1 { rtp, .. } => {
                let len = packet
                    .len()
                    .checked_sub(SHA1_TAG_LEN)
                    .ok_or(SrtpError::Malformed)?;
                let (packet, tag) = packet
                    .split_at_mut_checked(len)
                    .ok_or(SrtpError::Malformed)?;
                verify(&rtp.rtp_tag(packet, index), tag)?;
                rtp.crypt(
                    ssrc,
                    index,
                    packet.get_mut(header_len..).ok_or(SrtpError::Malformed)?,
                )?;
                Ok(len)
            }
        }
    }

    /// Encrypts the compound at `start` and appends tag and index.
    pub(super) fn seal_rtcp(
        &self,
        buffer: &mut Vec<u8>,
        start: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<(), SrtpError> {
        let trailer = (index | ENCRYPTED_FLAG).to_be_bytes();
        let packet = buffer.get_mut(start..).ok_or(SrtpError::Malformed)?;
        let (header, payload) = packet
            .split_at_mut_checked(RTCP_HEADER_LEN)
            .ok_or(SrtpError::Malformed)?;
        match self {
            Self::Gcm { rtcp, .. } => {
                let aad = rtcp_aad(header, trailer)?;
                let tag = rtcp.seal(rtcp.nonce(ssrc, u64::from(index)), &aad, payload)?;
                buffer.extend_from_slice(tag.as_ref());
                buffer.extend_from_slice(&trailer);
            }
            Self::CmSha1 { rtcp, .. } => {
                rtcp.crypt(ssrc, u64::from(index), payload)?;
                buffer.extend_from_slice(&trailer);
                let sealed = buffer.get(start..).ok_or(SrtpError::Malformed)?;
                let tag = hmac::sign(&rtcp.authentication, sealed);
                buffer.extend_from_slice(sha1_tag(&tag));
            }
        }
        Ok(())
    }

    /// The index word of a sealed compound.
    pub(super) fn rtcp_trailer(&self, packet: &[u8]) -> Option<u32> {
        let from_end = match self {
            Self::Gcm { .. } => INDEX_LEN,
            Self::CmSha1 { .. } => INDEX_LEN + SHA1_TAG_LEN,
        };
        let at = packet.len().checked_sub(from_end)?;
        packet
            .get(at..)?
            .first_chunk()
            .map(|word| u32::from_be_bytes(*word))
    }

    /// Authenticates and decrypts a compound, and returns its length without tag and index.
    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        trailer: u32,
    ) -> Result<usize, SrtpError> {
        let index = trailer & !ENCRYPTED_FLAG;
        // WebRTC forbids unencrypted SRTCP (RFC 8827 section 6.5).
        if trailer & ENCRYPTED_FLAG == 0 {
            return Err(SrtpError::Malformed);
        }
        match self {
            Self::Gcm { rtcp, .. } => {
                let len = packet
                    .len()
                    .checked_sub(INDEX_LEN)
                    .ok_or(SrtpError::Malformed)?;
                let sealed = packet.get_mut(..len).ok_or(SrtpError::Malformed)?;
                let (header, sealed) = sealed
                    .split_at_mut_checked(RTCP_HEADER_LEN)
                    .ok_or(SrtpError::Malformed)?;
                let aad = rtcp_aad(header, trailer.to_be_bytes())?;
                Ok(
                    RTCP_HEADER_LEN
                        + rtcp.open(rtcp.nonce(ssrc, u64::from(index)), &aad, sealed)?,
                )
            }
            Self::CmSha1 { rtcp, .. } => {
                let signed = packet
                    .len()
                    .checked_sub(SHA1_TAG_LEN)
                    .ok_or(SrtpError::Malformed)?;
                let (packet, tag) = packet
                    .split_at_mut_checked(signed)
                    .ok_or(SrtpError::Malformed)?;
                verify(&hmac::sign(&rtcp.authentication, packet), tag)?;
                let len = signed.checked_sub(INDEX_LEN).ok_or(SrtpError::Malformed)?;
                let payload = packet
                    .get_mut(RTCP_HEADER_LEN..len)
                    .ok_or(SrtpError::Malformed)?;
                rtcp.crypt(ssrc, u64::from(index), payload)?;
                Ok(len)
            }
        }
    }
}

/// Header and index word: what SRTCP authenticates besides the ciphertext (RFC 7714 section 9.3).
fn rtcp_aad(
    header: &[u8],
    trailer: [u8; INDEX_LEN],
) -> Result<[u8; RTCP_HEADER_LEN + INDEX_LEN], SrtpError> {
    let header: &[u8; RTCP_HEADER_LEN] = header.first_chunk().ok_or(SrtpError::Malformed)?;
    let mut aad = [0; RTCP_HEADER_LEN + INDEX_LEN];
    aad[..RTCP_HEADER_LEN].copy_from_slice(header);
    aad[RTCP_HEADER_LEN..].copy_from_slice(&trailer);
    Ok(aad)
}

fn sha1_tag(tag: &hmac::Tag) -> &[u8] {
    tag.as_ref().get(..SHA1_TAG_LEN).unwrap_or_default()
}

fn verify(expected: &hmac::Tag, tag: &[u8]) -> Result<(), SrtpError> {
    verify_slices_are_equal(sha1_tag(expected), tag).map_err(|_| SrtpError::Unauthenticated)
}

impl GcmKeys {
    pub(super) fn new(key: &[u8], salt: [u8; 12]) -> Result<Self, SrtpError> {
        let algorithm = if key.len() == 32 {
            &AES_256_GCM
        } else {
            &AES_128_GCM
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::BadKey)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            salt,
        })
    }

    /// SSRC and 48-bit index (RFC 7714 sections 8.1 and 9.1) under the salt.
    #[inline]
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[4 + 2..].copy_from_slice(&index.to_be_bytes()[2..]);
        for (byte, salt) in nonce.iter_mut().zip(self.salt) {
            *byte ^= salt;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    #[inline]
    fn seal(
        &self,
        nonce: Nonce,
        aad: &[u8],
        payload: &mut [u8],
    ) -> Result<impl AsRef<[u8]> + use<>, SrtpError> {
        self.key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), payload)
            .map_err(|_| SrtpError::Malformed)
    }

    #[inline]
    fn open(&self, nonce: Nonce, aad: &[u8], sealed: &mut [u8]) -> Result<usize, SrtpError> {
        let opened = self.key.open_in_place(nonce, Aad::from(aad), sealed);
        opened
            .map(|payload| payload.len())
            .map_err(|_| SrtpError::Unauthenticated)
    }
}

impl CmKeys {
    pub(super) fn new(
        key: [u8; 16],
        authentication: [u8; 20],
        salt: [u8; 14],
    ) -> Result<Self, SrtpError> {
        let key = UnboundCipherKey::new(&AES_128, &key)
            .and_then(EncryptingKey::ctr)
            .map_err(|_| SrtpError::BadKey)?;
        let authentication = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &authentication);
        Ok(Self {
            key,
            authentication,
            salt,
        })
    }

    /// Encrypts or decrypts: salt, SSRC and index make the counter block (RFC 3711 section 4.1.1).
    #[inline]
    pub(super) fn crypt(&self, ssrc: u32, index: u64, payload: &mut [u8]) -> Result<(), SrtpError> {
        let mut block = [0; 16];
        block[..14].copy_from_slice(&self.salt);
        for (byte, ssrc) in block[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
            *byte ^= ssrc;
        }
        for (byte, index) in block[8..14].iter_mut().zip(&index.to_be_bytes()[2..]) {
            *byte ^= index;
        }
        let context = EncryptionContext::Iv128(FixedLength::from(block));
        self.key
            .less_safe_encrypt(payload, context)
            .map(drop)
            .map_err(|_| SrtpError::Malformed)
    }

    /// Over the packet and the roll-over counter (RFC 3711 section 4.2).
    #[inline]
    fn rtp_tag(&self, packet: &[u8], index: u64) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.authentication);
        context.update(packet);
        context.update(&((index >> 16) as u32).to_be_bytes());
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    const SALT: &str = "517569642070726f2071756f";

    fn gcm(key_len: u8) -> GcmKeys {
        let key: Vec<u8> = (0..key_len).collect();
        GcmKeys::new(&key, hex(SALT).try_into().unwrap()).unwrap()
    }

    /// Seals the example packet of RFC 7714 section 16.
    fn check_rtp(key_len: u8, sealed: &str) {
        let cipher = Cipher::Gcm {
            rtp: gcm(key_len),
            rtcp: gcm(key_len),
        };
        let plain = [
            &hex("8040f17b8041f8d35501a0b2")[..],
            b"Gallia est omnis divisa in partes tres",
        ]
        .concat();
        let mut packet = plain.clone();
        cipher
            .seal_rtp(&mut packet, 0, 12, 0x5501_A0B2, 0xF17B)
            .unwrap();
        assert_eq!(packet, hex(sealed));
        assert_eq!(
            cipher.open_rtp(&mut packet, 12, 0x5501_A0B2, 0xF17B),
            Ok(plain.len())
        );
        assert_eq!(packet[..plain.len()], plain);
    }

    #[test]
    fn gcm_rtp_packets_are_those_of_rfc_7714() {
        check_rtp(
            16,
            "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf\
             8833899d7f27beb16a9152cf765ee4390cce",
        );
        check_rtp(
            32,
            "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799\
             b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
        );
    }

    /// RFC 7714 section 17.1.
    #[test]
    fn gcm_rtcp_compounds_are_those_of_rfc_7714() {
        let cipher = Cipher::Gcm {
            rtp: gcm(16),
            rtcp: gcm(16),
        };
        let plain = hex(
            "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
        );
        let mut packet = plain.clone();
        cipher
            .seal_rtcp(&mut packet, 0, 0x4D61_7273, 0x5D4)
            .unwrap();
        let sealed = hex(
            "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded\
             0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
        );
        assert_eq!(packet, sealed);
        let trailer = cipher.rtcp_trailer(&packet).unwrap();
        assert_eq!(
            cipher.open_rtcp(&mut packet, 0x4D61_7273, trailer),
            Ok(plain.len())
        );
        assert_eq!(packet[..plain.len()], plain);
    }

    /// RFC 3711 appendix B.2.
    #[test]
    fn counter_mode_key_stream_is_that_of_rfc_3711() {
        let key = hex("2b7e151628aed2a6abf7158809cf4f3c").try_into().unwrap();
        let salt = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd").try_into().unwrap();
        let keys = CmKeys::new(key, [0; 20], salt).unwrap();
        let mut stream = [0; 48];
        keys.crypt(0, 0, &mut stream).unwrap();
        let expected = hex(
            "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0",
        );
        assert_eq!(stream[..], expected);
    }
}
