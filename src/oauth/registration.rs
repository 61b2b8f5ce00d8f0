//! Dynamic client registration (RFC 7591, OpenID Connect Dynamic Client Registration) and its management (RFC 7592): which members a
//! client may set for itself, and how much of grants and scopes its initial access token, or the deployment, lets it have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::client::{ClientMetadata, GrantType, MetadataCode, MetadataError};
use super::refusal::Reason;
use super::{resource, scope};
use crate::clock::Timestamp;

/// Bytes of a scope's name.
const LONGEST_SCOPE: usize = 255;

/// How a client came to be that registered itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The id of the initial access token; `None`: registration was open to everybody.
    pub initial_access_token: Option<Uuid>,
    /// Where it came from, as one address or an IPv6 /64.
    pub address: String,
    pub at: Timestamp,
    /// What it may change itself to.
    pub limits: Limits,
    /// It goes then unless somebody used it before; `None` once that happened.
    pub unused_until: Option<Timestamp>,
}

/// What may be registered with an initial access token. What is not limited here is as `[registration]` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_types: Option<Vec<GrantType>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

/// What may be registered, with everything filled in.
#[derive(Debug, Clone, Copy)]
pub struct Allowed<'a> {
    pub grant_types: &'a [GrantType],
    pub scopes: &'a [String],
}

/// An initial access token (RFC 7591 §1.2), without itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialAccessToken {
    pub id: Uuid,
    pub note: Option<String>,
    /// How the audit log calls the one who made it.
    pub created_by: String,
    pub limits: Limits,
    pub registrations: u64,
    pub registrations_left: u64,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Why an initial access token lets nobody in. For the decision record only: the answer is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum TokenFault {
    /// Never made here, removed, or mistyped.
    Unknown,
    Expired {
        id: Uuid,
        expired_at: Timestamp,
        now: Timestamp,
    },
    /// All its registrations were used.
    Spent {
        id: Uuid,
        registrations: u64,
    },
}

/// Why a registration access token opens nothing. For the decision record only: the answer is one (RFC 7592 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessFault {
    NoSuchClient,
    /// An operator registered it.
    NotDynamic,
    WrongToken,
    /// An operator changed what the client had registered.
    KeptByOperators,
    ClientDisabled,
}

impl InitialAccessToken {
    /// May it be used at `now`? Whether a registration is left is decided once more when it is taken.
    ///
    /// # Errors
    /// `InitialAccessTokenRefused`.
    pub fn check(&self, now: Timestamp) -> Result<(), Reason> {
        if now >= self.expires_at {
            let because = TokenFault::Expired { id: self.id, expired_at: self.expires_at, now };
            return Err(Reason::InitialAccessTokenRefused { because });
        }
        if self.registrations_left == 0 { Err(self.spent()) } else { Ok(()) }
    }

    /// The refusal once all its registrations were used.
    pub fn spent(&self) -> Reason {
        Reason::InitialAccessTokenRefused { because: TokenFault::Spent { id: self.id, registrations: self.registrations } }
    }
}

impl Limits {
    /// These limits, and `usual` where they say nothing.
    pub fn over<'a>(&'a self, usual: Allowed<'a>) -> Allowed<'a> {
        Allowed {
            grant_types: self.grant_types.as_deref().unwrap_or(usual.grant_types),
            scopes: self.scopes.as_deref().unwrap_or(usual.scopes),
        }
    }

    /// Whether they may be given to a token.
    ///
    /// # Errors
    /// The member at fault and what is wrong with it, as the rest of a sentence.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.grant_types.as_ref().is_some_and(Vec::is_empty) {
            return Err(("grant_types", "is empty: nothing could be registered; leave it out, or name at least one".to_owned()));
        }
        let scopes = self.scopes.as_deref().unwrap_or_default();
        if scopes.len() > scope::MAX_SCOPES {
            return Err(("scopes", format!("has more than {} entries", scope::MAX_SCOPES)));
        }
        for name in scopes {
            if !scope::is_token(name) || name.len() > LONGEST_SCOPE {
                let shown: String = name.chars().take(100).collect();
                return Err(("scopes", format!("has {shown:?}, which is no scope name (RFC 6749 section 3.3), or too long")));
            }
            if resource::is_admin(name) {
                return Err(("scopes", format!("has {name}, which no client can register for")));
            }
        }
        Ok(())
    }
}

impl Allowed<'_> {
    /// Keeps metadata within the limits. A client that asks for no scope gets those of the server's default set that are allowed.
    ///
    /// # Errors
    /// The member that asks for more.
    pub fn check(&self, metadata: &mut ClientMetadata) -> Result<(), MetadataError> {
        let refuse = |field, message| Err(MetadataError { field, code: MetadataCode::InvalidClientMetadata, message });
        if let Some(more) = metadata.grant_types.iter().find(|grant| !self.grant_types.contains(grant)) {
            let allowed: Vec<&str> = self.grant_types.iter().map(|grant| grant.as_str()).collect();
            return refuse("grant_types", format!("has {}; allowed here: {}", more.as_str(), allowed.join(", ")));
        }
        match &metadata.scope {
            Some(text) => {
                if let Some(more) = text.split(' ').find(|name| !name.is_empty() && !self.scopes.iter().any(|known| known == name))
                {
                    return refuse("scope", format!("has {more:?}; allowed here: {}", self.scopes.join(" ")));
                }
            }
            None if metadata.grant_types.iter().any(|grant| grant.asks_a_person()) => {
                let usual = scope::DEFAULT.iter().filter(|name| self.scopes.iter().any(|known| known == *name));
                metadata.scope = Some(usual.copied().collect::<Vec<_>>().join(" "));
            }
            None => {}
        }
        Ok(())
    }
}

/// The members that a client may register for itself: the metadata of IANA's registry ("OAuth Dynamic Client Registration Metadata") that a
/// server can keep. What is not in it is ours to set, or nobody's.
const REGISTRY: [&str; 60] = [
    "application_type",
    "authorization_encrypted_response_alg",
    "authorization_encrypted_response_enc",
    "authorization_signed_response_alg",
    "authorization_details_types",
    "backchannel_authentication_request_signing_alg",
    "backchannel_client_notification_endpoint",
    "backchannel_logout_session_required",
    "backchannel_logout_uri",
    "backchannel_token_delivery_mode",
    "backchannel_user_code_parameter",
    "client_name",
    "client_uri",
    "contacts",
    "default_acr_values",
    "default_max_age",
    "dpop_bound_access_tokens",
    "frontchannel_logout_session_required",
    "frontchannel_logout_uri",
    "grant_types",
    "id_token_encrypted_response_alg",
    "id_token_encrypted_response_enc",
    "id_token_signed_response_alg",
    "initiate_login_uri",
    "introspection_encrypted_response_alg",
    "introspection_encrypted_response_enc",
    "introspection_signed_response_alg",
    "jwks",
    "jwks_uri",
    "logo_uri",
    "policy_uri",
    "post_logout_redirect_uris",
    "redirect_uris",
    "request_object_encryption_alg",
    "request_object_encryption_enc",
    "request_object_signing_alg",
    "request_uris",
    "require_auth_time",
    "require_pushed_authorization_requests",
    "require_signed_request_object",
    "response_modes",
    "response_types",
    "scope",
    "software_id",
    "software_version",
    "subject_type",
    "tls_client_auth_san_dns",
    "tls_client_auth_san_email",
    "tls_client_auth_san_ip",
    "tls_client_auth_san_uri",
    "tls_client_auth_subject_dn",
    "tls_client_certificate_bound_access_tokens",
    "token_endpoint_auth_method",
    "token_endpoint_auth_signing_alg",
    "tos_uri",
    "use_mtls_endpoint_aliases",
    "userinfo_encrypted_response_alg",
    "userinfo_encrypted_response_enc",
    "userinfo_signed_response_alg",
    "nfv_token_signed_response_alg",
];

/// May a client set this member of its metadata?
pub fn is_registered_member(name: &str) -> bool {
    REGISTRY.contains(&name)
}

/// What a registration asks for: members that nobody reads are left out (RFC 7591 §2), those that would be misunderstood if they were are
/// refused.
///
/// # Errors
/// `SoftwareStatementUnsupported`, `ClientMetadataRefused`.
pub fn asked(mut members: Map<String, Value>) -> Result<Map<String, Value>, Reason> {
    let names = |members: &Map<String, Value>, name: &str| members.get(name).is_some_and(|value| !value.is_null());
    if names(&members, "software_statement") {
        return Err(Reason::SoftwareStatementUnsupported);
    }
    if names(&members, "sector_identifier_uri") {
        return Err(refused(
            "sector_identifier_uri",
            "is not offered: the sector is the host of the redirect URIs, which must be one for a pairwise subject_type; leave it out",
        ));
    }
    members.retain(|name, _| is_registered_member(name));
    Ok(members)
}

/// A refusal of one member.
pub fn refused(member: &str, detail: &str) -> Reason {
    Reason::ClientMetadataRefused {
        member: Some(member.to_owned()),
        code: MetadataCode::InvalidClientMetadata,
        detail: detail.to_owned(),
    }
}

/// The metadata as its client sees it: without what operators alone set (RFC 7591 §3.2.1).
///
/// # Errors
/// Never for metadata that was read from JSON.
pub fn shown(metadata: &ClientMetadata) -> Result<Map<String, Value>, Reason> {
    let mut members = members(metadata)?;
    members.retain(|name, _| is_registered_member(name));
    Ok(members)
}

/// What a client makes of its metadata (RFC 7592 §2.2): all that it may set is as `asked` says, the rest stays.
///
/// # Errors
/// Never for metadata that was read from JSON.
pub fn replaced(before: &ClientMetadata, asked: &ClientMetadata) -> Result<ClientMetadata, Reason> {
    let mut after = members(before)?;
    after.retain(|name, _| !is_registered_member(name));
    after.extend(shown(asked)?);
    serde_json::from_value(Value::Object(after)).map_err(|error| Reason::Internal { detail: error.to_string() })
}

fn members(metadata: &ClientMetadata) -> Result<Map<String, Value>, Reason> {
    match serde_json::to_value(metadata) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Reason::Internal { detail: "client metadata is no object".to_owned() }),
        Err(error) => Err(Reason::Internal { detail: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oauth::client::{Introspection, RefreshRotation};

    /// what only operators give. A member that is neither here nor in the registry fails the test below.
    const OURS: [&str; 8] = [
        "claims",
        "first_party",
        "introspection",
        "profile",
        "refresh_recovery",
        "refresh_rotation",
        "require_pkce",
        "second_factor",
    ];

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_member_of_the_metadata_is_the_clients_or_ours() {
        let schema = serde_json::to_value(schemars::schema_for!(ClientMetadata)).unwrap();
        for name in schema["properties"].as_object().unwrap().keys() {
            assert_ne!(is_registered_member(name), OURS.contains(&name.as_str()), "{name}: who sets it?");
        }
    }

    #[test]
    fn what_nobody_reads_and_what_is_ours_is_left_out() {
        let asked = asked(object(json!({
            "redirect_uris": ["https://client.example/cb"], "client_name#de": "Laden", "first_party": true, "require_pkce": false,
            "introspection": "any", "enabled": false, "client_id": "mine", "client_secret": "mine", "nonsense": { "a": 1 },
            "software_statement": null,
        })));
        assert_eq!(Value::Object(asked.unwrap()), json!({ "redirect_uris": ["https://client.example/cb"] }));
    }

    #[test]
    fn what_would_be_misunderstood_is_refused() {
        let refusal = |members: Value| asked(object(members)).unwrap_err();
        assert_eq!(refusal(json!({ "software_statement": "eyJ" })), Reason::SoftwareStatementUnsupported);
        let sector = refusal(json!({ "sector_identifier_uri": "https://client.example/sector.json" }));
        assert!(matches!(sector, Reason::ClientMetadataRefused { member: Some(member), .. } if member == "sector_identifier_uri"));
    }

    #[test]
    fn limits_hold_and_say_what_is_allowed() {
        let scopes = ["openid".to_owned(), "email".to_owned(), "orders:read".to_owned()];
        let allowed = Allowed { grant_types: &[GrantType::AuthorizationCode], scopes: &scopes };
        let mut metadata =
            ClientMetadata { redirect_uris: vec!["https://client.example/cb".to_owned()], ..ClientMetadata::default() };
        allowed.check(&mut metadata).unwrap();
        assert_eq!(metadata.scope.as_deref(), Some("openid email"), "of the default set what is allowed");
        for (scope, good) in [("openid orders:read", true), ("openid profile", false), ("orders", false), ("", true)] {
            let mut metadata = ClientMetadata { scope: Some(scope.to_owned()), ..metadata.clone() };
            assert_eq!(allowed.check(&mut metadata).is_ok(), good, "{scope}");
        }
        metadata.grant_types.push(GrantType::RefreshToken);
        let error = allowed.check(&mut metadata).unwrap_err();
        assert_eq!(error.to_string(), "grant_types has refresh_token; allowed here: authorization_code");
    }

    #[test]
    fn limits_are_scopes_and_never_those_of_administration() {
        let limits =
            |scopes: &[&str]| Limits { scopes: Some(scopes.iter().map(|name| (*name).to_owned()).collect()), grant_types: None };
        assert_eq!(limits(&["openid", "orders:read"]).check(), Ok(()));
        assert_eq!(limits(&[]).check(), Ok(()));
        for bad in [&["admin:read"][..], &["openid email"], &[""], &["a\"b"]] {
            assert_eq!(limits(bad).check().unwrap_err().0, "scopes", "{bad:?}");
        }
        assert_eq!(Limits { grant_types: Some(Vec::new()), scopes: None }.check().unwrap_err().0, "grant_types");
    }

    #[test]
    fn what_is_replaced_leaves_ours_as_it_is() {
        let before = ClientMetadata {
            redirect_uris: vec!["https://client.example/old".to_owned()],
            client_uri: Some("https://client.example/".to_owned()),
            refresh_rotation: RefreshRotation::Strict,
            introspection: Introspection::Any,
            ..ClientMetadata::default()
        };
        let asked = ClientMetadata { redirect_uris: vec!["https://client.example/new".to_owned()], ..ClientMetadata::default() };
        let after = replaced(&before, &asked).unwrap();
        assert_eq!(after.redirect_uris, ["https://client.example/new"]);
        assert_eq!(after.client_uri, None, "what is left out has its default");
        assert_eq!((after.refresh_rotation, after.introspection), (RefreshRotation::Strict, Introspection::Any));
        assert!(!shown(&after).unwrap().keys().any(|name| OURS.contains(&name.as_str())));
    }
}
