//! Refresh tokens: one row per family, for ever (design 4.2). A pure state machine: a family, a presentation, `now`; out comes what to do.
//!
//! A token is `family id ‖ generation ‖ MAC`, and nothing per token is stored. [`admit`] holds the checks that come before the
//! generation is looked at: a failure there refuses and changes nothing, since only a presentation that passes all of them can be
//! theft. [`present`] then looks at the generation. Whoever applies an [`Outcome`] does so with one conditional UPDATE that repeats
//! what was read; if no row answers, the family is read again and decided once more: a lost race is never theft by itself.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::oauth::client::RefreshRotation;
use crate::oauth::grant::Grant;
use crate::oauth::refusal::{Effect, Reason, Refusal};
use crate::secret::{Secret, constant_time_eq};

#[cfg(test)]
mod model;

/// How long after its first redemption a burst receives the head. Never extended.
pub const BURST: Duration = Duration::from_secs(10);

/// What every refresh token begins with, so that people and secret scanners recognise one, and other artefacts never parse as one.
const PREFIX: &str = "chr_";

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
    /// When `previous` was first redeemed.
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

/// A refresh token taken apart. Nothing in it is proved until its MAC was compared.
#[derive(Clone, PartialEq, Eq)]
pub struct Presented {
    pub family_id: Uuid,
    pub generation: i64,
    mac: [u8; 32],
}

/// What the rules depend on beside the family itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The client's `refresh_rotation`; [`RefreshRotation::None`] for `profile: "fapi2"`.
    pub rotation: RefreshRotation,
    /// The client authenticated, or the family is bound to a key of the sender: a stolen token alone is worth nothing.
    pub confidential_or_bound: bool,
    /// The client's `refresh_recovery`.
    pub recovery: Duration,
}

/// What to do with an admitted presentation. The family in it is the row after the answer, and its `generation` the token to hand out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The same token again; only last use moves.
    Same(Family),
    /// A fresh generation.
    Rotate(Family),
    /// The head of the chain as it stands: a retry, or another tab.
    Head(Family),
    /// No. A theft carries the end of the grant as its effect.
    Refuse(Refusal),
}

/// Writes the token: `chr_` and 75 characters of base64url.
pub fn encode(family_id: Uuid, generation: i64, mac: &[u8; 32]) -> Secret<String> {
    let mut raw = [0; 56];
    let (id, rest) = raw.split_at_mut(16);
    let (number, tail) = rest.split_at_mut(8);
    id.copy_from_slice(family_id.as_bytes());
    number.copy_from_slice(&generation.to_be_bytes());
    tail.copy_from_slice(mac);
    Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(raw)))
}

impl Presented {
    /// Reads a token; `None` unless it has exactly the form that [`encode`] gives.
    pub fn parse(token: &str) -> Option<Self> {
        let encoded = token.strip_prefix(PREFIX)?;
        if encoded.len() != 75 {
            return None;
        }
        let raw: [u8; 56] = URL_SAFE_NO_PAD.decode(encoded).ok()?.try_into().ok()?;
        let (id, rest) = raw.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let mac = rest.first_chunk::<32>()?;
        let generation = i64::from_be_bytes(*number);
        (generation >= 1).then_some(Self { family_id: Uuid::from_bytes(*id), generation, mac: *mac })
    }

    /// Compares the MAC, in constant time. `expected` is `None` when the family's data key is gone or compromised.
    pub fn is_genuine(&self, expected: Option<&[u8; 32]>) -> bool {
        expected.is_some_and(|expected| constant_time_eq(expected, &self.mac))
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("family_id", &self.family_id)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// The checks that come before the generation is looked at, in the order of design 4.2; client authentication lies behind us.
/// `genuine` says whether the MAC holds, `idle` is `[lifetimes] refresh_idle`.
///
/// # Errors
/// `RefreshTokenOfAnotherClient`, `RefreshTokenUnknown`, `RefreshFamilyEnded`, `RefreshFamilyIdle`, `RefreshFamilyExpired`: none of
/// them changes anything.
pub fn admit(family: &Family, client_id: &str, genuine: bool, idle: Duration, now: Timestamp) -> Result<(), Reason> {
    let now = family.not_before_last_use(now);
    // RFC 6749 §6, §10.4: bound to the client to which it was issued.
    if family.client_id != client_id {
        return Err(Reason::RefreshTokenOfAnotherClient {
            issued_to: family.client_id.clone(),
            presented_by: client_id.to_owned(),
        });
    }
    if !genuine {
        return Err(Reason::RefreshTokenUnknown);
    }
    if let Some(ended_at) = family.ended_at {
        return Err(Reason::RefreshFamilyEnded { ended_at, because: family.ended_because.clone().unwrap_or_default() });
    }
    let idle_end = family.last_used_at.plus(idle);
    if now >= idle_end {
        return Err(Reason::RefreshFamilyIdle { last_used_at: family.last_used_at, expired_at: idle_end, now });
    }
    if now >= family.expires_at {
        return Err(Reason::RefreshFamilyExpired { expired_at: family.expires_at, now });
    }
    Ok(())
}

/// Decides about one generation of a family that [`admit`] let through.
pub fn present(family: &Family, generation: i64, facts: &Facts, now: Timestamp) -> Outcome {
    let now = family.not_before_last_use(now);
    if generation > family.generation {
        // A right MAC for a generation that was never handed out: the database lost commits. Nobody's theft.
        return Outcome::Refuse(Refusal {
            reason: Reason::RefreshTokenAhead { presented: generation, current: family.generation },
            effect: Effect::ReportLoss(family.grant_id),
        });
    }
    if generation == family.generation {
        return match facts.rotation {
            RefreshRotation::None => Outcome::Same(family.used(now)),
            RefreshRotation::Recover | RefreshRotation::Strict => Outcome::Rotate(family.rotated(now)),
        };
    }
    match facts.rotation {
        RefreshRotation::Strict => family.theft(generation, now),
        // Without rotation nothing is ever behind the head, unless the client's setting was changed in between.
        RefreshRotation::Recover | RefreshRotation::None => behind_the_head(family, generation, facts, now),
    }
}

/// A generation older than the head, under `recover`.
fn behind_the_head(family: &Family, generation: i64, facts: &Facts, now: Timestamp) -> Outcome {
    // Retries and simultaneous tabs all hold the same token.
    if family.in_burst(now) && family.was_redeemed_in_burst(generation) {
        return Outcome::Head(family.used(now));
    }
    // `previous` still names this generation, so the head was never used: its bearer never received the answer, or is the second of two
    // between whom the burst ended. A fresh head would kill the one that the first has just received.
    if generation == family.previous {
        let redeemed_at = family.previous_redeemed_at.unwrap_or(family.created_at);
        if facts.confidential_or_bound || now.since(redeemed_at) < BURST {
            return Outcome::Head(family.used(now));
        }
        if now.since(redeemed_at) < facts.recovery {
            return Outcome::Rotate(family.recovered(now));
        }
        return Outcome::Refuse(
            Reason::RefreshRecoveryOver { presented: generation, current: family.generation, redeemed_at, now }.into(),
        );
    }
    family.theft(generation, now)
}

/// What the edge brings for a new family: randomness, and the id of the data key of the day.
#[derive(Debug, Clone, Copy)]
pub struct Seed {
    pub id: Uuid,
    pub salt: [u8; 16],
    pub key_id: i64,
}

impl Family {
    /// The family of a grant's first refresh token. It ends `lifetime` after `now` (`[lifetimes] refresh`), and never outlives its grant.
    pub fn begin(grant: &Grant, seed: Seed, lifetime: Duration, now: Timestamp) -> Self {
        Self {
            id: seed.id,
            grant_id: grant.id,
            client_id: grant.client_id.clone(),
            salt: seed.salt,
            key_id: seed.key_id,
            generation: 1,
            previous: 0,
            previous_redeemed_at: None,
            burst_first: 0,
            burst_recovered: 0,
            burst_started_at: None,
            created_at: now,
            last_used_at: now,
            expires_at: now.plus(lifetime).min(grant.expires_at),
            ended_at: None,
            ended_because: None,
        }
    }

    /// The bytes under the MAC of one generation: family id, salt, generation, each of fixed length.
    pub fn mac_message(&self, generation: i64) -> [u8; 40] {
        let mut message = [0; 40];
        let (id, rest) = message.split_at_mut(16);
        let (salt, number) = rest.split_at_mut(16);
        id.copy_from_slice(self.id.as_bytes());
        salt.copy_from_slice(&self.salt);
        number.copy_from_slice(&generation.to_be_bytes());
        message
    }

    /// Was anything redeemed from this family since it was made?
    pub fn was_used(&self) -> bool {
        self.previous > 0 || self.last_used_at > self.created_at
    }

    /// A machine whose clock stepped back must not revive a burst or a lifetime that was over.
    fn not_before_last_use(&self, now: Timestamp) -> Timestamp {
        now.max(self.last_used_at)
    }

    fn in_burst(&self, now: Timestamp) -> bool {
        self.burst_started_at.is_some_and(|started| now.since(started) < BURST)
    }

    fn was_redeemed_in_burst(&self, generation: i64) -> bool {
        let in_run = self.burst_first > 0 && generation >= self.burst_first && generation < self.generation;
        in_run || (self.burst_recovered > 0 && generation == self.burst_recovered)
    }

    /// Only last use moves.
    fn used(&self, now: Timestamp) -> Self {
        Self { last_used_at: now, ..self.clone() }
    }

    /// The head was redeemed: it becomes `previous`, and joins the present burst or begins one.
    fn rotated(&self, now: Timestamp) -> Self {
        let mut after = Self {
            generation: self.generation.saturating_add(1),
            previous: self.generation,
            previous_redeemed_at: Some(now),
            last_used_at: now,
            ..self.clone()
        };
        if !self.in_burst(now) {
            after.burst_first = self.generation;
            after.burst_recovered = 0;
            after.burst_started_at = Some(now);
        }
        after
    }

    /// A public client's late recovery: a fresh head, and the old one is dead. The recovery begins a burst of its own, so that tabs
    /// that wake up together all receive the same head; the time of the first redemption stays, so that recovery has an end.
    fn recovered(&self, now: Timestamp) -> Self {
        let head = self.generation.saturating_add(1);
        Self {
            generation: head,
            burst_first: head,
            burst_recovered: self.previous,
            burst_started_at: Some(now),
            last_used_at: now,
            ..self.clone()
        }
    }

    /// The family and every token issued from its grant are revoked (RFC 9700 §4.14.2).
    fn theft(&self, presented: i64, now: Timestamp) -> Outcome {
        Outcome::Refuse(Refusal {
            reason: Reason::RefreshTokenStolen {
                presented,
                current: self.generation,
                redeemed_at: self.previous_redeemed_at.unwrap_or(self.last_used_at),
                now,
            },
            effect: Effect::EndGrant(self.grant_id),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oauth::grant::samples::{self, at};

    const RECOVERY: Duration = Duration::from_secs(3600);
    const IDLE: Duration = Duration::from_secs(30 * 86_400);
    const PUBLIC: Facts = Facts { rotation: RefreshRotation::Recover, confidential_or_bound: false, recovery: RECOVERY };
    const CONFIDENTIAL: Facts = Facts { confidential_or_bound: true, ..PUBLIC };
    const STRICT: Facts = Facts { rotation: RefreshRotation::Strict, ..CONFIDENTIAL };
    const UNROTATED: Facts = Facts { rotation: RefreshRotation::None, ..CONFIDENTIAL };

    fn fresh() -> Family {
        samples::family()
    }

    fn rotate(family: &Family, generation: i64, facts: &Facts, now: Timestamp) -> Family {
        match present(family, generation, facts, now) {
            Outcome::Rotate(after) => after,
            other => panic!("{generation} at {now:?} should rotate: {other:?}"),
        }
    }

    fn head(family: &Family, generation: i64, facts: &Facts, now: Timestamp) -> Family {
        match present(family, generation, facts, now) {
            Outcome::Head(after) => after,
            other => panic!("{generation} at {now:?} should receive the head: {other:?}"),
        }
    }

    fn refuse(family: &Family, generation: i64, facts: &Facts, now: Timestamp) -> Refusal {
        match present(family, generation, facts, now) {
            Outcome::Refuse(refusal) => refusal,
            other => panic!("{generation} at {now:?} should be refused: {other:?}"),
        }
    }

    fn is_theft(refusal: &Refusal) -> bool {
        matches!(refusal.reason, Reason::RefreshTokenStolen { .. }) && refusal.effect == Effect::EndGrant(Uuid::from_u128(2))
    }

    #[test]
    fn a_token_reads_back_as_it_was_written() {
        let id = Uuid::from_u128(0x0123_4567_89ab_cdef);
        let token = encode(id, 42, &[9; 32]);
        let read = Presented::parse(token.expose()).unwrap();
        assert_eq!((read.family_id, read.generation), (id, 42));
        assert!(read.is_genuine(Some(&[9; 32])));
        assert!(!read.is_genuine(Some(&[8; 32])));
        assert!(!read.is_genuine(None));
        assert!(!format!("{read:?}").contains("mac"));
    }

    #[test]
    fn nothing_but_a_refresh_token_reads_as_one() {
        let token = encode(Uuid::from_u128(5), 1, &[1; 32]).expose().clone();
        let zero = encode(Uuid::from_u128(5), 0, &[1; 32]).expose().clone();
        let negative = encode(Uuid::from_u128(5), -1, &[1; 32]).expose().clone();
        let (padded, longer, upper) = (format!("{token}="), format!("{token}A"), token.to_uppercase());
        for wrong in
            ["", "chr_", "eyJhbGciOiJSUzI1NiJ9.e30.AA", &token[4..], &token[..78], &padded, &longer, &upper, &zero, &negative]
        {
            assert_eq!(Presented::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_is_written_the_same_way(text in "(chr_)?[A-Za-z0-9_-]{70,80}", noise in ".{0,100}") {
            for candidate in [text, noise] {
                if let Some(read) = Presented::parse(&candidate) {
                    let written = encode(read.family_id, read.generation, &read.mac);
                    prop_assert_eq!(written.expose(), &candidate);
                }
            }
        }
    }

    #[test]
    fn the_mac_covers_family_salt_and_generation() {
        let family = fresh();
        let other_salt = Family { salt: [8; 16], ..fresh() };
        let other_id = Family { id: Uuid::from_u128(9), ..fresh() };
        assert_ne!(family.mac_message(1), family.mac_message(2));
        assert_ne!(family.mac_message(1), other_salt.mac_message(1));
        assert_ne!(family.mac_message(1), other_id.mac_message(1));
    }

    #[test]
    fn each_check_before_the_generation_refuses_in_its_order() {
        let family = fresh();
        assert_eq!(admit(&family, "app", true, IDLE, at(1)), Ok(()));
        assert!(matches!(admit(&family, "other", false, IDLE, at(1)), Err(Reason::RefreshTokenOfAnotherClient { .. })));
        let ended = Family { ended_at: Some(at(1)), ended_because: Some("revoked".to_owned()), ..fresh() };
        assert_eq!(admit(&ended, "app", false, IDLE, at(2)), Err(Reason::RefreshTokenUnknown));
        assert!(
            matches!(admit(&ended, "app", true, IDLE, at(2)), Err(Reason::RefreshFamilyEnded { because, .. }) if because == "revoked")
        );
        let last_moment = family.last_used_at.plus(IDLE).minus(Duration::from_micros(1));
        assert_eq!(admit(&family, "app", true, IDLE, last_moment), Ok(()));
        assert!(matches!(admit(&family, "app", true, IDLE, family.last_used_at.plus(IDLE)), Err(Reason::RefreshFamilyIdle { .. })));
        let busy = Family { last_used_at: at(180 * 86_400 - 1), ..fresh() };
        assert_eq!(admit(&busy, "app", true, IDLE, at(180 * 86_400 - 1)), Ok(()));
        assert!(matches!(admit(&busy, "app", true, IDLE, at(180 * 86_400)), Err(Reason::RefreshFamilyExpired { .. })));
    }

    #[test]
    fn the_head_rotates() {
        let after = rotate(&fresh(), 1, &PUBLIC, at(5));
        assert_eq!((after.generation, after.previous, after.previous_redeemed_at), (2, 1, Some(at(5))));
        assert_eq!((after.burst_first, after.burst_started_at, after.last_used_at), (1, Some(at(5)), at(5)));
        assert_eq!(after.expires_at, fresh().expires_at, "the absolute end never moves");
    }

    #[test]
    fn retries_and_tabs_in_a_burst_all_hold_the_same_token() {
        let family = rotate(&fresh(), 1, &PUBLIC, at(5));
        assert_eq!(head(&family, 1, &PUBLIC, at(6)).generation, 2);
        let family = rotate(&head(&family, 1, &PUBLIC, at(6)), 2, &PUBLIC, at(7));
        for generation in [1, 2] {
            assert_eq!(head(&family, generation, &PUBLIC, at(14)).generation, 3);
        }
    }

    #[test]
    fn a_burst_is_never_extended() {
        let family = rotate(&fresh(), 1, &PUBLIC, at(0));
        let family = rotate(&family, 2, &PUBLIC, at(9));
        assert_eq!(family.burst_started_at, Some(at(0)));
        assert!(is_theft(&refuse(&family, 1, &PUBLIC, at(10))));
        // And the next redemption begins another.
        let family = rotate(&family, 3, &PUBLIC, at(10));
        assert_eq!((family.burst_first, family.burst_started_at), (3, Some(at(10))));
        assert!(is_theft(&refuse(&family, 2, &PUBLIC, at(10))));
    }

    #[test]
    fn tabs_hold_the_same_token_also_where_a_burst_ends_between_them() {
        let family = rotate(&fresh(), 1, &PUBLIC, at(0));
        let family = rotate(&family, 2, &PUBLIC, at(9));
        for moment in [10, 18] {
            assert_eq!(head(&family, 2, &PUBLIC, at(moment)).generation, 3);
        }
        assert!(is_theft(&refuse(&family, 1, &PUBLIC, at(10))), "for the others the burst is over");
        assert_eq!(rotate(&family, 2, &PUBLIC, at(19)).generation, 4);
    }

    #[test]
    fn a_confidential_client_whose_answer_was_lost_receives_the_head_again_however_late() {
        let family = rotate(&fresh(), 1, &CONFIDENTIAL, at(0));
        let days = at(20 * 86_400);
        let after = head(&family, 1, &CONFIDENTIAL, days);
        assert_eq!((after.generation, after.last_used_at), (2, days));
        // Until the head is used: then it is theft.
        let family = rotate(&family, 2, &CONFIDENTIAL, at(3600));
        assert!(is_theft(&refuse(&family, 1, &CONFIDENTIAL, at(3700))));
    }

    #[test]
    fn a_public_client_recovers_with_a_fresh_head_and_the_old_one_is_dead() {
        let family = rotate(&fresh(), 1, &PUBLIC, at(0));
        let family = rotate(&family, 1, &PUBLIC, at(60));
        assert_eq!((family.generation, family.previous, family.previous_redeemed_at), (3, 1, Some(at(0))));
        assert!(is_theft(&refuse(&family, 2, &PUBLIC, at(61))));
        assert_eq!(rotate(&family, 3, &PUBLIC, at(62)).generation, 4);
    }

    #[test]
    fn tabs_that_wake_up_together_recover_together() {
        let family = rotate(&fresh(), 1, &PUBLIC, at(0));
        let family = rotate(&family, 1, &PUBLIC, at(60));
        assert_eq!(head(&family, 1, &PUBLIC, at(60)).generation, 3);
        // The second tab is a moment later than the first tab's next refresh.
        let family = rotate(&family, 3, &PUBLIC, at(65));
        assert_eq!(head(&family, 1, &PUBLIC, at(69)).generation, 4);
        assert!(is_theft(&refuse(&family, 2, &PUBLIC, at(69))), "the dead head stays dead");
        assert!(is_theft(&refuse(&family, 1, &PUBLIC, at(70))));
    }

    #[test]
    fn recovery_ends_an_hour_after_the_first_redemption_and_revokes_nothing() {
        let family = rotate(&fresh(), 1, &PUBLIC, at(0));
        let family = rotate(&family, 1, &PUBLIC, at(1800));
        let family = rotate(&family, 1, &PUBLIC, at(3599));
        let refusal = refuse(&family, 1, &PUBLIC, at(3609));
        assert!(matches!(refusal.reason, Reason::RefreshRecoveryOver { presented: 1, current: 4, .. }));
        assert_eq!(refusal.effect, Effect::None);
        assert_eq!(rotate(&family, 4, &PUBLIC, at(3700)).generation, 5, "whoever holds the head still may use it");
    }

    #[test]
    fn a_generation_ahead_of_the_head_is_refused_and_revokes_nothing() {
        for facts in [PUBLIC, CONFIDENTIAL, STRICT, UNROTATED] {
            let refusal = refuse(&fresh(), 2, &facts, at(1));
            assert_eq!(refusal.reason, Reason::RefreshTokenAhead { presented: 2, current: 1 });
            assert_eq!(refusal.effect, Effect::ReportLoss(fresh().grant_id));
        }
    }

    #[test]
    fn under_strict_anything_redeemed_before_is_theft() {
        let family = rotate(&fresh(), 1, &STRICT, at(0));
        assert!(is_theft(&refuse(&family, 1, &STRICT, at(0))));
    }

    #[test]
    fn without_rotation_the_same_token_stays_and_only_last_use_moves() {
        match present(&fresh(), 1, &UNROTATED, at(99)) {
            Outcome::Same(after) => assert_eq!(after, Family { last_used_at: at(99), ..fresh() }),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_clock_that_steps_back_does_not_revive_a_burst() {
        let family = rotate(&fresh(), 1, &CONFIDENTIAL, at(0));
        let family = rotate(&family, 2, &CONFIDENTIAL, at(9));
        let family = head(&family, 2, &CONFIDENTIAL, at(20));
        assert!(is_theft(&refuse(&family, 1, &CONFIDENTIAL, at(5))), "its burst was over at 10");
    }
}
