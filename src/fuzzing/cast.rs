//! Who and what the targets need beside their input: the same in every run, so that an input always means the same.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::jose::{Alg, KeyEntry, KeySet, KeyState, SigningKey};
use crate::oauth::client::{AuthMethod, Client, ClientSecret, GrantType};
use crate::oauth::grant::samples;
use crate::seal::{DataKeyRecord, DataKeys, MasterKey, Purpose, new_data_key};
use crate::secret::{Digest, Secret};

pub const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
pub const ISSUER: &str = "https://id.example";
/// The secret of every confidential client here.
pub const SECRET: &str = "gX1fBat3bV7Fjfp0ZBr1KtDRbnfVdmIw";

/// Bytes that are always the same.
pub struct Constant;

impl Entropy for Constant {
    fn fill(&self, out: &mut [u8]) {
        for (place, byte) in out.iter_mut().enumerate() {
            *byte = u8::try_from(place % 251).unwrap_or(0);
        }
    }
}

/// An Ed25519 key: its signatures are a function of what is signed.
pub fn signing_key() -> &'static Arc<SigningKey> {
    static KEY: OnceLock<Arc<SigningKey>> = OnceLock::new();
    KEY.get_or_init(|| {
        let head = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let pkcs8 = [head.as_slice(), &[7; 32]].concat();
        Arc::new(SigningKey::from_pkcs8(Alg::EdDSA, &pkcs8).expect("a PKCS#8 document"))
    })
}

pub fn key_set() -> &'static KeySet {
    static SET: OnceLock<KeySet> = OnceLock::new();
    SET.get_or_init(|| {
        let key = signing_key();
        KeySet::new(vec![KeyEntry {
            kid: key.kid.clone(),
            alg: key.alg,
            state: KeyState::Active,
            state_since: NOW,
            created_at: NOW,
            public: key.public.clone(),
            verifier: Arc::new(key.public.parse(key.alg).expect("a public key")),
            signer: Some(Arc::clone(key)),
        }])
    })
}

pub fn data_keys() -> &'static DataKeys {
    static KEYS: OnceLock<DataKeys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let master =
            MasterKey::parse(&Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".to_owned())).expect("a master key");
        let record = |(id, purpose)| {
            let sealed = new_data_key(&master, &Constant, id, purpose);
            DataKeyRecord { id, purpose, sealed, created_at: NOW, retired_at: None, compromised_at: None }
        };
        let records: Vec<DataKeyRecord> = (1..).zip(Purpose::ALL).map(record).collect();
        DataKeys::open_records(&master, &records, NOW, None).expect("data keys")
    })
}

/// A client of each authentication method that may use every grant, in the scene of `oauth::grant::samples`.
pub fn clients() -> &'static [Arc<Client>; 3] {
    static CLIENTS: OnceLock<[Arc<Client>; 3]> = OnceLock::new();
    CLIENTS.get_or_init(|| {
        let methods =
            [("basic", AuthMethod::ClientSecretBasic), ("post", AuthMethod::ClientSecretPost), ("public", AuthMethod::None)];
        methods.map(|(client_id, method)| {
            let mut client = samples::client(client_id);
            client.metadata.token_endpoint_auth_method = method;
            client.metadata.grant_types = GrantType::ALL.to_vec();
            if method != AuthMethod::None {
                let digest = Digest::of(SECRET.as_bytes());
                client.secrets = vec![ClientSecret { id: Uuid::from_u128(5), digest, created_at: NOW, expires_at: None }];
            }
            Arc::new(client)
        })
    })
}

/// What our key makes of it.
pub fn signed(input: &str) -> String {
    let signature = signing_key().sign(input.as_bytes()).expect("a signature");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A client that proves itself by the key that is ours here.
pub fn signing_client() -> &'static Arc<Client> {
    static CLIENT: OnceLock<Arc<Client>> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let mut key = serde_json::to_value(&signing_key().public).expect("JSON");
        key["kid"] = signing_key().kid.clone().into();
        let keys = serde_json::json!({ "keys": [key] });
        let mut client = samples::client("signing");
        client.metadata.token_endpoint_auth_method = AuthMethod::PrivateKeyJwt;
        client.metadata.jwks = serde_json::from_value(keys).ok();
        Arc::new(client)
    })
}
