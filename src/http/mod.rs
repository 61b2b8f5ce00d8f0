//! The HTTP edge: listeners, layers, extractors, handlers. Everything here turns bytes into calls of `service` and back; no rule of
//! a protocol is decided here.

pub mod error;
pub mod extract;
pub mod health;
pub mod layers;
pub mod pages;
pub mod server;
