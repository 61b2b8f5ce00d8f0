//! I/O around the pure core: load facts, decide, apply. Lower than the edges, higher than storage and the core.

pub mod clients;
pub mod document;
pub mod keys;
pub mod master_key;
pub mod operator;
pub mod passwords;
pub mod resources;
pub mod users;

pub mod address;
pub mod decisions;
pub mod keyed;
pub mod throttle;
