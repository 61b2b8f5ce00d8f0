//! flows

mod cli;
mod health;
mod server;
