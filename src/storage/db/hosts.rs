//! Several hosts in one URL, as PostgreSQL's own programs take them (`postgres://USER@one,two:5433/DATABASE`): the first that takes writes is
//! used, and looked for anew when connections are lost. One host is the usual case; nobody watches it.

use std::str::FromStr as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgPool, Row as _};

use super::trouble::store_error;
use crate::storage::error::StoreError;
use crate::storage::losses::Losses;

/// Between two looks at the hosts, while none is known that takes writes.
const PAUSE: Duration = Duration::from_millis(500);

/// The hosts of one URL, in its order.
pub(super) struct Hosts {
    first: PgConnectOptions,
    others: Vec<PgConnectOptions>,
    /// Which of them is used, 0 for the first.
    current: AtomicUsize,
}

impl Hosts {
    /// What the URL says of each, changed by `each`.
    pub fn of(url: &str, each: impl Fn(PgConnectOptions) -> PgConnectOptions) -> Result<Self, StoreError> {
        let urls = split(url).map_err(|why| StoreError::Unavailable(format!("the database URL {why}")))?;
        let mut all = Vec::with_capacity(urls.len());
        for url in &urls {
            all.push(each(PgConnectOptions::from_str(url).map_err(store_error)?.application_name("chancery")));
        }
        let mut all = all.into_iter();
        let first = all.next().ok_or_else(|| StoreError::Unavailable("the database URL names no host".to_owned()))?;
        Ok(Self { first, others: all.collect(), current: AtomicUsize::new(0) })
    }

    /// The one to connect to.
    pub fn current(&self) -> &PgConnectOptions {
        let current = self.current.load(Ordering::Acquire);
        current.checked_sub(1).and_then(|index| self.others.get(index)).unwrap_or(&self.first)
    }

    /// Looks which host takes writes, all of them at once and for so long at most; that one is the current one from now on, and stays it
    /// while none does. Answers whether another one than before was found, or `None` if there is none.
    pub async fn look(&self, patience: Duration) -> Option<bool> {
        if self.others.is_empty() {
            return Some(false);
        }
        let asked =
            std::iter::once(&self.first).chain(&self.others).map(|options| tokio::time::timeout(patience, takes_writes(options)));
        let writes: Vec<bool> = join_all(asked).await.into_iter().map(|answer| matches!(answer, Ok(Ok(true)))).collect();
        let before = self.current.load(Ordering::Acquire);
        if writes.get(before) == Some(&true) {
            return Some(false);
        }
        let found = writes.iter().position(|writes| *writes)?;
        self.current.store(found, Ordering::Release);
        Some(true)
    }

    /// Leads the pool to another host when the one that it used takes no writes any more. Ends with the hosts.
    pub fn watch(self: &Arc<Self>, pool: &PgPool, losses: &Arc<Losses>, patience: Duration) {
        if !self.others.is_empty() {
            tokio::spawn(watch(Arc::downgrade(self), pool.clone(), Arc::clone(losses), patience));
        }
    }
}

async fn watch(hosts: Weak<Hosts>, pool: PgPool, losses: Arc<Losses>, patience: Duration) {
    let (mut seen, mut is_well) = (losses.last(), true);
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(hosts) = hosts.upgrade().filter(|_| !pool.is_closed()) else { return };
        // Without a connection nobody would notice a loss.
        if losses.last() != seen || pool.size() == 0 {
            (seen, is_well) = (losses.last(), false);
        }
        if is_well {
            continue;
        }
        match hosts.look(patience).await {
            None => {}
            Some(false) => is_well = true,
            Some(true) => {
                tracing::warn!("another of the database's hosts takes writes now: connections lead there");
                pool.set_connect_options(hosts.current().clone());
                losses.note();
                (seen, is_well) = (losses.last(), true);
            }
        }
    }
}

async fn takes_writes(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let mut connection = options.connect().await?;
    let row = sqlx::raw_sql("SELECT pg_is_in_recovery()").fetch_one(&mut connection).await?;
    let recovers: bool = row.try_get(0)?;
    connection.close().await?;
    Ok(!recovers)
}

/// One URL for each host.
fn split(url: &str) -> Result<Vec<String>, String> {
    let (scheme, rest) = url.split_once("://").ok_or("is no URL")?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let (path, query) = tail.split_once('?').map_or((tail, ""), |(path, query)| (path, query));
    let mut kept = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("target_session_attrs", "read-write" | "primary")) => {}
            Some(("target_session_attrs", other)) => {
                return Err(format!("has target_session_attrs={other}; the server writes, so it can be read-write or primary"));
            }
            Some(("host" | "hostaddr" | "port", value)) if value.contains(',') => {
                return Err(
                    "names several hosts in its query; write them where one host stands: postgres://USER@one,two:5433/DATABASE"
                        .to_owned(),
                );
            }
            Some(_) | None => kept.push(parameter),
        }
    }
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    let user = if user.is_empty() { String::new() } else { format!("{user}@") };
    if hosts.contains(',') && hosts.split(',').any(str::is_empty) {
        return Err("names a host without a name".to_owned());
    }
    Ok(hosts.split(',').map(|host| format!("{scheme}://{user}{host}{path}{query}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_several_hosts_is_one_for_each() {
        for url in [
            "postgres://chancery@localhost/x?host=/tmp/a",
            "postgresql://u:p@[::1]:5433",
            "postgres://u@%2Ftmp%2Fa/x",
            "postgres://h",
        ] {
            assert_eq!(split(url), Ok(vec![url.to_owned()]));
        }
        assert_eq!(
            split("postgres://u:a,b%40@one,two:5433,[::1]/x?sslmode=require&target_session_attrs=read-write"),
            Ok(vec![
                "postgres://u:a,b%40@one/x?sslmode=require".to_owned(),
                "postgres://u:a,b%40@two:5433/x?sslmode=require".to_owned(),
                "postgres://u:a,b%40@[::1]/x?sslmode=require".to_owned()
            ])
        );
        assert_eq!(split("postgres://u@one/x?target_session_attrs=primary"), Ok(vec!["postgres://u@one/x".to_owned()]));
        for (url, said) in [
            ("postgres://u@one,two/x?target_session_attrs=standby", "read-write or primary"),
            ("postgres://u@/x?host=one,two", "where one host stands"),
            ("postgres://u@one,/x", "without a name"),
        ] {
            assert!(split(url).unwrap_err().contains(said), "{url}");
        }
    }
}
