//! Keys of participants, by their index, and how they are derived.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_128_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::{hkdf, pbkdf2};

const KEY_LEN: usize = 16;
const RATCHETED_LEN: usize = 32;
const ITERATIONS: u32 = 100_000;
/// Failing frames between two steps of ratcheting on trial: each takes tens of milliseconds with PBKDF2.
const FRAMES_A_STEP: u32 = 50;
const HKDF_INFO: [u8; 128] = [0; 128];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derivation {
    Pbkdf2,
    Hkdf,
}

#[derive(Clone, Debug)]
pub struct KeyOptions {
    pub derivation: Derivation,
    pub salt: Vec<u8>,
    /// How often a receiver ratchets a key that doesn't fit.
    pub ratchet_window: usize,
    /// Frames that may fail before a key counts as wrong, until another comes; `None` for any number.
    pub failure_tolerance: Option<u32>,
    /// Keys of a participant, 1 to 256.
    pub ring_size: usize,
}

impl KeyOptions {
    fn derive<const N: usize>(&self, material: &[u8]) -> [u8; N] {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let mut key = [0; N];
        match self.derivation {
            Derivation::Pbkdf2 => {
                let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
                let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
                pbkdf2::derive(algorithm, iterations, &self.salt, material, &mut key);
            }
            Derivation::Hkdf => {
                let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &self.salt).extract(material);
                let info = [HKDF_INFO.as_slice()];
                // Only lengths far beyond a key's are refused.
                let _ = extracted
                    .expand(&info, Length(N))
                    .and_then(|expanded| expanded.fill(&mut key));
            }
        }
        key
    }
}

/// A key, and those that it was ratcheted to on trial.
#[derive(Clone)]
struct Entry {
    material: Vec<u8>,
    /// Derived when it is needed.
    key: Option<Arc<LessSafeKey>>,
    next: Option<Box<Entry>>,
}

impl Entry {
    fn new(material: Vec<u8>) -> Self {
        Self {
            material,
            key: None,
            next: None,
        }
    }

    fn key(&mut self, options: &KeyOptions) -> Option<Arc<LessSafeKey>> {
        if self.key.is_none() {
            let key: [u8; KEY_LEN] = options.derive(&self.material);
            self.key = UnboundKey::new(&AES_128_GCM, &key)
                .ok()
                .map(|key| Arc::new(LessSafeKey::new(key)));
        }
        self.key.clone()
    }
}

#[derive(Clone, Default)]
struct Ring {
    entries: BTreeMap<u8, Entry>,
    failures: u32,
}

/// The keys of a session, for all who seal and open in it.
pub struct Keys {
    options: KeyOptions,
    rings: Mutex<Rings>,
}

#[derive(Default)]
struct Rings {
    shared: Option<Ring>,
    own: BTreeMap<String, Ring>,
}

impl Rings {
    /// Whoever has no keys has the shared ones, and from then on ratchets them alone.
    fn of(&mut self, identity: &str) -> Option<&mut Ring> {
        if !self.own.contains_key(identity) {
            let ring = self.shared.clone()?;
            self.own.insert(identity.to_owned(), ring);
        }
        self.own.get_mut(identity)
    }
}

/// What opening by the keys of an index came to.
pub(super) enum Opened<T> {
    MissingKey,
    Failed,
    By(T),
    /// A key that the index's was ratcheted to, and now is.
    ByRatcheted(T),
}

impl Keys {
    #[must_use]
    pub fn new(options: KeyOptions) -> Self {
        Self {
            options,
            rings: Mutex::default(),
        }
    }

    /// Sets a key of `identity`, or of everybody. An index beyond the ring begins at its start again.
    pub fn set(&self, identity: Option<&str>, index: u32, material: &[u8]) {
        let size = self.options.ring_size.clamp(1, 256);
        let index = (index as usize % size) as u8;
        let mut entry = Entry::new(material.to_vec());
        // Now, in the thread of whoever has the time, not with the first frame.
        entry.key(&self.options);
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let set = |ring: &mut Ring| {
            ring.entries.insert(index, entry.clone());
            ring.failures = 0;
        };
        match identity {
            Some(identity) => set(rings.own.entry(identity.to_owned()).or_default()),
            None => {
                set(rings.shared.get_or_insert_default());
                rings.own.values_mut().for_each(set);
            }
        }
    }

    pub(super) fn key(&self, identity: &str, index: u8) -> Option<Arc<LessSafeKey>> {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = rings.of(identity)?.entries.get_mut(&index)?;
        entry.key(&self.options)
    }

    /// Tries a key and, where it fails, what it may have been ratcheted to, a step further now and then.
    pub(super) fn open<T>(
        &self,
        identity: &str,
        index: u8,
        open: impl Fn(&LessSafeKey) -> Option<T>,
    ) -> Opened<T> {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ring) = rings.of(identity) else {
            return Opened::MissingKey;
        };
        // Other clients count from when all ratcheted keys were tried.
        let trials = (self.options.ratchet_window as u32).saturating_mul(FRAMES_A_STEP);
        let tolerance = self.options.failure_tolerance;
        if tolerance.is_some_and(|most| ring.failures > most.saturating_add(trials)) {
            return Opened::Failed;
        }
        let Some(entry) = ring.entries.get_mut(&index) else {
            return Opened::MissingKey;
        };
        if let Some(opened) = entry.key(&self.options).and_then(|key| open(&key)) {
            ring.failures = 0;
            return Opened::By(opened);
        }
        let may_step = ring.failures.is_multiple_of(FRAMES_A_STEP);
        let mut trial = &mut *entry;
        for _ in 0..self.options.ratchet_window {
            let is_new = trial.next.is_none();
            if is_new && !may_step {
                break;
            }
            let material = &trial.material;
            let next = trial.next.get_or_insert_with(|| {
                let material: [u8; RATCHETED_LEN] = self.options.derive(material);
                Box::new(Entry::new(material.to_vec()))
            });
            if let Some(opened) = next.key(&self.options).and_then(|key| open(&key)) {
                let ratcheted = next.clone();
                ring.entries.insert(index, *ratcheted);
                ring.failures = 0;
                return Opened::ByRatcheted(opened);
            }
            if is_new {
                break;
            }
            trial = next;
        }
        ring.failures = ring.failures.saturating_add(1);
        Opened::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(derivation: Derivation) -> KeyOptions {
        KeyOptions {
            derivation,
            salt: b"LKFrameEncryptionKey".to_vec(),
            ratchet_window: 3,
            failure_tolerance: None,
            ring_size: 16,
        }
    }

    /// The values are those of livekit.rtc for the same key.
    #[test]
    fn keys_are_derived_as_other_clients_do() {
        for (derivation, start) in [
            (Derivation::Pbkdf2, [0x14, 0xff, 0x4f, 0x61]),
            (Derivation::Hkdf, [0xaa, 0x17, 0x1d, 0xcc]),
        ] {
            let key: [u8; RATCHETED_LEN] = options(derivation).derive(b"secret");
            assert_eq!(key[..4], start);
            let short: [u8; KEY_LEN] = options(derivation).derive(b"secret");
            assert_eq!(key[..KEY_LEN], short);
        }
    }
}
