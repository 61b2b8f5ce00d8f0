//! jobs
pub mod key_rotation;
