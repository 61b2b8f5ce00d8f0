//! Why a request is refused: rich reasons inside, few codes outside.
//!
//! Every refusal in the server is a [`Reason`], and every reason is a row of [the table](table), which gives it its faces:
//! [`Reason::wire`] is what the caller may see (RFC 6749 §5.2 and relatives), [`Reason::page`] what a person is shown, [`Reason::rule`]
//! names the rule and its source, and [`Reason::story`] is what an operator reads with `chancery explain`: expected, received, first
//! difference, what to do. Nothing that a caller may see tells a registered value, whether a user exists, or another client's data.

mod kept;
mod page;
mod rule;
mod story;
mod table;
#[cfg(test)]
mod tests;
mod wire;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::oauth::device::Pace;

pub use kept::{Keep, Words};
pub use page::{OnPage, PageText};
pub use rule::Rule;
pub use story::Story;
pub use table::Reason;
pub use wire::{Challenge, Wire, sanitise};

/// A request was refused; carried by every decision of the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why, with all that is known. For the decision record.
    pub reason: Reason,
    /// What must happen all the same, in a transaction that commits although the answer is an error.
    pub effect: Effect,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, effect: Effect::None }
    }
}

/// What a refusal changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The grant behind the artefact ends, and with it everything issued from it (RFC 9700 §4.14.2, RFC 6749 §4.1.2).
    EndGrant(uuid::Uuid),
    /// Nothing, but the audit log says that the database has lost what it acknowledged about this grant (design 4.2).
    ReportLoss(uuid::Uuid),
    /// The device asked while nothing was decided: from now on this is the pace of its code (RFC 8628 §3.5).
    KeepPace(Pace),
}

/// Why somebody has to sign in (openid.md C).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum LoginBecause {
    /// No session cookie, or one that we do not know.
    NoSession,
    /// The session was idle for too long or too old.
    SessionExpired { expired_at: Timestamp, now: Timestamp },
    /// The session was ended.
    SessionEnded,
    /// max_age: the last sign-in is too long ago, both in seconds.
    MaxAge { max_age: u64, age: u64 },
    /// prompt=login.
    PromptLogin,
    /// The id_token_hint or the claims parameter names somebody else.
    OtherUser,
    /// The user was disabled.
    UserDisabled,
    /// A second factor is demanded, and the session was begun without one.
    SecondFactor,
}

/// Which branch a failing second factor took. For the decision record only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactorBranch {
    /// Not the code of the present time step, nor of one beside it.
    WrongCode,
    /// A code that was accepted before, or of an earlier time step.
    CodeReplayed,
    /// The person has no authenticator app.
    NoApp,
    /// The app's secret does not open: its data key was declared compromised.
    SecretLost,
    /// Not one of the person's recovery codes.
    WrongRecoveryCode,
    /// A recovery code that was used before.
    RecoveryCodeUsed,
    /// Not what a browser sends for a passkey.
    PasskeyMalformed,
    /// Nobody has this passkey, or it is not this person's.
    PasskeyUnknown,
    /// Made for another site, another page, or too long ago.
    PasskeyElsewhere,
    /// The authenticator did not verify its person where that is needed, or nobody touched it.
    PasskeyNotVerified,
    /// The signature does not hold.
    PasskeySignature,
    /// Its counter went backwards.
    PasskeyCopied,
    /// The same answer was sent before.
    PasskeyReplayed,
    /// The person was disabled.
    PasskeyOfDisabled,
}

/// Which branch a failing sign-in took. For the decision record only: the page is the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInBranch {
    UnknownUser,
    WrongPassword,
    EmptyPassword,
    PasswordTooLong,
    UserDisabled,
    NoPassword,
}
