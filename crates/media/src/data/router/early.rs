//! Numbered packets of a sender that came while an earlier one is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Packet;
use super::backlog::size;

/// By number, bounded in bytes by its user.
#[derive(Default)]
pub(super) struct Early {
    packets: BTreeMap<u32, Arc<Packet>>,
    pub(super) bytes: usize,
}

impl Early {
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(super) fn has(&self, sequence: u32) -> bool {
        self.packets.contains_key(&sequence)
    }

    pub(super) fn keep(&mut self, packet: Arc<Packet>) {
        self.bytes += size(&packet);
        if let Some(earlier) = self.packets.insert(packet.sequence, packet) {
            self.bytes -= size(&earlier);
        }
    }

    pub(super) fn first(&self) -> Option<u32> {
        self.packets
            .first_key_value()
            .map(|(sequence, _)| *sequence)
    }

    pub(super) fn take_first(&mut self) -> Option<Arc<Packet>> {
        let (_, packet) = self.packets.pop_first()?;
        self.bytes -= size(&packet);
        Some(packet)
    }
}
