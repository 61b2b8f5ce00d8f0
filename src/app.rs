//! The one composition point.
