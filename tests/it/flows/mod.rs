//! flows

mod cli;
mod health;
mod process;
mod server;
