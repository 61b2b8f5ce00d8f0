//! Second factors, pure: one-time codes by time, recovery codes, and what enrolling them takes. Facts in, verdict out; where secrets
//! are kept, who is asked when, and what a page looks like is the business of other rooms.

pub mod base32;
pub mod recovery;
pub mod totp;
pub mod webauthn;
