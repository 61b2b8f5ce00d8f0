//! Data keys for tests that need a keyed hash and no whole server.

use std::sync::Arc;

use chancery::clock::Timestamp;
use chancery::entropy::SystemEntropy;
use chancery::seal::{DataKeyRecord, DataKeys, MasterKey, Purpose, new_data_key};
use chancery::service::keyed::Keyed;

/// Under keys that nobody else has.
pub fn keyed() -> Keyed {
    let (master, _) = MasterKey::generate(&SystemEntropy).unwrap();
    let record = |(id, purpose)| DataKeyRecord {
        id,
        purpose,
        sealed: new_data_key(&master, &SystemEntropy, id, purpose),
        created_at: Timestamp::from_seconds(0),
        retired_at: None,
        compromised_at: None,
    };
    let records: Vec<_> = (1..).zip(Purpose::ALL).map(record).collect();
    let keys = Arc::new(DataKeys::open_records(&master, &records, Timestamp::from_seconds(1), None).unwrap());
    Keyed::new(move || Arc::clone(&keys))
}
