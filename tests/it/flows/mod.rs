//! flows

mod cli;
mod server;
