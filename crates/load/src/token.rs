//! Access tokens: HS256, as LiveKit's server libraries make them.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

/// How long a token is good for, in seconds.
const LIFETIME: u64 = 6 * 3_600;

/// Signs a token that lets `identity` join `room` with every permission.
pub(crate) fn sign(key: &str, secret: &str, room: &str, identity: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let claims = json!({
        "iss": key,
        "sub": identity,
        "nbf": now,
        "exp": now + LIFETIME,
        "video": {"room": room, "roomJoin": true, "canPublish": true, "canSubscribe": true, "canPublishData": true},
    });
    let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let message = format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", encode(signature.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_signed_with_the_secret_over_header_and_claims() {
        let token = sign("devkey", "secret", "room", "bob");
        let (message, signature) = token.rsplit_once('.').unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        hmac::verify(&key, message.as_bytes(), &signature).unwrap();

        let claims = message.split_once('.').unwrap().1;
        let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["iss"], "devkey");
        assert_eq!(claims["sub"], "bob");
        assert_eq!(claims["video"]["room"], "room");
    }
}
