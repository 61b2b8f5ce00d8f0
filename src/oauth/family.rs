//! Refresh tokens: one row per family, for ever (design 4.2). A pure state machine: a family, a presentation, `now`; out comes what to do.

use uuid::Uuid;

use crate::clock::Timestamp;

/// A refresh-token family as the store holds it. Nothing per token is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    pub id: Uuid,
    pub grant_id: Uuid,
    /// RFC 6749 §6: refresh tokens are bound to the client to which they were issued.
    pub client_id: String,
    /// Random, part of what the MAC covers.
    pub salt: [u8; 16],
    /// Id of the data key under which the MAC is made.
    pub key_id: i64,
    /// The head of the chain. Generations count from 1.
    pub generation: i64,
    /// The generation whose redemption made the present head; 0 while nothing was redeemed.
    pub previous: i64,
    /// When `previous` was redeemed, i.e. the head was first made available for it.
    pub previous_redeemed_at: Option<Timestamp>,
    /// From this generation up to the head, all were redeemed in the present burst; 0 while there was none.
    pub burst_first: i64,
    /// The generation whose late recovery began the present burst; 0 if a redemption of the head began it.
    pub burst_recovered: i64,
    /// When the present burst began.
    pub burst_started_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    /// The absolute end.
    pub expires_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub ended_because: Option<String>,
}
