//! DTLS 1.2 (RFC 6347) over `dimpl`, and the check that ties it to signalling: the fingerprint.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bytes::Bytes;
use dimpl::{Config, ConfigBuilder, Dtls, DtlsCertificate, Output};

use super::{DtlsRole, TransportError};
use crate::srtp::SrtpProfile;

/// From the first flight to the end of the handshake; a half-open handshake does not live longer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// First retransmission of a flight, doubled with each (RFC 6347 §4.2.4.1, which leaves calls a shorter start
/// than its second). A client begins sooner, as browsers do: its first flight may reach a peer that does not
/// know the path yet, and no other message tells it so.
const RETRANSMISSION: Duration = Duration::from_millis(200);
const CLIENT_RETRANSMISSION: Duration = Duration::from_millis(50);
const RETRIES: usize = 8;
const CLIENT_RETRIES: usize = 10;
/// Datagrams waiting to be sent. A caller that drains after each call never comes near.
const MAX_OUTBOX: usize = 4_096;
/// Room for what one poll of the engine gives: records come from datagrams.
const RECORD: usize = 2_048;

/// Certificate, key and DTLS configuration: made once a process and shared by all its transports, as the
/// configuration checks its cryptography when it is built (about 1 ms).
pub struct Identity {
    certificate: DtlsCertificate,
    server: Arc<Config>,
    client: Arc<Config>,
    fingerprint: Fingerprint,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint.to_string())
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// A fresh self-signed ECDSA P-256 certificate.
    pub fn generate() -> Result<Arc<Self>, TransportError> {
        Self::with(Config::builder)
    }

    /// For simulations only: timers and the handshake's random bytes (but no key) follow from `seed`, so
    /// that a run can be repeated.
    pub fn for_simulation(seed: u64) -> Result<Arc<Self>, TransportError> {
        Self::with(|| Config::builder().dangerously_set_rng_seed(seed))
    }

    fn with(builder: impl Fn() -> ConfigBuilder) -> Result<Arc<Self>, TransportError> {
        let failed = |error: &dyn fmt::Display| TransportError::Certificate(error.to_string());
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|error| failed(&error))?;
        let config = |first: Duration, retries: usize| {
            builder()
                .handshake_timeout(HANDSHAKE_TIMEOUT)
                .flight_start_rto(first)
                .flight_retries(retries)
                .build()
                .map(Arc::new)
                .map_err(|error| failed(&error))
        };
        let fingerprint = Fingerprint {
            algorithm: "sha-256".into(),
            digest: digest::digest(&digest::SHA256, &certificate.certificate)
                .as_ref()
                .to_vec(),
        };
        Ok(Arc::new(Self {
            certificate,
            server: config(RETRANSMISSION, RETRIES)?,
            client: config(CLIENT_RETRANSMISSION, CLIENT_RETRIES)?,
            fingerprint,
        }))
    }

    /// The certificate, in DER.
    pub(super) fn der(&self) -> &[u8] {
        &self.certificate.certificate
    }

    /// SHA-256 of the certificate, for SDP.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// A certificate's fingerprint as in SDP's `a=fingerprint` (RFC 8122): `sha-256 AB:CD:…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Lower case: "sha-256".
    pub algorithm: String,
    pub digest: Vec<u8>,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.algorithm)?;
        for (index, byte) in self.digest.iter().enumerate() {
            let separator = if index == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02X}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = TransportError;

    /// Reads an `a=fingerprint` value.
    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let malformed = || TransportError::Certificate("malformed fingerprint".into());
        let (algorithm, hex) = value.trim().split_once(' ').ok_or_else(malformed)?;
        let digest = hex
            .trim()
            .split(':')
            .take(65)
            .map(|byte| {
                (byte.len() == 2)
                    .then(|| u8::from_str_radix(byte, 16).ok())
                    .flatten()
            })
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(malformed)?;
        Ok(Self {
            algorithm: algorithm.to_ascii_lowercase(),
            digest,
        })
    }
}

impl Fingerprint {
    fn algorithm(&self) -> Option<&'static digest::Algorithm> {
        match self.algorithm.as_str() {
            "sha-256" => Some(&digest::SHA256),
            "sha-384" => Some(&digest::SHA384),
            "sha-512" => Some(&digest::SHA512),
            // sha-1 and older prove nothing.
            _ => None,
        }
    }

    pub(super) fn checkable(&self) -> bool {
        self.algorithm()
            .is_some_and(|algorithm| algorithm.output_len() == self.digest.len())
    }

    pub(super) fn matches(&self, certificate: &[u8]) -> bool {
        self.algorithm().is_some_and(|algorithm| {
            digest::digest(algorithm, certificate).as_ref() == self.digest.as_slice()
        })
    }
}

/// Keys for SRTP in both directions, as the exporter gave them.
pub(super) struct Keys {
    pub(super) profile: SrtpProfile,
    pub(super) material: dimpl::KeyingMaterial,
}

/// A DTLS connection with one peer. Every error is the end of it.
pub(super) struct Session {
    dtls: Dtls,
    role: DtlsRole,
    connected: bool,
    certificate: Option<Vec<u8>>,
    keys: Option<Keys>,
    closed: bool,
    deadline: Option<Instant>,
    /// Decrypted application data.
    pub(super) inbox: VecDeque<Bytes>,
    /// Datagrams to send.
    pub(super) outbox: VecDeque<Vec<u8>>,
}

impl Session {
    pub(super) fn new(
        identity: &Identity,
        role: DtlsRole,
        now: Instant,
    ) -> Result<Box<Self>, String> {
        let config = match role {
            DtlsRole::Client => &identity.client,
            DtlsRole::Server => &identity.server,
        };
        let mut dtls = Dtls::new_12(Arc::clone(config), identity.certificate.clone(), now);
        dtls.set_active(role == DtlsRole::Client);
        let mut session = Box::new(Self {
            dtls,
            role,
            connected: false,
            certificate: None,
            keys: None,
            closed: false,
            deadline: None,
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
        });
        // Before any packet: the engine has no clock otherwise.
        session.handle_timeout(now)?;
        Ok(session)
    }

    pub(super) fn role(&self) -> DtlsRole {
        self.role
    }

    pub(super) fn connected(&self) -> bool {
        self.connected
    }

    /// The peer's certificate, in DER, once it was proven to be the peer's.
    pub(super) fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    pub(super) fn take_keys(&mut self) -> Option<Keys> {
        self.keys.take()
    }

    /// The peer said goodbye.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    pub(super) fn handle_datagram(&mut self, datagram: &[u8]) -> Result<(), String> {
        let outcome = self.dtls.handle_packet(datagram);
        self.pump();
        outcome.map_err(|error| self.explain(&error))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), String> {
        let outcome = self.dtls.handle_timeout(now);
        self.pump();
        outcome.map_err(|error| self.explain(&error))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Encrypts one message into the outbox.
    pub(super) fn send(&mut self, data: &[u8]) -> Result<(), String> {
        let outcome = self.dtls.send_application_data(data);
        self.pump();
        match outcome {
            Ok(sent) if sent == data.len() => Ok(()),
            Ok(_) => Err("DTLS took no data".into()),
            Err(error) => Err(self.explain(&error)),
        }
    }

    pub(super) fn close(&mut self) {
        // Fails only when there is nobody to say goodbye to.
        let _ = self.dtls.close();
        self.pump();
    }

    fn explain(&self, error: &dimpl::Error) -> String {
        let phase = if self.connected {
            "DTLS failed"
        } else {
            "DTLS handshake failed"
        };
        let hint = match error {
            dimpl::Error::CertificateError(_)
            | dimpl::Error::SecurityError(_)
            | dimpl::Error::CryptoError(_)
                if !self.connected =>
            {
                " (only ECDSA certificates are supported, not RSA)"
            }
            _ => "",
        };
        format!("{phase}: {error}{hint}")
    }

    fn pump(&mut self) {
        let mut small = [0_u8; RECORD];
        let mut large = Vec::new();
        loop {
            let buffer = if large.is_empty() {
                &mut small[..]
            } else {
                &mut large[..]
            };
            match self.dtls.poll_output(buffer) {
                Output::Packet(datagram) if self.outbox.len() < MAX_OUTBOX => {
                    self.outbox.push_back(datagram.to_vec());
                }
                Output::Packet(_) => {}
                Output::BufferTooSmall { needed } => large.resize(needed, 0),
                Output::Timeout(at) => {
                    self.deadline = Some(at);
                    return;
                }
                Output::Connected => self.connected = true,
                Output::PeerCert(certificate) => self.certificate = Some(certificate.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => SrtpProfile::AeadAes256Gcm,
                        dimpl::SrtpProfile::AEAD_AES_128_GCM => SrtpProfile::AeadAes128Gcm,
                        dimpl::SrtpProfile::AES128_CM_SHA1_80 => SrtpProfile::Aes128CmSha1_80,
                        _ => continue,
                    };
                    self.keys = Some(Keys { profile, material });
                }
                Output::ApplicationData(data) => self.inbox.push_back(Bytes::copy_from_slice(data)),
                Output::CloseNotify => self.closed = true,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_survives_its_text() {
        let identity = Identity::generate().unwrap();
        let text = identity.fingerprint().to_string();
        assert_eq!(text.len(), "sha-256 ".len() + 95);
        assert_eq!(
            &text.to_lowercase().parse::<Fingerprint>().unwrap(),
            identity.fingerprint()
        );
        assert!(
            identity
                .fingerprint()
                .matches(&identity.certificate.certificate)
        );
    }

    #[test]
    fn weak_or_malformed_fingerprints_are_not_checkable() {
        assert!(!"sha-1 AB:CD".parse::<Fingerprint>().unwrap().checkable());
        assert!(!"sha-256 AB:CD".parse::<Fingerprint>().unwrap().checkable());
        for text in ["", "sha-256", "sha-256 XY:00", "sha-256 ABC:00", "sha-256 "] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
