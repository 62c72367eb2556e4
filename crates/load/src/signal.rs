//! LiveKit's signalling over a WebSocket, without blocking.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use prost::Message as _;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Request as HttpRequest;
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::http::HeaderValue;
use tungstenite::{ClientHandshake, Error as WsError, Message, WebSocket};

use crate::Result;
use crate::wire::{Request, Response, SignalRequest, SignalResponse};

/// A signalling connection on its way up, open, or gone.
enum State {
    /// TCP connects; the request follows.
    Connecting(TcpStream, Box<HttpRequest>),
    Handshaking(Box<MidHandshake<ClientHandshake<TcpStream>>>),
    Open(Box<WebSocket<TcpStream>>),
    Closed,
}

/// The signalling connection of one client.
pub(crate) struct Signal {
    state: State,
    /// Requests of the time before it is open.
    waiting: Vec<Message>,
}

impl Signal {
    /// Starts to connect.
    pub(crate) fn connect(
        address: SocketAddr,
        url: &str,
        token: &str,
        registry: &Registry,
        id: Token,
    ) -> Result<Self> {
        let mut request = url.into_client_request()?;
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"))?;
        request.headers_mut().insert("Authorization", bearer);
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, id, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            state: State::Connecting(stream, Box::new(request)),
            waiting: Vec::new(),
        })
    }

    /// The socket can be read or written: goes on, and hands over what came. Errors name what the server said.
    pub(crate) fn ready(&mut self, responses: &mut Vec<Response>) -> Result<()> {
        self.open()?;
        let State::Open(socket) = &mut self.state else {
            return Ok(());
        };
        ignore_blocking(socket.flush())?;
        loop {
            match socket.read() {
                Ok(Message::Binary(data)) => {
                    let response = SignalResponse::decode(data)?;
                    responses.extend(response.message);
                }
                Ok(_) => {}
                Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => {
                    self.state = State::Closed;
                    return Ok(());
                }
                Err(error) => return ignore_blocking(Err(error)),
            }
        }
    }

    /// Takes the steps to an open WebSocket that can be taken now.
    fn open(&mut self) -> Result<()> {
        let handshake = match std::mem::replace(&mut self.state, State::Closed) {
            State::Connecting(stream, request) => {
                if let Some(error) = stream.take_error()? {
                    return Err(error.into());
                }
                match stream.peer_addr() {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                        self.state = State::Connecting(stream, request);
                        return Ok(());
                    }
                    Err(error) => return Err(error.into()),
                }
                stream.set_nodelay(true)?;
                tungstenite::client(*request, stream)
            }
            State::Handshaking(handshake) => handshake.handshake(),
            state => {
                self.state = state;
                return Ok(());
            }
        };
        match handshake {
            Ok((mut socket, _)) => {
                for message in self.waiting.drain(..) {
                    ignore_blocking(socket.send(message))?;
                }
                self.state = State::Open(Box::new(socket));
                Ok(())
            }
            Err(HandshakeError::Interrupted(handshake)) => {
                self.state = State::Handshaking(Box::new(handshake));
                Ok(())
            }
            Err(HandshakeError::Failure(WsError::Http(response))) => {
                let body = response.body().as_deref().unwrap_or_default();
                let text = String::from_utf8_lossy(body);
                Err(format!("the server refused the join: {} {text}", response.status()).into())
            }
            Err(HandshakeError::Failure(error)) => Err(error.into()),
        }
    }

    pub(crate) fn send(&mut self, request: Request) -> Result<()> {
        let request = SignalRequest {
            message: Some(request),
        };
        let message = Message::binary(request.encode_to_vec());
        match &mut self.state {
            State::Open(socket) => ignore_blocking(socket.send(message)),
            State::Closed => Ok(()),
            _ => {
                self.waiting.push(message);
                Ok(())
            }
        }
    }

    /// Says goodbye on the WebSocket.
    pub(crate) fn close(&mut self) -> Result<()> {
        match &mut self.state {
            State::Open(socket) => match socket.close(None) {
                Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => Ok(()),
                result => ignore_blocking(result),
            },
            _ => Ok(()),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }
}

/// A socket that takes or gives no more now is no error.
fn ignore_blocking(result: std::result::Result<(), WsError>) -> Result<()> {
    match result {
        Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        result => Ok(result?),
    }
}
