//! Clients and resources in memory: what every request needs and few change (design 5).
//!
//! An entry lives at most [`TIME_TO_LIVE`], and is dropped at once when another process changes the SQLite file or PostgreSQL notifies of a
//! change. Nothing else is cached here: codes,
//! families, grants, sessions, revocations and users are always read from the database.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use moka::future::Cache;

use crate::oauth::client::Client;
use crate::oauth::redirect_uri;
use crate::oauth::resource::Catalogue;
use crate::storage::{Db, StoreError};
use crate::storage::{clients, resources};

/// How long a cached entry may be trusted.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(5);
/// Clients read at once when all are needed.
const PAGE: u32 = 500;
/// Entries kept; the least used go first.
const CAPACITY: u64 = 10_000;

/// The bounded cache of clients and of the resource catalogue.
pub struct Registry {
    db: Db,
    issuer: String,
    /// SQLite's number for the state of the file as other processes change it.
    data_version: AtomicI64,
    clients: Cache<String, Arc<Client>>,
    catalogue: Cache<(), Arc<Catalogue>>,
    origins: Cache<(), Arc<HashSet<String>>>,
}

impl Registry {
    /// An empty cache over `db`; `issuer` makes the built-in admin resource.
    pub fn new(db: Db, issuer: &str) -> Self {
        Self {
            db,
            issuer: issuer.to_owned(),
            data_version: AtomicI64::new(0),
            clients: Cache::builder().max_capacity(CAPACITY).time_to_live(TIME_TO_LIVE).build(),
            origins: Cache::builder().max_capacity(1).time_to_live(TIME_TO_LIVE).build(),
            catalogue: Cache::builder().max_capacity(1).time_to_live(TIME_TO_LIVE).build(),
        }
    }

    /// The client with this id, enabled or not.
    ///
    /// # Errors
    /// When the database does not answer and no entry is fresh enough.
    pub async fn client(&self, client_id: &str) -> Result<Option<Arc<Client>>, StoreError> {
        self.notice_changes().await?;
        // Ids that cannot exist are not worth a question: ours are short, and a hostile one could be megabytes.
        if client_id.is_empty() || client_id.len() > 255 {
            return Ok(None);
        }
        if let Some(client) = self.clients.get(client_id).await {
            return Ok(Some(client));
        }
        let Some(client) = clients::find(&self.db, client_id).await?.map(Arc::new) else { return Ok(None) };
        self.clients.insert(client_id.to_owned(), Arc::clone(&client)).await;
        Ok(Some(client))
    }

    /// All resources with the built-in admin API.
    ///
    /// # Errors
    /// When the database does not answer and the entry is not fresh enough.
    pub async fn catalogue(&self) -> Result<Arc<Catalogue>, StoreError> {
        self.notice_changes().await?;
        if let Some(catalogue) = self.catalogue.get(&()).await {
            return Ok(catalogue);
        }
        let catalogue = Arc::new(Catalogue::new(resources::all(&self.db).await?, &self.issuer));
        self.catalogue.insert((), Arc::clone(&catalogue)).await;
        Ok(catalogue)
    }

    /// Does some enabled client have a redirect URI with this origin (RFC 6454)?
    ///
    /// # Errors
    /// When the database does not answer and the entry is not fresh enough.
    pub async fn is_origin(&self, origin: &str) -> Result<bool, StoreError> {
        if let Some(origins) = self.origins.get(&()).await {
            return Ok(origins.contains(origin));
        }
        let mut origins = HashSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = clients::list(&self.db, PAGE, after.as_deref()).await?;
            let uris = page.iter().filter(|client| client.enabled).flat_map(|client| &client.metadata.redirect_uris);
            origins.extend(uris.map(|uri| redirect_uri::origin(uri)));
            match page.last() {
                Some(last) if page.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX) => after = Some(last.client_id.clone()),
                Some(_) | None => break,
            }
        }
        let known = origins.contains(origin);
        self.origins.insert((), Arc::new(origins)).await;
        Ok(known)
    }

    /// SQLite: has another process changed the file since we last asked? Commands run beside the server (design 5).
    async fn notice_changes(&self) -> Result<(), StoreError> {
        if let Some(version) = self.db.data_version().await?
            && self.data_version.swap(version, Ordering::AcqRel) != version
        {
            self.clear();
        }
        Ok(())
    }

    /// Forgets everything: something changed.
    pub fn clear(&self) {
        self.clients.invalidate_all();
        self.catalogue.invalidate_all();
        self.origins.invalidate_all();
    }
}
