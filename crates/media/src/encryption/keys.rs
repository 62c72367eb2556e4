//! Keys of participants, by their index, and how they are derived.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::aead::{AES_128_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::{hkdf, pbkdf2};

const KEY_LEN: usize = 16;
const RATCHETED_LEN: usize = 32;
const ITERATIONS: u32 = 100_000;
/// Frames that fail between two keys to try: a wrong key must not keep a processor busy.
const PAUSE: u32 = 10;
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
    key: Option<Arc<LessSafeKey>>,
    next: Option<Box<Entry>>,
}

impl Entry {
    fn new(material: Vec<u8>, options: &KeyOptions) -> Self {
        let key: [u8; KEY_LEN] = options.derive(&material);
        let key = UnboundKey::new(&AES_128_GCM, &key).ok();
        Self {
            material,
            key: key.map(|key| Arc::new(LessSafeKey::new(key))),
            next: None,
        }
    }

    /// What follows from it.
    fn ratcheted(material: &[u8], options: &KeyOptions) -> Self {
        let material: [u8; RATCHETED_LEN] = options.derive(material);
        Self::new(material.to_vec(), options)
    }

    /// The key and those on trial.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |entry| entry.next.as_deref())
    }

    fn last(&mut self) -> &mut Self {
        match self.next {
            Some(ref mut next) => next.last(),
            None => self,
        }
    }
}

#[derive(Clone, Default)]
struct Ring {
    entries: BTreeMap<u8, Entry>,
    /// Frames in succession that no key has opened.
    failures: u32,
    /// Frames that fail before the next key to try is made.
    pause: u32,
}

/// Work that takes tens of milliseconds.
pub type Task = Box<dyn FnOnce() + Send>;

/// The keys of a session, for all who seal and open in it.
pub struct Keys {
    options: Arc<KeyOptions>,
    rings: Arc<Mutex<Rings>>,
    spawn: Box<dyn Fn(Task) + Send + Sync>,
}

#[derive(Default)]
struct Rings {
    shared: Option<Ring>,
    own: BTreeMap<String, Ring>,
    /// A key is being ratcheted on trial, one at a time.
    ratchets: bool,
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

/// What comes of trying the keys that there are.
enum Tried<T> {
    Done(Opened<T>),
    /// No key fits; the next may.
    Ratchet(Task),
}

impl Keys {
    /// `spawn` takes work that must not hold up frames.
    #[must_use]
    pub fn new(options: KeyOptions, spawn: impl Fn(Task) + Send + Sync + 'static) -> Self {
        Self {
            options: Arc::new(options),
            rings: Arc::default(),
            spawn: Box::new(spawn),
        }
    }

    /// Sets a key of `identity`, or of everybody; takes tens of milliseconds with PBKDF2. An index beyond the
    /// ring begins at its start again.
    pub fn set(&self, identity: Option<&str>, index: u32, material: &[u8]) {
        let size = self.options.ring_size.clamp(1, 256);
        let index = (index as usize % size) as u8;
        let entry = Entry::new(material.to_vec(), &self.options);
        let mut rings = lock(&self.rings);
        let set = |ring: &mut Ring| {
            ring.entries.insert(index, entry.clone());
            (ring.failures, ring.pause) = (0, 0);
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
        let mut rings = lock(&self.rings);
        rings.of(identity)?.entries.get(&index)?.key.clone()
    }

    /// Tries a key and what it may have been ratcheted to. Keys to try are made meanwhile, one after another.
    pub(super) fn open<T>(
        &self,
        identity: &str,
        index: u8,
        open: impl Fn(&LessSafeKey) -> Option<T>,
    ) -> Opened<T> {
        match self.try_keys(identity, index, open) {
            Tried::Done(opened) => opened,
            Tried::Ratchet(task) => {
                (self.spawn)(task);
                Opened::Failed
            }
        }
    }

    /// As [`Keys::open`], for what does not come again: waits for the next key to try.
    pub(super) fn open_waiting<T>(
        &self,
        identity: &str,
        index: u8,
        open: impl Fn(&LessSafeKey) -> Option<T>,
    ) -> Opened<T> {
        match self.try_keys(identity, index, &open) {
            Tried::Done(opened) => opened,
            Tried::Ratchet(task) => {
                task();
                self.open(identity, index, open)
            }
        }
    }

    fn try_keys<T>(
        &self,
        identity: &str,
        index: u8,
        open: impl Fn(&LessSafeKey) -> Option<T>,
    ) -> Tried<T> {
        let mut guard = lock(&self.rings);
        let rings = &mut *guard;
        let busy = rings.ratchets;
        let Some(ring) = rings.of(identity) else {
            return Tried::Done(Opened::MissingKey);
        };
        let tolerance = self.options.failure_tolerance;
        if tolerance.is_some_and(|most| ring.failures > most) {
            return Tried::Done(Opened::Failed);
        }
        let Some(entry) = ring.entries.get_mut(&index) else {
            return Tried::Done(Opened::MissingKey);
        };
        let by = |entry: &Entry| entry.key.as_deref().and_then(&open);
        let fits = (0_usize..)
            .zip(entry.chain())
            .find_map(|(steps, it)| by(it).map(|opened| (steps, opened)));
        if let Some((steps, opened)) = fits {
            (ring.failures, ring.pause) = (0, 0);
            for _ in 0..steps {
                if let Some(next) = entry.next.take() {
                    *entry = *next;
                }
            }
            let opened = match steps {
                0 => Opened::By(opened),
                _ => Opened::ByRatcheted(opened),
            };
            return Tried::Done(opened);
        }
        let complete = entry.chain().count() > self.options.ratchet_window;
        if complete || busy || ring.pause > 0 {
            ring.failures = ring.failures.saturating_add(u32::from(complete));
            ring.pause = ring.pause.saturating_sub(1);
            return Tried::Done(Opened::Failed);
        }
        ring.pause = PAUSE;
        let material = entry.last().material.clone();
        rings.ratchets = true;
        Tried::Ratchet(self.ratchet(identity.to_owned(), index, material))
    }

    /// Puts behind the last key on trial what follows from it, if it still is the last.
    fn ratchet(&self, identity: String, index: u8, material: Vec<u8>) -> Task {
        let (options, rings) = (Arc::clone(&self.options), Arc::clone(&self.rings));
        Box::new(move || {
            let next = Entry::ratcheted(&material, &options);
            let mut rings = lock(&rings);
            rings.ratchets = false;
            let ring = rings.own.get_mut(&identity);
            if let Some(entry) = ring.and_then(|ring| ring.entries.get_mut(&index)) {
                let last = entry.last();
                if last.material == material {
                    last.next = Some(Box::new(next));
                }
            }
        })
    }
}

fn lock(rings: &Mutex<Rings>) -> MutexGuard<'_, Rings> {
    rings.lock().unwrap_or_else(PoisonError::into_inner)
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
