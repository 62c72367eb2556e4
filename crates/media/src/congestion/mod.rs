//! Sending within what a path takes: the send queue of a transport and transport-wide congestion control.

pub mod allowance;
pub mod estimator;
pub mod outgoing;
pub mod pacer;
pub mod remote;
pub mod twcc;

pub use outgoing::{Outgoing, SendExtensions};
pub use pacer::{Priority, SendQueue, SendQueueConfig};
