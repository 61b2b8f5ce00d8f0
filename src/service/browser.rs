//! What ties a request to a browser: its cookies, and the session behind them. Which cookies carry it is known to the edge alone.

use crate::app::App;
use crate::clock::Timestamp;
use crate::oauth::refusal::Reason;
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::secret::{Digest, Secret};
use crate::service::address::Prefix;
use crate::storage::sessions;

/// What the browser sent that is bound to it: the cookies.
#[derive(Debug, Clone, Default)]
pub struct Browser {
    /// The session cookie's value.
    pub session: Option<Secret<String>>,
    /// The values that bind interactions and CSRF tokens to this browser: one, or several if its first tabs were opened together.
    pub bindings: Vec<Secret<String>>,
    /// What open requests are counted under.
    pub address: Option<Prefix>,
    /// What the person recognises it by: "Firefox · Windows".
    pub device: Option<String>,
}

impl Browser {
    /// The value that new interactions are bound to, if the browser has one already.
    pub fn binding(&self) -> Option<&Secret<String>> {
        self.bindings.first()
    }

    /// Was something with this digest of a binding value begun in this browser?
    pub fn began(&self, bound_to: &Digest) -> bool {
        self.bindings.iter().any(|binding| binding.digest() == *bound_to)
    }
}

/// The signed-in person behind the session cookie, if the session can be found at all.
///
/// # Errors
/// When the database is away.
pub async fn session(app: &App, browser: &Browser) -> Result<Option<(Session, User)>, Reason> {
    match &browser.session {
        Some(cookie) => Ok(sessions::find(&app.db, &cookie.digest()).await?),
        None => Ok(None),
    }
}

/// The session and the person, if they may do something now: enabled, and the session neither ended nor expired. Being here is a use of
/// the session.
///
/// # Errors
/// When the database is away.
pub async fn signed_in(app: &App, browser: &Browser, now: Timestamp) -> Result<Option<(Session, User)>, Reason> {
    let idle = app.config.lifetimes.session_idle;
    let found = session(app, browser).await?.filter(|(session, user)| user.enabled && session.is_live(idle, now));
    if let Some((session, _)) = &found {
        let address = browser.address.map(|address| address.to_string());
        sessions::touch(&app.db, session.id, session.last_used_at, address, now).await?;
    }
    Ok(found)
}
