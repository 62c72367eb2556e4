//! Between the vocabularies of descriptions and transports.

use crate::api::ConnectionState;
use crate::{sdp, transport};

/// What descriptions say of our side.
pub(crate) fn local_transport(
    transport: &transport::Transport,
    identity: &transport::Identity,
    ice_lite: bool,
) -> sdp::LocalTransport {
    sdp::LocalTransport {
        ice: local_credentials(transport.local_credentials()),
        ice_lite,
        fingerprint: local_fingerprint(identity.fingerprint()),
        candidates: transport.local_candidates(),
        end_of_candidates: false,
    }
}

/// `None` for the end, which an event of its own tells with the reason.
pub(crate) fn connection_state(state: transport::TransportState) -> Option<ConnectionState> {
    use transport::TransportState as Transport;
    Some(match state {
        Transport::Connecting => ConnectionState::Connecting,
        Transport::Connected => ConnectionState::Connected,
        Transport::Disconnected => ConnectionState::Disconnected,
        Transport::Failed => ConnectionState::Failed,
        Transport::Closed => return None,
    })
}

fn local_credentials(ice: &transport::IceCredentials) -> sdp::IceCredentials {
    sdp::IceCredentials {
        ufrag: ice.ufrag.clone(),
        pwd: ice.password.clone(),
    }
}

fn local_fingerprint(fingerprint: &transport::Fingerprint) -> sdp::Fingerprint {
    sdp::Fingerprint {
        algorithm: fingerprint.algorithm.clone(),
        digest: fingerprint.digest.clone(),
    }
}

pub(crate) fn remote_parameters(
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
