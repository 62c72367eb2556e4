//! Session keys from a master key (RFC 3711 section 4.3, RFC 6188, RFC 7714 section 11).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::{MasterKey, SrtpError, SrtpProfile};

pub(super) const RTP_ENCRYPTION: u8 = 0;
pub(super) const RTP_AUTHENTICATION: u8 = 1;
pub(super) const RTP_SALT: u8 = 2;
pub(super) const RTCP_ENCRYPTION: u8 = 3;
pub(super) const RTCP_AUTHENTICATION: u8 = 4;
pub(super) const RTCP_SALT: u8 = 5;

/// Derives keys with a derivation rate of zero.
pub(super) struct Derivation {
    key: EncryptingKey,
    /// The master salt as 112 bits, zeros at the end, then 16 bits of block counter.
    salt: [u8; 16],
}

impl Derivation {
    pub(super) fn new(profile: SrtpProfile, master: MasterKey<'_>) -> Result<Self, SrtpError> {
        if master.key.len() != profile.key_len() || master.salt.len() != profile.salt_len() {
            return Err(SrtpError::BadKey);
        }
        Self::keyed(master)
    }

    fn keyed(master: MasterKey<'_>) -> Result<Self, SrtpError> {
        let algorithm = if master.key.len() == 32 {
            &AES_256
        } else {
            &AES_128
        };
        let key = UnboundCipherKey::new(algorithm, master.key)
            .and_then(EncryptingKey::ctr)
            .map_err(|_| SrtpError::BadKey)?;
        let mut salt = [0; 16];
        for (to, from) in salt.iter_mut().zip(master.salt) {
            *to = *from;
        }
        Ok(Self { key, salt })
    }

    pub(super) fn derive<const N: usize>(&self, label: u8) -> Result<[u8; N], SrtpError> {
        let mut out = [0; N];
        self.derive_into(label, &mut out)?;
        Ok(out)
    }

    pub(super) fn derive_into(&self, label: u8, out: &mut [u8]) -> Result<(), SrtpError> {
        let mut block = self.salt;
        block[7] ^= label;
        out.fill(0);
        self.key
            .less_safe_encrypt(out, EncryptionContext::Iv128(FixedLength::from(block)))
            .map(drop)
            .map_err(|_| SrtpError::BadKey)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    fn derivation(key: &str, salt: &str) -> Derivation {
        Derivation::keyed(MasterKey {
            key: &hex(key),
            salt: &hex(salt),
        })
        .unwrap()
    }

    /// RFC 3711 appendix B.3.
    #[test]
    fn keys_of_aes_128_are_those_of_rfc_3711() {
        let derivation = derivation(
            "e1f97a0d3e018be0d64fa32c06de4139",
            "0ec675ad498afeebb6960b3aabe6",
        );
        let key: [u8; 16] = derivation.derive(RTP_ENCRYPTION).unwrap();
        let salt: [u8; 14] = derivation.derive(RTP_SALT).unwrap();
        let authentication: [u8; 20] = derivation.derive(RTP_AUTHENTICATION).unwrap();
        assert_eq!(key[..], hex("c61e7a93744f39ee10734afe3ff7a087"));
        assert_eq!(salt[..], hex("30cbbc08863d8c85d49db34a9ae1"));
        assert_eq!(
            authentication[..],
            hex("cebe321f6ff7716b6fd4ab49af256a156d38baa4")
        );
    }

    /// RFC 6188 section 7.2.
    #[test]
    fn keys_of_aes_256_are_those_of_rfc_6188() {
        let derivation = derivation(
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
            "3b04803de51ee7c96423ab5b78d2",
        );
        let key: [u8; 32] = derivation.derive(RTP_ENCRYPTION).unwrap();
        let salt: [u8; 14] = derivation.derive(RTP_SALT).unwrap();
        let authentication: [u8; 20] = derivation.derive(RTP_AUTHENTICATION).unwrap();
        assert_eq!(
            key[..],
            hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4")
        );
        assert_eq!(salt[..], hex("fa31791685ca444a9e07c6c64e93"));
        assert_eq!(
            authentication[..],
            hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05")
        );
    }
}
