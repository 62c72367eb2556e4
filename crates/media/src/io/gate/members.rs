//! Whose TURN credentials count: those of the participants that there are.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::api::{Command, ParticipantId};
use crate::turn::Server;

/// What the relay has to know of a command.
#[derive(Debug)]
pub(super) enum Membership {
    /// It is there, under one more sid: who moves between rooms keeps what was allocated under its earlier ones.
    There(ParticipantId, Arc<str>),
    Gone(ParticipantId),
}

impl Membership {
    pub(super) fn of(command: &Command) -> Option<Self> {
        match command {
            Command::AddParticipant { participant, spec } => {
                Some(Self::There(*participant, Arc::clone(&spec.sid)))
            }
            Command::MoveParticipant {
                participant, sid, ..
            } => Some(Self::There(*participant, Arc::clone(sid))),
            Command::RemoveParticipant(participant) => Some(Self::Gone(*participant)),
            _ => None,
        }
    }
}

pub(super) struct Members {
    news: Receiver<Membership>,
    sids: FxHashMap<ParticipantId, Vec<Arc<str>>>,
}

impl Members {
    pub(super) fn new(news: Receiver<Membership>) -> Self {
        Self {
            news,
            sids: FxHashMap::default(),
        }
    }

    /// Tells the relay what is new. Before each packet: a client may use its credentials as soon as it has them.
    pub(super) fn tell(&mut self, now: Instant, server: &mut Server) {
        while let Ok(news) = self.news.try_recv() {
            match news {
                Membership::There(participant, sid) => {
                    server.admit(&sid);
                    self.sids.entry(participant).or_default().push(sid);
                }
                Membership::Gone(participant) => {
                    for sid in self.sids.remove(&participant).unwrap_or_default() {
                        server.revoke(now, &sid);
                    }
                }
            }
        }
    }
}
