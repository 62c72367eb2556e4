//! Between the vocabularies of descriptions and transports.

use crate::{sdp, transport};

pub(super) fn local_credentials(ice: &transport::IceCredentials) -> sdp::IceCredentials {
    sdp::IceCredentials {
        ufrag: ice.ufrag.clone(),
        pwd: ice.password.clone(),
    }
}

pub(super) fn local_fingerprint(fingerprint: &transport::Fingerprint) -> sdp::Fingerprint {
    sdp::Fingerprint {
        algorithm: fingerprint.algorithm.clone(),
        digest: fingerprint.digest.clone(),
    }
}

pub(super) fn remote_parameters(
    remote: &sdp::RemoteTransport,
    data: Option<&sdp::DataSection>,
) -> transport::RemoteParameters {
    let fingerprint = |it: &sdp::Fingerprint| transport::Fingerprint {
        algorithm: it.algorithm.clone(),
        digest: it.digest.clone(),
    };
    transport::RemoteParameters {
        ice: transport::IceCredentials {
            ufrag: remote.ice.ufrag.clone(),
            password: remote.ice.pwd.clone(),
        },
        ice_lite: remote.ice_lite,
        fingerprints: remote.fingerprints.iter().map(fingerprint).collect(),
        dtls: match remote.role {
            sdp::DtlsRole::Client => transport::DtlsRole::Client,
            sdp::DtlsRole::Server => transport::DtlsRole::Server,
        },
        data: data.is_some(),
        max_message_size: data.map(|data| u32::try_from(data.max_message_size).unwrap_or(u32::MAX)),
    }
}
