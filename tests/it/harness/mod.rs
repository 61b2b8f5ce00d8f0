//! harness

pub mod postgres;
