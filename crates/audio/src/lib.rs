//! Sound in a client of roomful: Opus, its redundancy (RFC 2198), a jitter buffer, resampling and voice
//! processing.
//!
//! Samples are interleaved 16-bit integers. Nothing here opens a device or a socket or reads a clock: time
//! is an argument, so that a simulation can run hours of a call in a second.
#![forbid(unsafe_code)]

pub mod jitter;
pub mod mix;
pub mod opus;
pub mod playout;
pub mod processing;
pub mod resample;
pub mod source;
