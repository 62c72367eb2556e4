//! Transport parameters in descriptions: ICE (RFC 8839), DTLS (RFC 8122, RFC 8842).

use std::fmt;

/// ICE user name fragment and password.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

impl fmt::Debug for IceCredentials {
    /// Leaves the password out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// A certificate fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Lower case: "sha-256".
    pub algorithm: String,
    pub digest: Vec<u8>,
}

impl Fingerprint {
    /// Parses the value of `a=fingerprint`.
    pub fn parse(value: &str) -> Option<Self> {
        let (algorithm, digest) = value.trim().split_once(' ')?;
        let digest = digest
            .trim()
            .split(':')
            .map(|byte| {
                if byte.len() == 2 {
                    u8::from_str_radix(byte, 16).ok()
                } else {
                    None
                }
            })
            .collect::<Option<Vec<u8>>>()?;
        // The longest in use is sha-512.
        (digest.len() >= 16 && digest.len() <= 64).then(|| Self {
            algorithm: algorithm.to_ascii_lowercase(),
            digest,
        })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.algorithm)?;
        for (i, byte) in self.digest.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// `a=setup` (RFC 4145).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    ActPass,
    Active,
    Passive,
    HoldConn,
}

impl Setup {
    pub(super) fn parse(value: &str) -> Option<Self> {
        Some(match value.trim() {
            "actpass" => Self::ActPass,
            "active" => Self::Active,
            "passive" => Self::Passive,
            "holdconn" => Self::HoldConn,
            _ => return None,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
            Self::HoldConn => "holdconn",
        }
    }
}

/// Our own part in the DTLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// Sends the ClientHello (`a=setup:active`).
    Client,
    Server,
}

/// What our descriptions say of our side of the transport.
#[derive(Clone, Debug)]
pub struct LocalTransport {
    pub ice: IceCredentials,
    pub ice_lite: bool,
    pub fingerprint: Fingerprint,
    /// Candidates gathered so far: `candidate:…` without `a=`.
    pub candidates: Vec<String>,
    pub end_of_candidates: bool,
}

/// What the remote description says of the peer's side of the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTransport {
    pub ice: IceCredentials,
    pub ice_lite: bool,
    /// At least one; the peer's certificate must match one of them.
    pub fingerprints: Vec<Fingerprint>,
    /// Our own role, kept over renegotiations with the same peer.
    pub role: DtlsRole,
    /// Candidates of the description, each once, at most 16: `candidate:…` without `a=`.
    pub candidates: Vec<String>,
    pub end_of_candidates: bool,
}

/// How the peer's transport differs from the description before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportChange {
    /// The first description of the peer.
    pub first: bool,
    /// The peer restarts ICE. When it offered, give fresh local credentials by
    /// [`super::Negotiator::set_local`] before the answer.
    pub ice_restarted: bool,
    /// Another certificate: another peer, hence another DTLS association (RFC 8842 §5.5).
    pub fingerprint_changed: bool,
}
