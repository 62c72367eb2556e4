//! A whole room in one process: the media plane, clients on another WebRTC implementation, and the
//! network between them, on a simulated clock and from a seed.
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod clip;
mod estimator;
mod link;
mod media;
mod meeting;
mod peer;
mod relay;
mod self_test;
mod server;
mod world;

mod clients;
mod codecs;
mod data;
mod encryption;
mod hostile;
mod join;
mod loss;
mod replay;
mod rooms;
mod simulcast;
mod ways;
