//! A TCP stream, perhaps with TLS, that never blocks. What cannot be written yet waits in a bounded buffer.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

/// A second or two of video.
const MOST_UNWRITTEN: usize = 256 << 10;
/// Reads from the socket, of a few KiB each, that may bring nothing for the application before others have
/// their turn.
const READS: usize = 16;

pub(super) struct Stream {
    socket: TcpStream,
    tls: Option<Box<Connection>>,
    /// For the socket, as it is to be sent.
    unwritten: Vec<u8>,
}

impl Stream {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self {
            socket,
            tls: None,
            unwritten: Vec::new(),
        }
    }

    pub(super) fn tls(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self {
            tls: Some(Box::new(tls.into())),
            ..Self::plain(socket)
        })
    }

    /// The client's end, towards a server whose certificate is for `name`.
    pub(super) fn tls_to(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self {
            tls: Some(Box::new(tls.into())),
            ..Self::plain(socket)
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn source(&mut self) -> &mut impl mio::event::Source {
        &mut self.socket
    }

    /// Octets read into `buffer`, perhaps none yet; `None`: no more for now.
    ///
    /// # Errors
    /// Those of the socket and of TLS; the end of the stream is `UnexpectedEof`.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        for _ in 0..READS {
            let Some(tls) = &mut self.tls else {
                return some(self.socket.read(buffer));
            };
            if let Some(count) = some(tls.reader().read(buffer))? {
                return Ok(Some(count));
            }
            if some(tls.read_tls(&mut self.socket))?.is_none() {
                return Ok(None);
            }
            let processed = tls.process_new_packets();
            // Handshakes, and what says why one fails.
            while tls.wants_write() {
                tls.write_tls(&mut self.unwritten)?;
            }
            self.flush()?;
            // Media stops before that: what is more is TLS's own.
            if self.unwritten.len() > 2 * MOST_UNWRITTEN {
                return Err(io::Error::other("answers to the handshake are not read"));
            }
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
        // TLS's own records only, and no end of them yet.
        Ok(Some(0))
    }

    /// Adds one whole message to what is to be written, unless too much waits: then it is lost.
    pub(super) fn queue(&mut self, message: &[u8]) -> io::Result<()> {
        if self.unwritten.len() >= MOST_UNWRITTEN {
            return Ok(());
        }
        let Some(tls) = &mut self.tls else {
            self.unwritten.extend_from_slice(message);
            return Ok(());
        };
        tls.writer().write_all(message)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.unwritten)?;
        }
        Ok(())
    }

    /// Writes what the peer takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        let outcome = loop {
            let Some(rest) = self.unwritten.get(written..).filter(|it| !it.is_empty()) else {
                break Ok(());
            };
            match self.socket.write(rest) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.unwritten.drain(..written);
        outcome
    }
}

/// `None` if there is nothing for now.
fn some(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
