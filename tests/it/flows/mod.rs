//! flows

mod server;
