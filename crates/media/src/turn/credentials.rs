//! Credentials and nonces that nobody has to remember (RFC 8489 §9.2).

use std::time::{Duration, Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use data_encoding::{BASE64, HEXLOWER};
use md5::{Digest, Md5};

use super::{Leg, LegTransport};

/// How long a nonce is taken; who comes later is given a new one (438).
const NONCE_LIFETIME: Duration = Duration::from_secs(600);
/// Longest username that is looked at: an expiry and a participant's sid.
const MAX_USERNAME: usize = 128;

/// Username and password of a participant until `expiry`, in seconds of Unix time.
///
/// They are derived from the secret: the server that has it checks them without having stored them.
#[must_use]
pub fn credentials(secret: &[u8; 32], sid: &str, expiry: u64) -> (String, String) {
    let username = format!("{expiry}:{sid}");
    let password = password(&hmac::Key::new(hmac::HMAC_SHA256, secret), &username);
    (username, password)
}

fn password(secret: &hmac::Key, username: &str) -> String {
    BASE64.encode(hmac::sign(secret, username.as_bytes()).as_ref())
}

/// The key of MESSAGE-INTEGRITY under long-term credentials (RFC 8489 §9.2.2).
pub(super) fn integrity_key(username: &str, realm: &str, password: &str) -> hmac::Key {
    let key = Md5::digest(format!("{username}:{realm}:{password}"));
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key)
}

/// Whom a username speaks of. Proven only by a signature with [`Authority::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder<'a> {
    pub(super) sid: &'a str,
    /// Unix time in seconds from which the credentials make no new allocation.
    pub(super) expiry: u64,
}

/// Checks what [`credentials`] makes, and makes and checks nonces.
#[derive(Debug)]
pub(super) struct Authority {
    realm: String,
    passwords: hmac::Key,
    nonces: hmac::Key,
    started: Instant,
}

impl Authority {
    pub(super) fn new(realm: String, secret: &[u8; 32], now: Instant) -> Self {
        Self {
            realm,
            passwords: hmac::Key::new(hmac::HMAC_SHA256, secret),
            nonces: hmac::Key::new(hmac::HMAC_SHA256, &super::derive(secret, "nonce")),
            started: now,
        }
    }

    pub(super) fn realm(&self) -> &str {
        &self.realm
    }

    /// Reads a username and says with which key its holder signs.
    pub(super) fn key<'a>(&self, username: &'a str) -> Option<(Holder<'a>, hmac::Key)> {
        let (expiry, sid) = username.split_once(':')?;
        if username.len() > MAX_USERNAME || sid.is_empty() {
            return None;
        }
        let expiry = expiry.parse().ok()?;
        let password = password(&self.passwords, username);
        let key = integrity_key(username, &self.realm, &password);
        Some((Holder { sid, expiry }, key))
    }

    /// A nonce for one leg, of 32 characters.
    pub(super) fn nonce(&self, now: Instant, leg: Leg) -> String {
        self.nonce_of(self.second(now), leg)
    }

    /// Whether the nonce was given to this leg, and lately.
    pub(super) fn is_fresh(&self, now: Instant, leg: Leg, nonce: &[u8]) -> bool {
        let mut second = [0; 4];
        let Some(digits) = nonce.get(..8) else {
            return false;
        };
        if HEXLOWER.decode_mut(digits, &mut second).is_err() {
            return false;
        }
        let second = u32::from_be_bytes(second);
        let age = self.second(now).checked_sub(second);
        age.is_some_and(|age| u64::from(age) < NONCE_LIFETIME.as_secs())
            && verify_slices_are_equal(self.nonce_of(second, leg).as_bytes(), nonce).is_ok()
    }

    fn second(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.started).as_secs() as u32
    }

    fn nonce_of(&self, second: u32, leg: Leg) -> String {
        let stream = match leg.transport {
            LegTransport::Udp => 0,
            LegTransport::Stream(id) | LegTransport::Proxied(id) => id.wrapping_add(1),
        };
        let mut context = hmac::Context::with_key(&self.nonces);
        context.update(&second.to_be_bytes());
        context.update(&stream.to_be_bytes());
        context.update(format!("{} {}", leg.local, leg.remote).as_bytes());
        let tag = context.sign();
        let mut nonce = [0; 16];
        let bytes = second
            .to_be_bytes()
            .into_iter()
            .chain(tag.as_ref().iter().copied());
        nonce
            .iter_mut()
            .zip(bytes)
            .for_each(|(into, from)| *into = from);
        HEXLOWER.encode(&nonce)
    }
}
