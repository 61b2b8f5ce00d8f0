//! The data keys: one ring per purpose, all in memory, ready for use.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::cipher::{self, Cipher, KEY_LEN};
use super::{MasterKey, SealError};
use crate::clock::Timestamp;
use crate::entropy::{self, Entropy};
use crate::secret::Secret;

/// What a data key is for. No two purposes share a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Seals private signing keys.
    Signing,
    /// The MAC of refresh tokens, and what follows a registration access token.
    Refresh,
    /// Seals the grant into `jti`, and whole opaque access tokens.
    Token,
    /// The keyed hash of device user codes.
    UserCode,
    /// CSRF tokens and what browser cookies carry.
    Cookie,
    /// Pagination cursors.
    Cursor,
    /// The keyed hash of identifiers that must not be stored as typed.
    Lookup,
    /// Seals the secrets of authenticator apps.
    Factor,
    /// Makes pairwise subjects. Its first key does, whatever came after it.
    Subject,
}

impl Purpose {
    /// Every purpose, in a fixed order.
    pub const ALL: [Self; 9] = [
        Self::Signing,
        Self::Refresh,
        Self::Token,
        Self::UserCode,
        Self::Cookie,
        Self::Cursor,
        Self::Lookup,
        Self::Factor,
        Self::Subject,
    ];

    /// The name in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Refresh => "refresh",
            Self::Token => "token",
            Self::UserCode => "user_code",
            Self::Cookie => "cookie",
            Self::Cursor => "cursor",
            Self::Lookup => "lookup",
            Self::Factor => "factor",
            Self::Subject => "subject",
        }
    }

    /// The purpose of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == name)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A data key as the database holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKeyRecord {
    /// 1 to 2³² - 1; what sealed values and MACs name.
    pub id: i64,
    pub purpose: Purpose,
    /// The 32 bytes under the master key, bound to id and purpose.
    pub sealed: Vec<u8>,
    pub created_at: Timestamp,
    /// Since when a newer key seals; this one still opens.
    pub retired_at: Option<Timestamp>,
    /// Since when nothing under this key is believed any more.
    pub compromised_at: Option<Timestamp>,
}

/// A fresh data key, sealed under the master key for its row.
pub fn new_data_key(master: &MasterKey, entropy: &dyn Entropy, id: i64, purpose: Purpose) -> Vec<u8> {
    let key = Secret::new(entropy::bytes::<KEY_LEN>(entropy));
    master.seal(entropy, &context(id, purpose), key.expose())
}

/// All data keys that are believed, by purpose. Immutable: a rotation makes a new one.
pub struct DataKeys {
    rings: [Ring; 9],
}

/// The keys of one purpose: the oldest, the one that seals, and all that open.
struct Ring {
    first: Arc<Cipher>,
    current: Arc<Cipher>,
    all: HashMap<u32, Arc<Cipher>>,
}

impl DataKeys {
    /// Opens the records. `seals_after` says which key seals: the newest created by then, so that no replica uses a key that
    /// another has not loaded yet; if all are younger, the oldest of them. Compromised keys are left out. `known` saves the work
    /// for keys that were opened before, and lets a process go on while its master key is being replaced.
    pub fn open_records(
        master: &MasterKey,
        records: &[DataKeyRecord],
        seals_after: Timestamp,
        known: Option<&DataKeys>,
    ) -> Result<Self, SealError> {
        let ring = |purpose: Purpose| -> Result<Ring, SealError> {
            let mut live: Vec<&DataKeyRecord> =
                records.iter().filter(|record| record.purpose == purpose && record.compromised_at.is_none()).collect();
            live.sort_by_key(|record| (record.created_at, record.id));
            let mut all = HashMap::new();
            for record in &live {
                let id = u32::try_from(record.id).map_err(|_| SealError::Damaged(record.id))?;
                let cipher = match known.and_then(|known| known.ring(purpose).all.get(&id)) {
                    Some(cipher) => Arc::clone(cipher),
                    None => Arc::new(open_one(master, record, id)?),
                };
                all.insert(id, cipher);
            }
            let found = |record: Option<&&DataKeyRecord>| {
                let id = record.and_then(|record| u32::try_from(record.id).ok());
                id.and_then(|id| all.get(&id)).map(Arc::clone).ok_or(SealError::NoKey(purpose.as_str()))
            };
            let usable = live.iter().rev().find(|record| record.created_at <= seals_after);
            let (first, current) = (found(live.first())?, found(usable.or(live.first()))?);
            Ok(Ring { first, current, all })
        };
        let [a, b, c, d, e, f, g, h, i] = Purpose::ALL.map(ring);
        Ok(Self { rings: [a?, b?, c?, d?, e?, f?, g?, h?, i?] })
    }

    /// Seals `plain` under the purpose's current key, bound to `context`.
    pub fn seal(&self, purpose: Purpose, entropy: &dyn Entropy, context: &[u8], plain: &[u8]) -> Vec<u8> {
        self.ring(purpose).current.seal(entropy, context, plain)
    }

    /// Opens what [`DataKeys::seal`] made for the same purpose and context, under any key of the purpose that is still believed.
    pub fn open(&self, purpose: Purpose, context: &[u8], sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let id = cipher::key_id(sealed)?;
        self.ring(purpose).all.get(&id).ok_or(SealError::UnknownKey(id))?.open(context, sealed)
    }

    /// HMAC-SHA-256 of the parts under the purpose's current key, and that key's id.
    pub fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> (i64, [u8; 32]) {
        let current = &self.ring(purpose).current;
        (i64::from(current.id()), current.mac(parts))
    }

    /// The same under the key of that id; `None` if it is unknown or was compromised.
    pub fn mac_with(&self, purpose: Purpose, key_id: i64, parts: &[&[u8]]) -> Option<[u8; 32]> {
        let id = u32::try_from(key_id).ok()?;
        self.ring(purpose).all.get(&id).map(|cipher| cipher.mac(parts))
    }

    /// HMAC-SHA-256 of the parts under each of the purpose's four newest keys, newest first: what was hashed before a rotation is found
    /// after it.
    pub fn recent_macs(&self, purpose: Purpose, parts: &[&[u8]]) -> Vec<[u8; 32]> {
        let mut keys: Vec<(&u32, &Arc<Cipher>)> = self.ring(purpose).all.iter().collect();
        keys.sort_unstable_by(|one, other| other.0.cmp(one.0));
        keys.into_iter().take(4).map(|(_, cipher)| cipher.mac(parts)).collect()
    }

    /// Seals `plain` so that the same text always gives the same value: under the purpose's oldest key, which no rotation replaces unless
    /// the key is declared compromised.
    pub fn seal_same(&self, purpose: Purpose, plain: &[u8]) -> Vec<u8> {
        self.ring(purpose).first.seal_same(plain)
    }

    /// Opens what [`DataKeys::seal_same`] made for the same purpose; `None` if it made nothing of the kind.
    pub fn open_same(&self, purpose: Purpose, sealed: &[u8]) -> Option<Secret<Vec<u8>>> {
        self.ring(purpose).all.values().find_map(|cipher| cipher.open_same(sealed).ok())
    }

    /// HMAC-SHA-256 of the parts under the purpose's oldest key.
    pub fn mac_same(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; 32] {
        self.ring(purpose).first.mac(parts)
    }

    /// The id of the key that seals for this purpose now.
    pub fn current_id(&self, purpose: Purpose) -> i64 {
        i64::from(self.ring(purpose).current.id())
    }

    fn ring(&self, purpose: Purpose) -> &Ring {
        let [signing, refresh, token, user_code, cookie, cursor, lookup, factor, subject] = &self.rings;
        match purpose {
            Purpose::Signing => signing,
            Purpose::Refresh => refresh,
            Purpose::Token => token,
            Purpose::UserCode => user_code,
            Purpose::Cookie => cookie,
            Purpose::Cursor => cursor,
            Purpose::Lookup => lookup,
            Purpose::Factor => factor,
            Purpose::Subject => subject,
        }
    }
}

impl DataKeyRecord {
    /// The same data key under the newest master key; `None` if it is already.
    pub fn rewrapped(&self, master: &MasterKey, entropy: &dyn Entropy) -> Result<Option<Vec<u8>>, SealError> {
        if master.is_newest(&self.sealed) {
            return Ok(None);
        }
        let context = context(self.id, self.purpose);
        let plain = master.open(&context, &self.sealed)?;
        Ok(Some(master.seal(entropy, &context, plain.expose())))
    }
}

impl fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKeys(…)")
    }
}

fn open_one(master: &MasterKey, record: &DataKeyRecord, id: u32) -> Result<Cipher, SealError> {
    let plain = master.open(&context(record.id, record.purpose), &record.sealed)?;
    let key: &[u8; KEY_LEN] = plain.expose().as_slice().try_into().map_err(|_| SealError::Damaged(record.id))?;
    Cipher::new(id, key)
}

fn context(id: i64, purpose: Purpose) -> Vec<u8> {
    format!("chancery data key {id} {purpose}").into_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    const T0: Timestamp = Timestamp::from_seconds(1_000);

    fn record(master: &MasterKey, id: i64, purpose: Purpose, created_at: Timestamp) -> DataKeyRecord {
        let sealed = new_data_key(master, &SystemEntropy, id, purpose);
        DataKeyRecord { id, purpose, sealed, created_at, retired_at: None, compromised_at: None }
    }

    fn records() -> (MasterKey, Vec<DataKeyRecord>) {
        let (master, _) = MasterKey::generate(&SystemEntropy).unwrap();
        let records = (1..).zip(Purpose::ALL).map(|(id, purpose)| record(&master, id, purpose, T0)).collect();
        (master, records)
    }

    /// Data keys for tests of other rooms.
    pub(crate) fn data_keys() -> DataKeys {
        let (master, records) = records();
        DataKeys::open_records(&master, &records, T0, None).unwrap()
    }

    #[test]
    fn purposes_do_not_open_each_other() {
        let keys = data_keys();
        let sealed = keys.seal(Purpose::Token, &SystemEntropy, b"c", b"plain");
        assert_eq!(keys.open(Purpose::Token, b"c", &sealed).unwrap().expose(), b"plain");
        for purpose in Purpose::ALL {
            assert_eq!(keys.open(purpose, b"c", &sealed).is_ok(), purpose == Purpose::Token, "{purpose}");
        }
    }

    #[test]
    fn mac_parts_do_not_run_into_each_other() {
        let keys = data_keys();
        let (id, mac) = keys.mac(Purpose::Refresh, &[b"ab", b"c"]);
        assert_eq!(keys.mac_with(Purpose::Refresh, id, &[b"ab", b"c"]), Some(mac));
        assert_ne!(keys.mac(Purpose::Refresh, &[b"a", b"bc"]).1, mac);
        assert_ne!(keys.mac(Purpose::Refresh, &[b"abc"]).1, mac);
        assert_ne!(keys.mac(Purpose::Lookup, &[b"ab", b"c"]).1, mac);
        assert_eq!(keys.mac_with(Purpose::Refresh, 99, &[b"ab", b"c"]), None);
        assert_eq!(keys.mac_with(Purpose::Refresh, -1, &[]), None);
    }

    #[test]
    fn a_key_seals_only_when_every_replica_has_had_time_to_load_it() {
        let (master, mut all) = records();
        let later = T0.plus(std::time::Duration::from_secs(100));
        all.push(record(&master, 8, Purpose::Refresh, later));
        let young = DataKeys::open_records(&master, &all, T0, None).unwrap();
        assert_eq!(young.current_id(Purpose::Refresh), 2);
        let old = young.mac(Purpose::Refresh, &[b"x"]);
        let ready = DataKeys::open_records(&master, &all, later, Some(&young)).unwrap();
        assert_eq!(ready.current_id(Purpose::Refresh), 8);
        assert_eq!(ready.mac_with(Purpose::Refresh, old.0, &[b"x"]), Some(old.1));
        assert!(young.mac_with(Purpose::Refresh, 8, &[b"x"]).is_some());
        assert_eq!(ready.recent_macs(Purpose::Refresh, &[b"x"]), [ready.mac(Purpose::Refresh, &[b"x"]).1, old.1]);
    }

    #[test]
    fn a_compromised_key_opens_nothing() {
        let (master, mut all) = records();
        let before = DataKeys::open_records(&master, &all, T0, None).unwrap();
        let sealed = before.seal(Purpose::Cookie, &SystemEntropy, b"", b"x");
        all[4].compromised_at = Some(T0);
        assert_eq!(DataKeys::open_records(&master, &all, T0, Some(&before)).unwrap_err(), SealError::NoKey("cookie"));
        all.push(record(&master, 8, Purpose::Cookie, T0));
        let after = DataKeys::open_records(&master, &all, T0, Some(&before)).unwrap();
        assert_eq!(after.open(Purpose::Cookie, b"", &sealed).unwrap_err(), SealError::UnknownKey(5));
    }

    #[test]
    fn a_rotation_does_not_change_what_must_stay_the_same() {
        let (master, mut all) = records();
        let before = DataKeys::open_records(&master, &all, T0, None).unwrap();
        let sealed = before.seal_same(Purpose::Subject, b"alice");
        assert_eq!(before.seal_same(Purpose::Subject, b"alice"), sealed);
        assert_ne!(before.seal_same(Purpose::Factor, b"alice"), sealed);
        let later = T0.plus(std::time::Duration::from_secs(100));
        all[8].retired_at = Some(later);
        all.push(record(&master, 10, Purpose::Subject, later));
        let rotated = DataKeys::open_records(&master, &all, later, Some(&before)).unwrap();
        assert_eq!(rotated.seal_same(Purpose::Subject, b"alice"), sealed);
        assert_eq!(rotated.mac_same(Purpose::Subject, &[b"x"]), before.mac_same(Purpose::Subject, &[b"x"]));
        all[8].compromised_at = Some(later);
        let replaced = DataKeys::open_records(&master, &all, later, Some(&before)).unwrap();
        assert_ne!(replaced.seal_same(Purpose::Subject, b"alice"), sealed);
        assert!(replaced.open_same(Purpose::Subject, &sealed).is_none());
        assert_eq!(rotated.open_same(Purpose::Subject, &sealed).unwrap().expose(), b"alice");
        assert!(rotated.open_same(Purpose::Subject, b"").is_none());
    }

    #[test]
    fn rows_cannot_be_swapped() {
        let (master, mut all) = records();
        let (first, second) = (all[0].sealed.clone(), all[1].sealed.clone());
        (all[0].sealed, all[1].sealed) = (second, first);
        assert_eq!(DataKeys::open_records(&master, &all, T0, None).unwrap_err(), SealError::DoesNotOpen);
    }

    #[test]
    fn rewrapping_keeps_the_key() {
        let (old, all) = records();
        let (new, _) = MasterKey::generate(&SystemEntropy).unwrap();
        assert_eq!(all[0].rewrapped(&old, &SystemEntropy), Ok(None));
        assert!(all[0].rewrapped(&new, &SystemEntropy).is_err());
    }
}
