//! What a transport is, in W3C's terms.

use std::time::Instant;

use aws_lc_rs::digest;
use data_encoding::BASE64;

use super::{DtlsRole, Fingerprint, FiveTuple, Transport, TransportState};
use crate::srtp::SrtpProfile;
use crate::statistics::{Report, Traffic};
use crate::track::clock::WallClock;

/// The only one of its connection.
pub(crate) const TRANSPORT_ID: &str = "T01";

fn certificate(der: &[u8]) -> Report {
    let fingerprint = Fingerprint {
        algorithm: "sha-256".into(),
        digest: digest::digest(&digest::SHA256, der).as_ref().to_vec(),
    };
    let fingerprint = fingerprint.to_string();
    let print = fingerprint.rsplit(' ').next().unwrap_or_default();
    let mut report = Report::new("certificate", format!("CF{print}"));
    report.set("fingerprint", print);
    report.set("fingerprintAlgorithm", "sha-256");
    report.set("base64Certificate", BASE64.encode(der));
    report
}

fn cipher(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
        SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
        SrtpProfile::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
    }
}

impl Transport {
    /// `RTCTransportStats`, certificates, candidate pairs and candidates. `traffic` is what was sent and
    /// received on each 5-tuple.
    #[must_use]
    pub fn statistics(
        &self,
        now: Instant,
        clock: &WallClock,
        traffic: &[(FiveTuple, Traffic, Traffic)],
    ) -> Vec<Report> {
        let mut out = Vec::new();
        let mut transport = Report::new("transport", TRANSPORT_ID.into());
        for (_, sent, received) in traffic {
            transport.count("packetsSent", sent.packets);
            transport.count("bytesSent", sent.bytes);
            transport.count("packetsReceived", received.packets);
            transport.count("bytesReceived", received.bytes);
        }
        self.ice
            .report(now, clock, traffic, &mut transport, &mut out);
        let state = match (&self.session, self.state) {
            (_, TransportState::Closed) => "closed",
            (None, _) => "new",
            (Some(_), _) if self.secured => "connected",
            (Some(_), _) => "connecting",
        };
        transport.set("dtlsState", state);
        let own = certificate(self.identity.der());
        transport.set("localCertificateId", own.id.clone());
        out.push(own);
        if let Some(session) = &self.session {
            transport.set(
                "dtlsRole",
                match session.role() {
                    DtlsRole::Client => "client",
                    DtlsRole::Server => "server",
                },
            );
            if let Some(der) = session.certificate() {
                let theirs = certificate(der);
                transport.set("remoteCertificateId", theirs.id.clone());
                out.push(theirs);
            }
        }
        if self.secured {
            // DTLS 1.2, the one that is spoken here.
            transport.set("tlsVersion", "FEFD");
        }
        if let Some(srtp) = &self.srtp {
            transport.set("srtpCipher", cipher(srtp.profile));
        }
        out.push(transport);
        out
    }
}
