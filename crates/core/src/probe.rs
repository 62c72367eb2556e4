//! `Probe`: one way to a server, tried by a client whose sockets Python owns.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use roomful_media::probe::{self, Failure, Progress, Way};
use roomful_media::transport::{IceCredentials, Identity};
use roomful_media::turn::ClientConfig;

/// A client that only connects. Make it, send its offer, begin with the answer, carry its bytes.
#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct Probe {
    identity: Arc<Identity>,
    credentials: IceCredentials,
    probe: Mutex<Option<probe::Probe>>,
}

impl Probe {
    fn lock(&self) -> MutexGuard<'_, Option<probe::Probe>> {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut probe::Probe) -> T) -> PyResult<T> {
        self.lock()
            .as_mut()
            .map(act)
            .ok_or_else(|| PyRuntimeError::new_err("the probe has not begun"))
    }

    fn begin(&self, answer: &str, way: Way) -> PyResult<()> {
        let (identity, credentials) = (Arc::clone(&self.identity), self.credentials.clone());
        let probe = probe::Probe::new(Instant::now(), identity, credentials, answer, way)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        *self.lock() = Some(probe);
        Ok(())
    }
}

fn parse(address: &str) -> PyResult<SocketAddr> {
    address
        .parse()
        .map_err(|_| PyValueError::new_err(format!("{address:?} is not an address with a port")))
}

#[pymethods]
impl Probe {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self {
            identity: Identity::generate()
                .map_err(|error| PyOSError::new_err(error.to_string()))?,
            credentials: IceCredentials::generate(),
            probe: Mutex::new(None),
        })
    }

    #[getter]
    fn offer(&self) -> String {
        probe::offer(&self.identity, &self.credentials)
    }

    fn begin_udp(&self, answer: &str, locals: Vec<String>) -> PyResult<()> {
        let locals = locals.iter().map(|it| parse(it)).collect::<PyResult<_>>()?;
        self.begin(answer, Way::Udp(locals))
    }

    fn begin_tcp(&self, answer: &str, local: &str, remote: &str) -> PyResult<()> {
        let (local, remote) = (parse(local)?, parse(remote)?);
        self.begin(answer, Way::Tcp { local, remote })
    }

    #[pyo3(signature = (answer, local, server, *, stream, username, password, ipv6 = false))]
    #[allow(clippy::too_many_arguments)]
    fn begin_relay(
        &self,
        answer: &str,
        local: &str,
        server: &str,
        stream: bool,
        username: String,
        password: String,
        ipv6: bool,
    ) -> PyResult<()> {
        // Any number that no other client of this machine uses at the time.
        let seed = self
            .credentials
            .ufrag
            .bytes()
            .fold(0, |seed, byte| seed << 8 | u64::from(byte));
        let turn = ClientConfig {
            username,
            password,
            stream,
            ipv6,
            seed,
        };
        let (local, server) = (parse(local)?, parse(server)?);
        self.begin(
            answer,
            Way::Relay {
                local,
                server,
                turn,
            },
        )
    }

    fn add_candidate(&self, line: &str) -> PyResult<()> {
        self.with(|probe| probe.add_candidate(Instant::now(), line))
    }

    fn handle(&self, local: &str, remote: &str, data: &[u8]) -> PyResult<()> {
        let (local, remote) = (parse(local)?, parse(remote)?);
        self.with(|probe| probe.handle(Instant::now(), local, remote, data))
    }

    /// Runs timers that are due; returns seconds until the next.
    fn handle_timeout(&self) -> PyResult<Option<f64>> {
        self.with(|probe| {
            let now = Instant::now();
            if probe.poll_timeout().is_some_and(|at| at <= now) {
                probe.handle_timeout(now);
            }
            let next = probe.poll_timeout()?;
            Some(next.saturating_duration_since(Instant::now()).as_secs_f64())
        })
    }

    /// (from, to, bytes) of each packet to send.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, String, Bound<'py, PyBytes>)>> {
        self.with(|probe| {
            std::iter::from_fn(|| probe.poll_transmit())
                .map(|(from, to, data)| (from.to_string(), to.to_string(), PyBytes::new(py, &data)))
                .collect()
        })
    }

    /// ("connecting", diagnosis), ("connected", round trip in ms or "") or a kind of failure with its text.
    fn progress(&self) -> PyResult<(&'static str, String)> {
        self.with(|probe| match probe.progress() {
            Progress::Connecting => ("connecting", probe.diagnosis()),
            Progress::Connected { round_trip } => {
                let millis = round_trip.map(|it| format!("{:.1}", it.as_secs_f64() * 1000.0));
                ("connected", millis.unwrap_or_default())
            }
            Progress::Failed(failure) => {
                let kind = match &failure {
                    Failure::Answer(_) => "answer",
                    Failure::Turn(_) => "turn",
                    Failure::Peer(_) => "peer",
                    Failure::Stream(_) => "stream",
                    Failure::Transport(_) => "transport",
                };
                (kind, failure.to_string())
            }
        })
    }

    /// The address that a TURN server named.
    #[getter]
    fn relayed(&self) -> PyResult<Option<String>> {
        self.with(|probe| probe.relayed_address().map(|it| it.to_string()))
    }

    fn close(&self) -> PyResult<()> {
        self.with(|probe| probe.close(Instant::now()))
    }
}
