//! The one validator of client metadata (security.md ): create, update and every import go through it, an update
//! with the merged result. It also fills in what follows from other members.

mod addresses;
mod keys;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::{ApplicationType, AuthMethod, ClientMetadata, GrantType, Introspection, Profile, RefreshRotation, SubjectType};
use crate::oauth::{resource, scope};
use crate::oidc::pairwise::{self, Sector};
use crate::printable::{is_deceiving, printable};

use addresses::{addresses, redirects};
use keys::{encryption, keys, response_signing};

/// What the deployment and the caller permit.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// `[registration] redirect_schemes`: private-use schemes without a dot (design 7).
    pub redirect_schemes: Vec<String>,
    /// The caller is the command line or `admin:write`. Everybody else may set neither our own privileges nor admin scopes.
    pub operator: bool,
    /// `[outbound] allow` names this machine itself: keys may be fetched from it over http.
    pub loopback_http: bool,
}

/// Metadata that cannot be accepted (RFC 7591 §3.2.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {}", printable(message))]
pub struct MetadataError {
    /// The member at fault.
    pub field: &'static str,
    pub code: MetadataCode,
    /// Continues the member's name to a sentence, and says what to write instead.
    pub message: String,
}

/// RFC 7591 §3.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataCode {
    InvalidRedirectUri,
    InvalidClientMetadata,
}

impl MetadataCode {
    /// As in the `error` member.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
        }
    }
}

/// What is at fault where no single member is.
pub const WHOLE: &str = "metadata";

const MAX_TEXT: usize = 255;
/// Bytes of the whole as JSON: what a row of the store holds.
const MAX_DOCUMENT: usize = 60_000;
/// A day, in seconds.
const MAX_RECOVERY: u64 = 86_400;

fn refuse<T>(field: &'static str, message: impl Into<String>) -> Result<T, MetadataError> {
    Err(MetadataError { field, code: MetadataCode::InvalidClientMetadata, message: message.into() })
}

/// The metadata with its consequences filled in.
///
/// # Errors
/// The first member that cannot be accepted.
pub fn validate(mut metadata: ClientMetadata, policy: &Policy) -> Result<ClientMetadata, MetadataError> {
    grants(&mut metadata)?;
    redirects(&metadata, policy)?;
    subjects(&metadata, policy)?;
    texts(&metadata)?;
    addresses(&metadata, policy)?;
    keys(&metadata)?;
    scopes(&mut metadata, policy)?;
    authentication(&metadata)?;
    response_signing(&mut metadata)?;
    encryption(&mut metadata)?;
    refresh(&metadata)?;
    metadata.claims.check().or_else(|message| refuse("claims", message))?;
    privileges(&metadata, policy)?;
    let size = serde_json::to_vec(&metadata).map_or(usize::MAX, |text| text.len());
    if size > MAX_DOCUMENT {
        return refuse(WHOLE, format!("has {size} bytes altogether, and may have {MAX_DOCUMENT}"));
    }
    Ok(metadata)
}

/// grant_types, response_types and what they need of each other (RFC 7591 §2.1).
fn grants(metadata: &mut ClientMetadata) -> Result<(), MetadataError> {
    let mut seen = Vec::new();
    metadata.grant_types.retain(|grant| {
        !seen.contains(grant) && {
            seen.push(*grant);
            true
        }
    });
    if metadata.grant_types.is_empty() {
        return refuse(
            "grant_types",
            "is empty; name at least one of authorization_code, client_credentials and \
             urn:ietf:params:oauth:grant-type:device_code",
        );
    }
    let by_browser = metadata.grant_types.contains(&GrantType::AuthorizationCode);
    let with_person = metadata.grant_types.iter().any(|grant| grant.asks_a_person());
    if metadata.grant_types.contains(&GrantType::RefreshToken) && !with_person {
        return refuse(
            "grant_types",
            "has refresh_token without authorization_code or urn:ietf:params:oauth:grant-type:device_code; refresh tokens come from a \
             person's grant alone",
        );
    }
    if let Some(other) = metadata.response_types.iter().find(|kind| *kind != "code") {
        let other: String = other.chars().take(40).collect();
        return refuse(
            "response_types",
            format!("has {other:?}; only \"code\" is offered, for implicit and hybrid clients too: with PKCE"),
        );
    }
    // RFC 7591 §2: without a grant that begins at the authorization endpoint there is no response type.
    metadata.response_types = if by_browser { vec!["code".to_owned()] } else { Vec::new() };
    if metadata.token_endpoint_auth_method == AuthMethod::None && metadata.grant_types.contains(&GrantType::ClientCredentials) {
        return refuse("grant_types", "has client_credentials, which needs a client that authenticates (RFC 6749 section 4.4)");
    }
    Ok(())
}

/// OpenID Connect Core §8.1: a pairwise client has one sector.
fn subjects(metadata: &ClientMetadata, policy: &Policy) -> Result<(), MetadataError> {
    let by_device = metadata.grant_types.contains(&GrantType::DeviceCode);
    match (metadata.subject_type, pairwise::sector(metadata)) {
        // Whoever signs people in by redirects alone has to be where its redirect URIs point; a device never shows where it is.
        (SubjectType::Pairwise, Ok(Sector::Host(host))) if by_device && !policy.operator => refuse(
            "subject_type",
            format!(
                "may not be pairwise together with the grant {}: tokens would be given out without anything at {host} receiving them, so \
                 the sector could be somebody else's; leave one of them out, or ask an operator to register the client",
                GrantType::DeviceCode.as_str()
            ),
        ),
        (SubjectType::Public, _) | (SubjectType::Pairwise, Ok(_)) => Ok(()),
        (SubjectType::Pairwise, Err(several)) => refuse(
            "subject_type",
            format!(
                "may be pairwise where all redirect_uris have one host; these have {}. sector_identifier_uri is not offered: register \
                 a client for each host",
                several.places.join(", ")
            ),
        ),
    }
}

fn texts(metadata: &ClientMetadata) -> Result<(), MetadataError> {
    let named = [
        ("client_name", &metadata.client_name),
        ("software_id", &metadata.software_id),
        ("software_version", &metadata.software_version),
    ];
    let single = named.into_iter().filter_map(|(field, text)| text.as_ref().map(|text| (field, text)));
    for (field, text) in single.chain(metadata.contacts.iter().map(|contact| ("contacts", contact))) {
        if text.trim().is_empty() || text.chars().count() > MAX_TEXT {
            return refuse(field, format!("must have between 1 and {MAX_TEXT} characters"));
        }
        // Direction overrides and invisible letters make one name look like another on the consent page.
        if is_deceiving(text) {
            return refuse(field, "contains control or invisible formatting characters");
        }
    }
    let acr_values = &metadata.default_acr_values;
    if acr_values.len() > 20 || acr_values.iter().any(|value| !is_acr_value(value)) {
        return refuse("default_acr_values", "must be at most 20 values of 1 to 255 printable ASCII characters without spaces");
    }
    if metadata.contacts.len() > 20 {
        return refuse("contacts", "has more than 20 entries");
    }
    Ok(())
}

fn is_acr_value(value: &str) -> bool {
    (1..=MAX_TEXT).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic())
}

fn scopes(metadata: &mut ClientMetadata, policy: &Policy) -> Result<(), MetadataError> {
    let Some(text) = &metadata.scope else { return Ok(()) };
    let Ok(scopes) = scope::parse(text) else {
        return refuse(
            "scope",
            format!("must be at most {} scope names separated by spaces (RFC 6749 section 3.3)", scope::MAX_SCOPES),
        );
    };
    if text.len() > 4096 {
        return refuse("scope", "is longer than 4096 bytes");
    }
    if !policy.operator
        && let Some(admin) = scopes.iter().find(|scope| resource::is_admin(scope))
    {
        return refuse("scope", format!("has {admin}, which only the command line and the admin API may give"));
    }
    metadata.scope = Some(scope::join(&scopes));
    Ok(())
}

fn authentication(metadata: &ClientMetadata) -> Result<(), MetadataError> {
    let public = metadata.token_endpoint_auth_method == AuthMethod::None;
    let fapi2 = metadata.profile == Some(Profile::Fapi2);
    if !metadata.require_pkce && public {
        return refuse(
            "require_pkce",
            "may be false for a client that authenticates alone; PKCE is all that protects the codes of this one",
        );
    }
    if !metadata.require_pkce && fapi2 {
        return refuse("require_pkce", "may not be false with the profile fapi2");
    }
    if fapi2 && metadata.token_endpoint_auth_method != AuthMethod::PrivateKeyJwt {
        return refuse(
            "profile",
            "fapi2 needs token_endpoint_auth_method private_key_jwt (FAPI 2.0 Security Profile section 5.3.2.1)",
        );
    }
    if fapi2
        && metadata.application_type == ApplicationType::Web
        && metadata.redirect_uris.iter().any(|uri| !uri.starts_with("https://"))
    {
        return refuse("redirect_uris", "must all be https with the profile fapi2, unless application_type is native");
    }
    Ok(())
}

fn refresh(metadata: &ClientMetadata) -> Result<(), MetadataError> {
    if metadata.refresh_recovery > MAX_RECOVERY {
        return refuse("refresh_recovery", format!("is a number of seconds, at most {MAX_RECOVERY}"));
    }
    // RFC 9700 §2.2.2: refresh tokens of public clients are sender-constrained or rotated.
    if metadata.refresh_rotation == RefreshRotation::None && metadata.token_endpoint_auth_method == AuthMethod::None {
        return refuse(
            "refresh_rotation",
            "may not be none for a client that does not authenticate (RFC 9700 section 2.2.2); use recover or strict",
        );
    }
    Ok(())
}

/// Privileges that no client may give to itself (security.md ).
fn privileges(metadata: &ClientMetadata, policy: &Policy) -> Result<(), MetadataError> {
    if metadata.introspection == Introspection::Any && metadata.token_endpoint_auth_method == AuthMethod::None {
        return refuse("introspection", "may not be any for a client that does not authenticate");
    }
    if policy.operator {
        return Ok(());
    }
    if metadata.first_party {
        return refuse("first_party", "is set by the command line and the admin API alone");
    }
    if metadata.introspection == Introspection::Any {
        return refuse("introspection", "is set by the command line and the admin API alone");
    }
    if !metadata.claims.is_empty() {
        return refuse("claims", "is set by the command line and the admin API alone");
    }
    if metadata.second_factor.is_some() {
        return refuse("second_factor", "is set by the command line and the admin API alone");
    }
    if !metadata.require_pkce {
        return refuse("require_pkce", "is turned off by the command line and the admin API alone");
    }
    Ok(())
}
