//! Whether a second factor has to be proved, or should be (OpenID Connect Core §3.1.2.1, §5.5.1.1).

use super::{Asked, Known, Progress, SessionFacts};
use crate::oidc::authentication::Acr;

/// Why a second factor is asked for.
pub(super) enum Wanted {
    Demanded,
    Wished,
    /// It is a condition, and this person cannot meet it, or did not when asked.
    Unmet,
}

/// Must, or should, a second factor be proved for this request?
pub(super) fn missing_factor(asked: &Asked<'_>, known: &Known<'_>, progress: &Progress, session: &SessionFacts) -> Option<Wanted> {
    if session.level < asked.demand.level() {
        return Some(Wanted::Demanded);
    }
    // §5.5.1.1: one of these, or no answer.
    if let Some(least) = Acr::least_of(&asked.request.essential_acr) {
        if session.level >= least {
            return None;
        }
        let can = Acr::wished(&asked.request.essential_acr, known.reachable).is_some();
        return Some(if can && !progress.stepped_up { Wanted::Demanded } else { Wanted::Unmet });
    }
    // Asked once: whoever could have proved more and did not is not asked for ever.
    if progress.stepped_up {
        return None;
    }
    let wished = Acr::wished(&asked.request.acr_values, known.reachable.max(session.level))?;
    (session.level < wished).then_some(Wanted::Wished)
}
