//! A load generator for LiveKit servers: simulated clients on [str0m](str0m), a WebRTC implementation other than the
//! server's, so that any LiveKit server can be measured by the same peer.
//!
//! One thread runs everything, so that the generator takes one core at most and its own cost is known; each peer
//! connection has a UDP socket of its own, as real clients do. [`options::HELP`] describes its use.
//!
//! `wire` (protobufs), `token` and `signal` (WebSocket) speak LiveKit's signalling; `connection` is one peer connection
//! and `client` a participant with its connections; `media` shapes what is sent and `mark` dates it; `meter` counts;
//! `swarm` runs all clients and `scenario` says what they do; `report` talks to the orchestrator.

#![forbid(unsafe_code)]

mod client;
mod connection;
mod mark;
mod media;
mod meter;
mod options;
mod report;
mod scenario;
mod signal;
mod swarm;
mod token;
mod wire;

use std::process::ExitCode;

/// An error is something to say and exit by.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn run() -> Result<()> {
    let Some(options) = options::Options::parse(lexopt::Parser::from_env())? else {
        print!("{}", options::HELP);
        return Ok(());
    };
    let mut swarm = swarm::Swarm::new(options.server()?, options.timeout)?;
    scenario::run(&mut swarm, &options.scenario)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roomful-load: {error}");
            ExitCode::FAILURE
        }
    }
}
