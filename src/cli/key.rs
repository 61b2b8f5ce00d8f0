//! `chancery key …`: signing keys, the data keys under them, and the master key over all.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::args::{KeyCommand, RotateArgs};
use super::error::CliError;
use super::office::Office;
use super::output::{Out, Table};
use crate::clock::{SystemClock, Timestamp};
use crate::jose::{Alg, KeyLife};
use crate::seal::Purpose;
use crate::service::keys::{By, DataKeyInfo, KeyInfo, Keys, Rotation};
use crate::service::master_key;
use crate::storage::keys as stored;

pub async fn run(file: Option<PathBuf>, command: KeyCommand, out: Out) -> Result<(), CliError> {
    let office = Office::open(file).await?;
    let keys = open(&office).await?;
    match command {
        KeyCommand::List => list(&keys.list().await?, &keys.list_data().await?, &keys.unknown(), out),
        KeyCommand::Rotate(args) => rotate(&office, &keys, &args, out).await,
        KeyCommand::Rewrap => {
            let sealed = keys.rewrap(&by(&office), office.now()).await?;
            if out.json {
                return out.json(&json!({ "sealed_anew": sealed }));
            }
            out.say(&format!("{sealed} data keys were sealed anew under the first master key; no session has ended."))
        }
    }
}

/// The keys of the installation, opened as the server opens them.
pub(super) async fn open(office: &Office) -> Result<Arc<Keys>, CliError> {
    let has_keys = stored::exist(&office.db).await?;
    let master = master_key::load_or_make(&office.config, has_keys, &office.entropy)?;
    let life = KeyLife { rotate_after: office.config.keys.rotate_after, ..KeyLife::default() };
    Ok(Keys::open(&office.db, &master, &SystemClock::default(), Arc::new(office.entropy), life).await?)
}

async fn rotate(office: &Office, keys: &Keys, args: &RotateArgs, out: Out) -> Result<(), CliError> {
    if let Some(purpose) = &args.purpose {
        return rotate_data(office, keys, purpose, args.compromised, out).await;
    }
    if let Some(kid) = &args.kid {
        keys.compromise(&by(office), office.now(), kid).await?;
        if out.json {
            return out.json(&json!({ "compromised": kid }));
        }
        return out.say(&format!("Key {kid} is compromised: nothing that it signed is believed, and another has taken its place."));
    }
    let alg = args.alg.as_deref().map(alg).transpose()?;
    let rotated = keys.rotate(&by(office), office.now(), alg, args.compromised).await?;
    let value = Value::Array(rotated.iter().map(show_rotation).collect());
    out.show(&value, || {
        let mut table = Table::new(["ALG", "OLD", "NEW", "FROM"]);
        for rotation in &rotated {
            table.row(match rotation {
                Rotation::Done { alg, old, new } => {
                    [alg.as_str().to_owned(), old.clone().unwrap_or_else(|| "-".to_owned()), new.clone(), "now".to_owned()]
                }
                Rotation::Waits { alg, next, until } => [alg.as_str().to_owned(), "-".to_owned(), next.clone(), until.rfc3339()],
            });
        }
        table
    })
}

async fn rotate_data(office: &Office, keys: &Keys, name: &str, compromised: bool, out: Out) -> Result<(), CliError> {
    let purpose = Purpose::from_name(name).ok_or_else(|| {
        let all: Vec<&str> = Purpose::ALL.iter().map(|purpose| purpose.as_str()).collect();
        CliError::new(format!("no data key has the purpose {name:?}; there are {}", all.join(", ")))
    })?;
    keys.rotate_data(&by(office), office.now(), purpose, compromised).await?;
    if out.json {
        return out.json(&json!({ "purpose": purpose.as_str(), "compromised": compromised }));
    }
    let fate = if compromised { "what the old one made is worth nothing any more" } else { "what the old one made stays valid" };
    out.say(&format!("There is a new data key for {purpose}; {fate}."))
}

/// Who acts, for the audit log; the events are written by the units of work that they describe.
fn by(office: &Office) -> By {
    let operator = office.operator();
    By { actor: operator.actor, trace_id: operator.trace_id }
}

fn alg(name: &str) -> Result<Alg, CliError> {
    Alg::from_name(name).ok_or_else(|| {
        let all: Vec<&str> = Alg::ALL.iter().map(|alg| alg.as_str()).collect();
        CliError::new(format!("no signing key has the algorithm {name:?}; there are {}", all.join(", ")))
    })
}

fn show_rotation(rotation: &Rotation) -> Value {
    match rotation {
        Rotation::Done { alg, old, new } => json!({ "alg": alg.as_str(), "old": old, "new": new }),
        Rotation::Waits { alg, next, until } => json!({ "alg": alg.as_str(), "next": next, "signs_from": until.rfc3339() }),
    }
}

fn list(signing: &[KeyInfo], data: &[DataKeyInfo], unknown: &[stored::Unknown], out: Out) -> Result<(), CliError> {
    let at = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
    let value = json!({
        "signing": signing.iter().map(|key| json!({
            "kid": key.kid,
            "alg": key.alg.as_str(),
            "state": key.state.as_str(),
            "created_at": key.created_at.rfc3339(),
            "state_since": key.state_since.rfc3339(),
            "activated_at": at(key.activated_at),
        })).collect::<Vec<_>>(),
        "data": data.iter().map(|key| json!({
            "id": key.id,
            "purpose": key.purpose.as_str(),
            "created_at": key.created_at.rfc3339(),
            "retired_at": at(key.retired_at),
            "compromised_at": at(key.compromised_at),
        })).collect::<Vec<_>>(),
        "of_newer_version": unknown.iter().map(|key| json!({ "kind": key.kind, "id": key.id, (key.property): key.value })).collect::<Vec<_>>(),
    });
    out.show(&value, || {
        let mut table = Table::new(["KEY", "FOR", "STATE", "SINCE"]);
        for key in signing {
            table.row([key.kid.clone(), key.alg.as_str().to_owned(), key.state.as_str().to_owned(), key.state_since.rfc3339()]);
        }
        for key in data {
            let (state, since) = match (key.compromised_at, key.retired_at) {
                (Some(since), _) => ("compromised", since),
                (None, Some(since)) => ("retired", since),
                (None, None) => ("current", key.created_at),
            };
            table.row([key.id.to_string(), key.purpose.as_str().to_owned(), state.to_owned(), since.rfc3339()]);
        }
        for key in unknown {
            table.row([key.id.clone(), key.value.clone(), "of a newer version".to_owned(), String::new()]);
        }
        table
    })
}
