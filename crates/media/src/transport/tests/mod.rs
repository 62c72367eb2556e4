//! Two transports against each other, and against an independent peer, over a link in memory.

mod hostile;
mod interop;
mod link;
mod pair;
mod paths;
