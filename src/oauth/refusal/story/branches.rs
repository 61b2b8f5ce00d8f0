//! The stories of reasons that have branches.

use super::{Story, ago, at};
use crate::oauth::refusal::{FactorBranch, LoginBecause, SignInBranch};
use crate::oauth::registration::{AccessFault, TokenFault};

pub(in crate::oauth::refusal) fn login_required(because: &LoginBecause) -> Story {
    let (happened, received, mend) = match because {
        LoginBecause::NoSession => (
            "nobody is signed in in this browser".to_owned(),
            "no session".to_owned(),
            "Let the client send the person here without prompt=none. In a hidden frame, browsers that block third-party cookies never show the session: renew with a refresh token instead.",
        ),
        LoginBecause::SessionExpired { expired_at, now } => (
            format!("the browser session expired {} ago", ago(*expired_at, *now)),
            format!("a session until {}", at(*expired_at)),
            "Let the client send the person here without prompt=none. If sessions should last longer: [lifetimes] session_idle and session.",
        ),
        LoginBecause::SessionEnded => (
            "the browser session was ended: signed out, or ended by an operator".to_owned(),
            "an ended session".to_owned(),
            "Let the client send the person here without prompt=none.",
        ),
        LoginBecause::MaxAge { max_age, age } => (
            format!("the client allows a sign-in of at most {max_age} seconds ago, and it was {age} seconds ago"),
            format!("auth_time {age} seconds ago"),
            "Let the client send the person here without prompt=none, or raise max_age (or the client's default_max_age).",
        ),
        LoginBecause::PromptLogin => {
            ("the client asked for a new sign-in".to_owned(), "prompt=login".to_owned(), "Nothing is broken: the person signs in.")
        }
        LoginBecause::OtherUser => (
            "somebody else is signed in than the id_token_hint or the claims parameter names".to_owned(),
            "a session of another person".to_owned(),
            "Let the client drop its own session and send the person here without hint and without prompt=none.",
        ),
        LoginBecause::UserDisabled => (
            "the person's account is disabled".to_owned(),
            "a session of a disabled account".to_owned(),
            "If the account should work again: `chancery user enable`.",
        ),
        LoginBecause::SecondFactor => (
            "a second factor is demanded, and none was proved when the person signed in".to_owned(),
            "a session that was begun with less".to_owned(),
            "Let the client send the person here without prompt=none, where they prove it. Who demands it: second_factor of the client, else [factors] second_factor.",
        ),
    };
    Story::new(format!("The person has to sign in, and the client forbade to ask (prompt=none): {happened}."), mend)
        .expected("a live session of the right person that is young enough")
        .received(received)
}

pub(in crate::oauth::refusal) fn initial_access_token(because: &TokenFault) -> Story {
    let make = "`chancery registration token add` makes another one.";
    let story = match because {
        TokenFault::Unknown => Story::new(
            "The initial access token is none that was made here, or it was removed.",
            format!("Compare it with the one that was printed: it was shown once. {make}"),
        )
        .received("another token; its value is not recorded"),
        TokenFault::Expired { id, expired_at, now } => {
            Story::new(format!("The initial access token {id} expired {} ago.", ago(*expired_at, *now)), make)
                .received(format!("one that was good until {}", at(*expired_at)))
        }
        TokenFault::Spent { id, registrations } => Story::new(
            format!("The initial access token {id} was good for {registrations} registrations, and all were used."),
            make,
        )
        .received("one without a registration left"),
    };
    story.expected("an initial access token with a registration left")
}

pub(in crate::oauth::refusal) fn registration_access(client_id: &str, because: AccessFault) -> Story {
    let (happened, mend) = match because {
        AccessFault::NoSuchClient => (
            "There is no client of this id: it removed itself, was removed by an operator, or was never used and went by itself.",
            "Let it register once more. How long clients live that were never used is unused_lifetime, and open_unused_lifetime, in [registration]."
                .to_owned(),
        ),
        AccessFault::NotDynamic => (
            "An operator registered this client, so there is no registration access token for it.",
            format!("Change it by `chancery client update {client_id}`."),
        ),
        AccessFault::WrongToken => (
            "The registration access token is not this client's, or not any more: each change of the client makes a new one, whose first use, or an hour, ends the one before.",
            format!("Let the client keep the token of the latest answer. If it is lost: `chancery client update {client_id}`."),
        ),
        AccessFault::KeptByOperators => (
            "An operator changed what this client had registered, which ended its registration access token: what was taken away stays away.",
            format!("Change it by `chancery client update {client_id}`, or remove it and let it register once more."),
        ),
        AccessFault::ClientDisabled => (
            "The client is disabled, and so is its registration access token.",
            format!("If it should work again: `chancery client enable {client_id}`."),
        ),
    };
    Story::new(happened, mend)
        .expected("the registration access token of the client's latest answer")
        .received(format!("a token for {client_id}"))
}

pub(in crate::oauth::refusal) fn sign_in_failed(branch: SignInBranch) -> Story {
    let (happened, mend) = match branch {
        SignInBranch::UnknownUser => (
            "Somebody typed a username that does not exist.",
            "Compare with `chancery user list`. What was typed is stored as a keyed hash only, since it is often a password.",
        ),
        SignInBranch::WrongPassword => (
            "The password was wrong.",
            "If the person forgot it: `chancery user set-password`. Many failures from one address are guessing.",
        ),
        SignInBranch::EmptyPassword => {
            ("The password was empty.", "Look whether the person's browser or password manager fills the form.")
        }
        SignInBranch::PasswordTooLong => {
            ("The password was longer than 128 characters.", "A shorter password; nobody could have set this one.")
        }
        SignInBranch::UserDisabled => (
            "The person's account is disabled.",
            "If it should work again: `chancery user enable`. The person saw the same page as after a wrong password.",
        ),
        SignInBranch::NoPassword => ("The person has no password.", "Set one: `chancery user set-password`."),
    };
    Story::new(happened, mend)
}

pub(in crate::oauth::refusal) fn factor_failed(branch: FactorBranch) -> Story {
    let (happened, mend) = match branch {
        FactorBranch::WrongCode => (
            "The password was right, and the code of the authenticator app was wrong.",
            "If it happens to one person again and again, the clock of their phone is off by more than half a minute, or the app holds another account's entry. Many failures for one account after right passwords: somebody else knows the password.",
        ),
        FactorBranch::CodeReplayed => (
            "The code of the authenticator app was right, but it or a later one was used before.",
            "Each code counts once: let the person wait for the next one, at most 30 seconds. If they did not use it themselves, somebody read it over their shoulder and knows their password.",
        ),
        FactorBranch::NoApp => (
            "A code of an authenticator app was sent, and the person has none.",
            "Nothing is broken if it was removed while the page was open. Else somebody sends forms by hand.",
        ),
        FactorBranch::SecretLost => (
            "The secret of the person's authenticator app does not open: its data key was declared compromised.",
            "Let the person sign in with a recovery code and enrol the app anew. Without one: `chancery user reset-factors`.",
        ),
        FactorBranch::WrongRecoveryCode => (
            "The password was right, and the recovery code is none of the person's.",
            "Recovery codes are made anew on the account page, and those of an older list are worth nothing. If the person has lost them all: `chancery user reset-factors`.",
        ),
        FactorBranch::RecoveryCodeUsed => (
            "The recovery code was used before: each counts once.",
            "Let the person take the next one of their list, and make a new list on the account page. If they did not use it themselves, the list is in other hands: `chancery user reset-factors`.",
        ),
        FactorBranch::PasskeyMalformed => (
            "What came in the place of a passkey is nothing that our script sends.",
            "Somebody sends forms by hand, or an extension of the browser meddles with the page.",
        ),
        FactorBranch::PasskeyUnknown => (
            "The passkey is none that this person, or anybody here, has enrolled.",
            "It was removed from the account and is still in the device: let the person remove it there, or enrol it anew on the account page.",
        ),
        FactorBranch::PasskeyElsewhere => (
            "The answer of the passkey was made for another site or page, or the page had been open for too long.",
            "If it happens to everybody, compare [server] issuer with the address that people see in their browsers: passkeys are bound to it. Else somebody tries answers that were made elsewhere.",
        ),
        FactorBranch::PasskeyNotVerified => (
            "The authenticator did not verify its person by fingerprint, face or PIN, which signing in without a password needs.",
            "Let the person set a PIN on the security key, or sign in with password and key.",
        ),
        FactorBranch::PasskeySignature => {
            ("The signature of the passkey does not hold.", "Somebody tries to forge it. Nothing is to be done.")
        }
        FactorBranch::PasskeyCopied => (
            "The counter of the passkey went backwards: two copies of its key may be at work.",
            "Ask the person. If they know of no copy, remove the passkey: `chancery user reset-factors`.",
        ),
        FactorBranch::PasskeyReplayed => (
            "The same answer of the passkey was sent before.",
            "Nothing is broken if a form was sent twice. Else somebody recorded it.",
        ),
        FactorBranch::PasskeyOfDisabled => {
            ("The passkey is right, and its person's account is disabled.", "If it should work again: `chancery user enable`.")
        }
    };
    Story::new(happened, mend)
}
