//! harness

pub mod keyed;
pub mod postgres;
