//! Master key and data keys (design 4.6).
