//! End-to-end encryption of a client's tracks.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Client, ClientEvent};
use crate::api::{Target, TrackId};
use crate::encryption::{Form, Opener, Sealer, State};

/// Opens the frames of a received track, for whoever has them whole.
#[derive(Clone)]
pub struct Decryption(Arc<Mutex<(Opener, Vec<State>)>>);

impl Decryption {
    pub(super) fn new(opener: Opener) -> Self {
        Self(Arc::new(Mutex::new((opener, Vec::new()))))
    }

    pub fn open(&self, form: Option<Form>, frame: &[u8]) -> Option<Vec<u8>> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (opener, states) = &mut *guard;
        let (opened, mut changes) = opener.open(form, frame);
        states.append(&mut changes);
        opened
    }

    /// What it has changed to since the last time.
    pub(super) fn take_states(&self) -> Vec<State> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut guard.1)
    }
}

impl Client {
    /// Encrypts what is sent of a track from now on; RED must not be used for it.
    pub fn encrypt(&mut self, track: TrackId, by: Option<Sealer>) {
        let path = self.plain_path();
        if let Some(sending) = self.sending.get_mut(&track) {
            if by.is_some() {
                sending.end_passing(path, &mut self.passing);
            }
            sending.sealer = by;
        }
    }

    /// Decrypts what is received in a section from now on.
    pub fn decrypt(&mut self, target: Target, mid: &str, by: Option<Opener>) {
        if let Some((_, received)) = self.received(target, mid) {
            received.decrypt(by.map(Decryption::new));
        }
    }

    pub(super) fn tell_sealing(&mut self, track: TrackId, state: Option<State>) {
        let events = state.map(|state| ClientEvent::Sealing { track, state });
        self.events.extend(events);
    }
}
