//! Keys of participants, by their index, and how they are derived.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// A key is being ratcheted on trial, for frames: one at a time.
    ratchets: Arc<AtomicBool>,
    spawn: Box<dyn Fn(Task) + Send + Sync>,
}

#[derive(Default)]
struct Rings {
    shared: Option<Ring>,
    own: BTreeMap<String, Ring>,
    /// The shared keys, ratcheted by one participant alone.
    copies: BTreeMap<String, Ring>,
}

impl Rings {
    /// The keys of a participant: its own, or else the shared ones.
    fn of(&mut self, identity: &str) -> Option<&mut Ring> {
        let own = self.own.get_mut(identity);
        own.or_else(|| self.copies.get_mut(identity))
            .or(self.shared.as_mut())
    }

    /// As [`Rings::of`], where the shared ones must stay as they are for everybody else.
    fn apart(&mut self, identity: &str) -> Option<&mut Ring> {
        if !self.own.contains_key(identity) && !self.copies.contains_key(identity) {
            let copy = self.shared.clone()?;
            self.copies.insert(identity.to_owned(), copy);
        }
        self.of(identity)
    }

    /// Tries a key and what it may have been ratcheted to; `None` if none of these fits.
    fn open<T>(
        &mut self,
        identity: &str,
        index: u8,
        tolerance: Option<u32>,
        open: impl Fn(&LessSafeKey) -> Option<T>,
    ) -> Option<Opened<T>> {
        let Some(ring) = self.of(identity) else {
            return Some(Opened::MissingKey);
        };
        if tolerance.is_some_and(|most| ring.failures > most) {
            return Some(Opened::Failed);
        }
        let Some(entry) = ring.entries.get_mut(&index) else {
            return Some(Opened::MissingKey);
        };
        let by = |entry: &Entry| entry.key.as_deref().and_then(&open);
        let (steps, opened) = (0_usize..)
            .zip(entry.chain())
            .find_map(|(steps, it)| by(it).map(|opened| (steps, opened)))?;
        (ring.failures, ring.pause) = (0, 0);
        for _ in 0..steps {
            if let Some(next) = entry.next.take() {
                *entry = *next;
            }
        }
        Some(match steps {
            0 => Opened::By(opened),
            _ => Opened::ByRatcheted(opened),
        })
    }

    /// Puts behind the last key on trial what follows from it, if it still is the last.
    fn append(&mut self, identity: &str, index: u8, material: &[u8], next: Entry) {
        let ring = self.own.get_mut(identity);
        let ring = ring.or_else(|| self.copies.get_mut(identity));
        if let Some(entry) = ring.and_then(|ring| ring.entries.get_mut(&index)) {
            let last = entry.last();
            if last.material == material {
                last.next = Some(Box::new(next));
            }
        }
    }
}

/// That a key is being ratcheted, until it is dropped: with the task's end, or with a task that never runs.
struct Ratcheting(Arc<AtomicBool>);

impl Ratcheting {
    /// `None` while another is.
    fn begin(flag: &Arc<AtomicBool>) -> Option<Self> {
        (!flag.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(flag)))
    }
}

impl Drop for Ratcheting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
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
    /// `spawn` takes work that must not hold up frames.
    #[must_use]
    pub fn new(options: KeyOptions, spawn: impl Fn(Task) + Send + Sync + 'static) -> Self {
        Self {
            options: Arc::new(options),
            rings: Arc::default(),
            ratchets: Arc::default(),
            spawn: Box::new(spawn),
        }
    }

    /// Sets a key of `identity`, or of everybody; takes tens of milliseconds with PBKDF2. An index beyond the
    /// ring begins at its start again.
    pub fn set(&self, identity: Option<&str>, index: u32, material: &[u8]) {
        let size = self.options.ring_size.clamp(1, 256);
        let index = (index as usize % size) as u8;
        let entry = Entry::new(material.to_vec(), &self.options);
        let mut guard = lock(&self.rings);
        let rings = &mut *guard;
        let set = |ring: &mut Ring| {
            ring.entries.insert(index, entry.clone());
            (ring.failures, ring.pause) = (0, 0);
        };
        match identity {
            Some(identity) => {
                rings.copies.remove(identity);
                set(rings.own.entry(identity.to_owned()).or_default());
            }
            None => {
                set(rings.shared.get_or_insert_default());
                let rings = rings.own.values_mut().chain(rings.copies.values_mut());
                rings.for_each(set);
            }
        }
    }

    /// Forgets how a participant has ratcheted the shared keys: it has left.
    pub fn forget(&self, identity: &str) {
        lock(&self.rings).copies.remove(identity);
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
        let mut rings = lock(&self.rings);
        let tolerance = self.options.failure_tolerance;
        if let Some(opened) = rings.open(identity, index, tolerance, open) {
            return opened;
        }
        let Some(ring) = rings.apart(identity) else {
            return Opened::MissingKey;
        };
        let Some(entry) = ring.entries.get_mut(&index) else {
            return Opened::MissingKey;
        };
        let complete = entry.chain().count() > self.options.ratchet_window;
        let paused = ring.pause > 0;
        let turn = (!complete && !paused).then(|| Ratcheting::begin(&self.ratchets));
        let Some(turn) = turn.flatten() else {
            ring.failures = ring.failures.saturating_add(u32::from(complete));
            ring.pause = ring.pause.saturating_sub(1);
            return Opened::Failed;
        };
        ring.pause = PAUSE;
        let material = entry.last().material.clone();
        drop(rings);
        (self.spawn)(self.ratchet(identity.to_owned(), index, material, turn));
        Opened::Failed
    }

    /// Tries the keys that there are, for what does not come again; `None` if none of them fits.
    pub(super) fn open_at_once<T>(
        &self,
        identity: &str,
        index: u8,
        open: impl Fn(&LessSafeKey) -> Option<T>,
    ) -> Option<Opened<T>> {
        let tolerance = self.options.failure_tolerance;
        lock(&self.rings).open(identity, index, tolerance, open)
    }

    /// As [`Keys::open_at_once`], and then makes and tries the next keys to the window's end: with PBKDF2 each
    /// takes tens of milliseconds, but none is made twice.
    pub(super) fn open_waiting<T>(
        &self,
        identity: &str,
        index: u8,
        open: impl Fn(&LessSafeKey) -> Option<T>,
    ) -> Opened<T> {
        for _ in 0..=self.options.ratchet_window {
            if let Some(opened) = self.open_at_once(identity, index, &open) {
                return opened;
            }
            let Some(material) = self.next_to_ratchet(identity, index) else {
                break;
            };
            let next = Entry::ratcheted(&material, &self.options);
            lock(&self.rings).append(identity, index, &material, next);
        }
        self.open_at_once(identity, index, open)
            .unwrap_or(Opened::Failed)
    }

    fn next_to_ratchet(&self, identity: &str, index: u8) -> Option<Vec<u8>> {
        let mut rings = lock(&self.rings);
        let entry = rings.apart(identity)?.entries.get_mut(&index)?;
        let complete = entry.chain().count() > self.options.ratchet_window;
        (!complete).then(|| entry.last().material.clone())
    }

    /// Whether a key may have been ratcheted to one that has not been tried yet.
    #[must_use]
    pub fn may_ratchet(&self, identity: &str, index: u8) -> bool {
        let mut rings = lock(&self.rings);
        let entry = rings.of(identity).and_then(|it| it.entries.get(&index));
        entry.is_some_and(|entry| entry.chain().count() <= self.options.ratchet_window)
    }

    fn ratchet(&self, identity: String, index: u8, material: Vec<u8>, turn: Ratcheting) -> Task {
        let (options, rings) = (Arc::clone(&self.options), Arc::clone(&self.rings));
        Box::new(move || {
            let _turn = turn;
            let next = Entry::ratcheted(&material, &options);
            lock(&rings).append(&identity, index, &material, next);
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

    fn copies(keys: &Keys) -> usize {
        lock(&keys.rings).copies.len()
    }

    #[test]
    fn only_who_ratchets_the_shared_keys_has_a_copy_until_it_leaves() {
        let keys = Keys::new(options(Derivation::Hkdf), |task| task());
        keys.set(None, 0, b"secret");
        for name in 0..9 {
            let name = name.to_string();
            assert!(matches!(keys.open(&name, 0, |_| Some(())), Opened::By(())));
            assert!(keys.open_at_once(&name, 0, |_| None::<()>).is_none());
            assert!(keys.key(&name, 0).is_some() && keys.may_ratchet(&name, 0));
        }
        assert_eq!(copies(&keys), 0);
        assert!(matches!(
            keys.open_waiting("ada", 0, |_| None::<()>),
            Opened::Failed
        ));
        assert_eq!(copies(&keys), 1);
        assert!(!keys.may_ratchet("ada", 0));
        keys.forget("ada");
        assert_eq!(copies(&keys), 0);
        assert!(keys.may_ratchet("ada", 0));
    }

    #[test]
    fn what_waits_tries_the_whole_window_while_another_key_is_ratcheted() {
        let keys = Keys::new(options(Derivation::Hkdf), |_| {});
        keys.set(None, 0, b"secret");
        let _another = Ratcheting::begin(&keys.ratchets);
        let tries = std::cell::Cell::new(0);
        // The first key is tried once, then with one more behind it, and so on: the last is the tenth try.
        let last = |_: &LessSafeKey| {
            tries.set(tries.get() + 1);
            (tries.get() == 10).then_some(())
        };
        assert!(matches!(
            keys.open_waiting("ada", 0, last),
            Opened::ByRatcheted(())
        ));
    }

    #[test]
    fn a_task_that_never_runs_does_not_end_ratcheting() {
        let spawned = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&spawned);
        let keys = Keys::new(options(Derivation::Hkdf), move |task| {
            count.fetch_add(1, Ordering::Relaxed);
            drop(task);
        });
        keys.set(None, 0, b"secret");
        for _ in 0..=PAUSE + 1 {
            let _ = keys.open("ada", 0, |_| None::<()>);
        }
        assert_eq!(spawned.load(Ordering::Relaxed), 2);
    }
}
