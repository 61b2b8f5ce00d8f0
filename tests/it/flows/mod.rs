//! flows

mod cli;
mod health;
mod process;
mod serve;
mod server;
