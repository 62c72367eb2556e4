//! Sending within what a path takes: the send queue of a transport and transport-wide congestion control.

pub mod allowance;
pub mod estimator;
pub mod pacer;
pub mod remote;
pub mod twcc;

pub use pacer::{Outgoing, Priority, SendExtensions, SendQueue, SendQueueConfig};
