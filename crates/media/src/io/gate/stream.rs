//! A TCP stream that never blocks. What cannot be written yet waits in a bounded buffer.

use std::io::{self, ErrorKind, Read as _, Write as _};

use mio::net::TcpStream;

/// A second or two of video.
const MOST_UNWRITTEN: usize = 256 << 10;

pub(super) struct Stream {
    socket: TcpStream,
    unwritten: Vec<u8>,
}

impl Stream {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            unwritten: Vec::new(),
        }
    }

    pub(super) fn source(&mut self) -> &mut impl mio::event::Source {
        &mut self.socket
    }

    /// Octets read into `buffer`; `None`: no more for now.
    ///
    /// # Errors
    /// Those of the socket; the end of the stream is `UnexpectedEof`.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.socket.read(buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }

    /// Lets `append` add one whole message to what is to be written, unless too much waits: then it is lost.
    pub(super) fn queue(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        if self.unwritten.len() < MOST_UNWRITTEN {
            append(&mut self.unwritten);
        }
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
