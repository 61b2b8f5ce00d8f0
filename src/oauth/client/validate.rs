//! The one validator of client metadata (security.md ): create, update and every import go through it, an update
//! with the merged result. It also fills in what follows from other members.

use serde::{Deserialize, Serialize};

use super::{ApplicationType, AuthMethod, ClientMetadata, GrantType, Introspection, Profile, RefreshRotation, SubjectType};
use crate::jose::{Alg, KeyManagement};
use crate::oauth::{redirect_uri, resource, scope};
use crate::oidc::pairwise::{self, Sector};
use crate::printable::printable;

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

const MAX_REDIRECT_URIS: usize = 100;
const MAX_TEXT: usize = 255;
const MAX_URL: usize = 2048;
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
    for (field, url) in urls(&metadata) {
        // What this server fetches may be on a developer's machine, and what it shows in a frame, where the client lives there.
        let local = match field {
            "jwks_uri" | "backchannel_logout_uri" => policy.loopback_http,
            "frontchannel_logout_uri" => policy.loopback_http || policy.operator,
            _ => false,
        };
        let by_http = local && redirect_uri::is_http_loopback(url);
        let checked = if by_http { address(url, "http") } else { address(url, "https") };
        checked.or_else(|message| refuse(field, message))?;
        // RFC 9110 §4.2.5: a fragment is for the one who follows a link, and never sent to a server.
        if url.contains('#') && !FOR_BROWSERS.contains(&field) {
            return refuse(field, "has a fragment; remove it with its #");
        }
    }
    frontchannel(&metadata)?;
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

fn redirects(metadata: &ClientMetadata, policy: &Policy) -> Result<(), MetadataError> {
    if metadata.grant_types.contains(&GrantType::AuthorizationCode) && metadata.redirect_uris.is_empty() {
        return Err(MetadataError {
            field: "redirect_uris",
            code: MetadataCode::InvalidRedirectUri,
            message: "is empty; the authorization_code grant needs at least one".to_owned(),
        });
    }
    let lists = [("redirect_uris", &metadata.redirect_uris), ("post_logout_redirect_uris", &metadata.post_logout_redirect_uris)];
    for (field, uris) in lists {
        let refuse = |message: String| Err(MetadataError { field, code: MetadataCode::InvalidRedirectUri, message });
        if uris.len() > MAX_REDIRECT_URIS {
            return refuse(format!("has more than {MAX_REDIRECT_URIS} entries"));
        }
        for (position, uri) in uris.iter().enumerate() {
            if let Err(problem) = redirect_uri::check_registered(uri, &policy.redirect_schemes) {
                let shown: String = uri.chars().take(200).collect();
                return refuse(format!("entry {} ({shown:?}) {problem}", position + 1));
            }
            if uris.iter().take(position).any(|earlier| earlier == uri) {
                return refuse(format!("entry {} repeats an earlier one", position + 1));
            }
        }
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
        if text.chars().any(|letter| letter.is_control() || is_deceptive(letter)) {
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

fn is_deceptive(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The addresses that people follow.
const FOR_BROWSERS: [&str; 5] = ["client_uri", "logo_uri", "policy_uri", "tos_uri", "initiate_login_uri"];

/// Every member that is a web address (security.md R-61). A test finds the members by name and fails if one is missing here.
fn urls(metadata: &ClientMetadata) -> impl Iterator<Item = (&'static str, &String)> {
    [
        ("jwks_uri", &metadata.jwks_uri),
        ("client_uri", &metadata.client_uri),
        ("logo_uri", &metadata.logo_uri),
        ("policy_uri", &metadata.policy_uri),
        ("tos_uri", &metadata.tos_uri),
        ("initiate_login_uri", &metadata.initiate_login_uri),
        ("backchannel_logout_uri", &metadata.backchannel_logout_uri),
        ("frontchannel_logout_uri", &metadata.frontchannel_logout_uri),
    ]
    .into_iter()
    .filter_map(|(field, url)| url.as_ref().map(|url| (field, url)))
}

/// Front-Channel Logout §2, beyond what every address must be.
fn frontchannel(metadata: &ClientMetadata) -> Result<(), MetadataError> {
    let Some(uri) = &metadata.frontchannel_logout_uri else { return Ok(()) };
    let field = "frontchannel_logout_uri";
    // The page that shows it names its origin in a Content-Security-Policy, and nothing wider.
    if uri.contains("://[") {
        return refuse(field, "has an IPv6 address for a host, which no Content-Security-Policy can name; use a host name");
    }
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    if let Some((name, _)) = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| ["iss", "sid"].contains(&name.as_ref()))
    {
        return refuse(field, format!("has the parameter {name}, which this server adds itself; remove it"));
    }
    let origin = redirect_uri::origin(uri);
    if !metadata.redirect_uris.iter().any(|redirect| redirect_uri::origin(redirect) == origin) {
        let message = format!(
            "must have the scheme, host and port of one of the redirect_uris (OpenID Connect Front-Channel Logout section 2); none begins with {origin}"
        );
        return refuse(field, message);
    }
    Ok(())
}

/// A web address that may be shown to people, or asked: of this scheme, without user name, in the form that browsers read.
fn address(url: &str, scheme: &str) -> Result<(), String> {
    if url.len() > MAX_URL {
        return Err(format!("is longer than {MAX_URL} bytes"));
    }
    if url.chars().any(|letter| !letter.is_ascii_graphic() || letter == '\\') {
        return Err("contains a character that must be percent-encoded".to_owned());
    }
    let parsed = url::Url::parse(url).map_err(|error| format!("is not an absolute URL: {error}"))?;
    // Browsers skip surplus slashes and take what follows for the host.
    if parsed.scheme() != scheme || url.strip_prefix(&format!("{scheme}://")).is_none_or(|rest| rest.starts_with('/')) {
        return Err("must begin with https:// and a host".to_owned());
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("contains a user name or password; remove it".to_owned());
    }
    Ok(())
}

/// The client's keys, and what is signed with them (RFC 7591 §2, OpenID Connect Registration §2).
fn keys(metadata: &ClientMetadata) -> Result<(), MetadataError> {
    if metadata.jwks.is_some() && metadata.jwks_uri.is_some() {
        return refuse("jwks", "may not stand beside jwks_uri; keep one of the two");
    }
    if let Some(set) = &metadata.jwks {
        set.check().or_else(|message| refuse("jwks", message))?;
    }
    let fapi2 = metadata.profile == Some(Profile::Fapi2);
    let registered = metadata.token_endpoint_auth_signing_alg;
    for (field, alg) in
        [("token_endpoint_auth_signing_alg", registered), ("request_object_signing_alg", metadata.request_object_signing_alg)]
    {
        if let Some(alg) = alg.filter(|alg| fapi2 && !alg.is_for_fapi2()) {
            return refuse(field, format!("may not be {alg} with the profile fapi2; use PS256, ES256 or EdDSA"));
        }
    }
    if metadata.require_signed_request_object && metadata.jwks.is_none() && metadata.jwks_uri.is_none() {
        return refuse("require_signed_request_object", "needs jwks or jwks_uri, to verify the requests with");
    }
    if metadata.token_endpoint_auth_method != AuthMethod::PrivateKeyJwt || metadata.jwks_uri.is_some() {
        return Ok(());
    }
    let Some(set) = &metadata.jwks else {
        return refuse("jwks", "or jwks_uri is needed: private_key_jwt is verified with the client's public key");
    };
    let may = |alg: &Alg| (!fapi2 || alg.is_for_fapi2()) && registered.is_none_or(|own| own.is_same(*alg));
    if !Alg::ALL.iter().filter(|alg| may(alg)).any(|alg| set.keys().iter().any(|key| key.may_verify(*alg))) {
        return refuse(
            "jwks",
            "has no key that private_key_jwt could be verified with: look at use, alg, profile and token_endpoint_auth_signing_alg",
        );
    }
    Ok(())
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

/// FAPI 2.0 Security Profile §5.4.1, for what this server signs: RS256 is not for `fapi2`. It is the default of ID tokens, and another one there.
fn response_signing(metadata: &mut ClientMetadata) -> Result<(), MetadataError> {
    if metadata.profile != Some(Profile::Fapi2) {
        return Ok(());
    }
    if metadata.id_token_signed_response_alg == Alg::RS256 {
        metadata.id_token_signed_response_alg = Alg::PS256;
    }
    if metadata.userinfo_signed_response_alg == Some(Alg::RS256) {
        return refuse("userinfo_signed_response_alg", "may not be RS256 with the profile fapi2; use PS256, ES256 or EdDSA");
    }
    Ok(())
}

/// OpenID Connect Registration §2: an `enc` needs its `alg`, and has a default; and there must be a key to encrypt to.
fn encryption(metadata: &mut ClientMetadata) -> Result<(), MetadataError> {
    let (jwks, elsewhere) = (metadata.jwks.as_ref(), metadata.jwks_uri.is_some());
    let pairs = [
        (
            ("id_token_encrypted_response_alg", "id_token_encrypted_response_enc"),
            metadata.id_token_encrypted_response_alg,
            &mut metadata.id_token_encrypted_response_enc,
        ),
        (
            ("userinfo_encrypted_response_alg", "userinfo_encrypted_response_enc"),
            metadata.userinfo_encrypted_response_alg,
            &mut metadata.userinfo_encrypted_response_enc,
        ),
    ];
    for ((alg_field, enc_field), alg, enc) in pairs {
        let Some(alg) = alg else {
            if enc.is_some() {
                return refuse(enc_field, format!("needs {alg_field} beside it (OpenID Connect Registration section 2)"));
            }
            continue;
        };
        enc.get_or_insert_default();
        // What is at a jwks_uri can change at any time: it is looked at when it is needed.
        if !elsewhere && jwks.and_then(|jwks| jwks.to_encrypt(alg.as_str())).is_none() {
            let kind = match alg {
                KeyManagement::RsaOaep256 => "an RSA key",
                KeyManagement::EcdhEs => "an EC key on P-256",
            };
            return refuse(
                alg_field,
                format!(
                    "is {alg}, which needs {kind} in jwks or at jwks_uri whose use, alg and key_ops, where it has them, allow encryption"
                ),
            );
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn operator() -> Policy {
        Policy { operator: true, ..Policy::default() }
    }

    fn with(members: Value) -> Result<ClientMetadata, MetadataError> {
        let mut all = json!({ "redirect_uris": ["https://client.example/cb"] });
        for (name, value) in members.as_object().unwrap() {
            all[name] = value.clone();
        }
        validate(serde_json::from_value(all).unwrap(), &operator())
    }

    fn fault(members: Value) -> &'static str {
        with(members).unwrap_err().field
    }

    #[test]
    fn the_smallest_client_gets_the_defaults_of_rfc_7591() {
        let metadata = with(json!({})).unwrap();
        assert_eq!(metadata.grant_types, [GrantType::AuthorizationCode]);
        assert_eq!(metadata.response_types, ["code"]);
        assert_eq!(metadata.token_endpoint_auth_method, AuthMethod::ClientSecretBasic);
        assert!(metadata.require_pkce);
    }

    #[test]
    fn the_default_is_what_an_empty_object_means() {
        let empty: ClientMetadata = serde_json::from_value(json!({})).unwrap();
        assert_eq!(empty, ClientMetadata::default());
    }

    #[test]
    fn what_is_valid_stays_valid_and_as_it_is() {
        let once =
            with(json!({ "scope": "openid  orders:read openid", "grant_types": ["authorization_code", "refresh_token"] })).unwrap();
        assert_eq!(once.scope.as_deref(), Some("openid orders:read"));
        assert_eq!(validate(once.clone(), &operator()).unwrap(), once);
    }

    #[test]
    fn a_pairwise_client_has_one_sector() {
        with(json!({ "subject_type": "pairwise", "redirect_uris": ["https://a.test/1", "https://a.test:8443/2"] })).unwrap();
        with(json!({ "subject_type": "pairwise", "redirect_uris": ["http://127.0.0.1/cb", "com.example.app:/cb"] })).unwrap();
        let several = json!({ "redirect_uris": ["https://a.test/1", "https://b.test/2"] });
        with(several.clone()).unwrap();
        let refused = with(json!({ "subject_type": "pairwise", "redirect_uris": several["redirect_uris"] })).unwrap_err();
        assert_eq!((refused.field, refused.code), ("subject_type", MetadataCode::InvalidClientMetadata));
        assert!(refused.message.contains("a.test, b.test"), "{}", refused.message);
    }

    #[test]
    fn a_machine_needs_no_redirect_uri_and_gets_no_response_type() {
        let machine = with(json!({ "redirect_uris": [], "grant_types": ["client_credentials"] })).unwrap();
        assert!(machine.response_types.is_empty());
    }

    #[test]
    fn a_device_needs_no_redirect_uri_and_may_refresh() {
        let grants = json!(["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]);
        let device = with(json!({ "redirect_uris": [], "grant_types": grants, "token_endpoint_auth_method": "none" })).unwrap();
        assert!(device.response_types.is_empty());
    }

    #[test]
    fn grants_fit_together() {
        assert_eq!(fault(json!({ "grant_types": [] })), "grant_types");
        assert_eq!(fault(json!({ "grant_types": ["refresh_token"] })), "grant_types");
        assert_eq!(fault(json!({ "grant_types": ["client_credentials"], "token_endpoint_auth_method": "none" })), "grant_types");
        assert_eq!(fault(json!({ "response_types": ["token"] })), "response_types");
        assert_eq!(fault(json!({ "response_types": ["code", "code id_token"] })), "response_types");
        assert_eq!(fault(json!({ "redirect_uris": [] })), "redirect_uris");
        assert!(serde_json::from_value::<ClientMetadata>(json!({ "grant_types": ["password"] })).is_err());
    }

    #[test]
    fn a_redirect_uri_fault_has_its_own_code_and_says_which_entry() {
        let error = with(json!({ "redirect_uris": ["https://client.example/cb", "https://client.example/cb#x"] })).unwrap_err();
        assert_eq!((error.field, error.code.as_str()), ("redirect_uris", "invalid_redirect_uri"));
        assert!(error.message.starts_with("entry 2"), "{error}");
        assert_eq!(fault(json!({ "post_logout_redirect_uris": ["javascript:alert(1)"] })), "post_logout_redirect_uris");
        assert_eq!(fault(json!({ "redirect_uris": ["https://a.test/", "https://a.test/"] })), "redirect_uris");
    }

    /// the members are found by their names in the schema, so a new one cannot be forgotten.
    #[test]
    fn every_member_that_is_an_address_is_checked() {
        let schema = serde_json::to_value(schemars::schema_for!(ClientMetadata)).unwrap();
        let addresses: Vec<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).filter(|name| name.ends_with("_uri")).collect();
        assert!(addresses.len() >= 5, "{addresses:?}");
        for name in addresses {
            for bad in [
                "javascript:alert(1)",
                "http://client.example/",
                "https://u@client.example/",
                "/x",
                "data:,x",
                "https:client.example",
                "https:///client.example",
                "https://a.test/\u{a0}",
            ] {
                assert_eq!(fault(json!({ name: bad })), name, "{bad}");
            }
            assert!(with(json!({ name: "https://client.example/x?y" })).is_ok());
            assert_eq!(with(json!({ name: "https://client.example/x?y#z" })).is_ok(), FOR_BROWSERS.contains(&name), "{name}");
        }
    }

    #[test]
    fn sign_outs_are_told_where_the_client_lives() {
        let local = "http://localhost:3000";
        let at = |members: Value| {
            let mut all = json!({ "redirect_uris": [format!("{local}/cb"), "https://client.example/cb"] });
            all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            serde_json::from_value::<ClientMetadata>(all).unwrap()
        };
        for uri in ["https://client.example/out", "https://client.example/out?a=b", "http://localhost:3000/out"] {
            assert!(validate(at(json!({ "frontchannel_logout_uri": uri })), &operator()).is_ok(), "{uri}");
        }
        for uri in [
            "https://other.example/out",
            "https://client.example:8443/out",
            "https://client.example.evil.test/out",
            "http://localhost:4000/out",
            "http://127.0.0.1:3000/out",
            "https://[::1]/out",
            "https://client.example/out?sid=1",
            "https://client.example/out?%69ss=1",
        ] {
            let refused = validate(at(json!({ "frontchannel_logout_uri": uri })), &operator()).unwrap_err();
            assert_eq!(refused.field, "frontchannel_logout_uri", "{uri}");
        }
        // A server of the client's may be anywhere.
        assert!(validate(at(json!({ "backchannel_logout_uri": "https://api.client.example/out?a=b" })), &operator()).is_ok());
        // What the server itself asks is on its own machine where the deployment allows that; browsers reach theirs anyway.
        let back = at(json!({ "backchannel_logout_uri": "http://localhost:4000/out" }));
        assert_eq!(validate(back.clone(), &operator()).unwrap_err().field, "backchannel_logout_uri");
        assert!(validate(back, &Policy { loopback_http: true, ..Policy::default() }).is_ok());
        let front = at(json!({ "frontchannel_logout_uri": "http://localhost:3000/out" }));
        assert_eq!(validate(front, &Policy::default()).unwrap_err().field, "frontchannel_logout_uri", "not by registration");
    }

    #[test]
    fn names_cannot_hide_letters() {
        assert_eq!(fault(json!({ "client_name": "Pay\u{202e}lap" })), "client_name");
        assert_eq!(fault(json!({ "client_name": "Pay\u{200b}pal" })), "client_name");
        assert_eq!(fault(json!({ "client_name": " " })), "client_name");
        assert_eq!(fault(json!({ "client_name": "x".repeat(256) })), "client_name");
        assert_eq!(fault(json!({ "contacts": ["a@b.test\r\nBcc: c@d.test"] })), "contacts");
        assert!(with(json!({ "client_name": "Müllers Bestellungen 注文" })).is_ok());
    }

    #[test]
    fn keys_are_given_once_and_fit_what_is_signed() {
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let signs = |members: Value| {
            let mut all = json!({ "token_endpoint_auth_method": "private_key_jwt" });
            all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            with(all).map_err(|error| error.field)
        };
        assert!(signs(json!({ "jwks": { "keys": [ed] } })).is_ok());
        assert!(signs(json!({ "jwks_uri": "https://client.example/jwks" })).is_ok());
        assert_eq!(signs(json!({})).unwrap_err(), "jwks");
        assert_eq!(fault(json!({ "jwks": { "keys": [ed] }, "jwks_uri": "https://client.example/jwks" })), "jwks");
        let mut only = ed.clone();
        only["use"] = json!("enc");
        assert_eq!(signs(json!({ "jwks": { "keys": [only] } })).unwrap_err(), "jwks");
        assert_eq!(signs(json!({ "jwks": { "keys": [ed] }, "token_endpoint_auth_signing_alg": "RS256" })).unwrap_err(), "jwks");
        assert!(signs(json!({ "jwks": { "keys": [ed] }, "token_endpoint_auth_signing_alg": "Ed25519" })).is_ok());
        assert_eq!(fault(json!({ "require_signed_request_object": true })), "require_signed_request_object");
        assert!(with(json!({ "require_signed_request_object": true, "jwks": { "keys": [ed] } })).is_ok());
        // On a developer's machine keys may be fetched over http, and nothing else is.
        let at_home = Policy { operator: true, loopback_http: true, ..Policy::default() };
        let homely = |members: Value| {
            let mut all = json!({ "redirect_uris": ["https://client.example/cb"] });
            all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            validate(serde_json::from_value(all).unwrap(), &at_home).map_err(|error| error.field)
        };
        assert!(homely(json!({ "jwks_uri": "http://127.0.0.1:4000/jwks" })).is_ok());
        assert_eq!(homely(json!({ "jwks_uri": "http://client.example/jwks" })).unwrap_err(), "jwks_uri");
        assert_eq!(homely(json!({ "client_uri": "http://127.0.0.1:4000/" })).unwrap_err(), "client_uri");
    }

    #[test]
    fn pkce_is_turned_off_for_confidential_clients_alone() {
        assert!(with(json!({ "require_pkce": false })).is_ok());
        assert_eq!(fault(json!({ "require_pkce": false, "token_endpoint_auth_method": "none" })), "require_pkce");
        assert_eq!(fault(json!({ "require_pkce": false, "profile": "fapi2" })), "require_pkce");
    }

    #[test]
    fn public_clients_rotate_and_do_not_pretend() {
        let public = |name: &str, value: Value| fault(json!({ "token_endpoint_auth_method": "none", name: value }));
        assert_eq!(public("refresh_rotation", json!("none")), "refresh_rotation");
        assert_eq!(public("profile", json!("fapi2")), "profile");
        assert_eq!(public("introspection", json!("any")), "introspection");
        assert_eq!(fault(json!({ "refresh_recovery": 86_401 })), "refresh_recovery");
        let fapi2 = |members: Value| {
            let mut all = json!({ "profile": "fapi2", "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://client.example/jwks" });
            all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            with(all).map_err(|error| error.field)
        };
        assert!(fapi2(json!({})).is_ok());
        assert_eq!(fapi2(json!({ "redirect_uris": ["http://localhost/cb"] })).unwrap_err(), "redirect_uris");
        assert_eq!(fapi2(json!({ "token_endpoint_auth_method": "client_secret_basic" })).unwrap_err(), "profile");
        assert_eq!(fapi2(json!({ "token_endpoint_auth_signing_alg": "RS256" })).unwrap_err(), "token_endpoint_auth_signing_alg");
        assert!(fapi2(json!({ "token_endpoint_auth_signing_alg": "PS256" })).is_ok());
        // openid.md 69, for what this server signs: the default of everybody else is none here.
        assert_eq!(fapi2(json!({})).unwrap().id_token_signed_response_alg, Alg::PS256);
        assert_eq!(fapi2(json!({ "id_token_signed_response_alg": "ES256" })).unwrap().id_token_signed_response_alg, Alg::ES256);
        assert_eq!(fapi2(json!({ "userinfo_signed_response_alg": "RS256" })).unwrap_err(), "userinfo_signed_response_alg");
    }

    /// what only an operator may give.
    #[test]
    fn a_client_that_registers_itself_gets_no_privilege() {
        let registration = Policy::default();
        let registered = |members: Value| {
            let mut all = json!({ "redirect_uris": ["https://client.example/cb"] });
            for (name, value) in members.as_object().unwrap() {
                all[name] = value.clone();
            }
            validate(serde_json::from_value(all).unwrap(), &registration).map_err(|error| error.field)
        };
        assert!(registered(json!({ "scope": "openid orders:read" })).is_ok());
        assert_eq!(registered(json!({ "scope": "openid admin:read" })).unwrap_err(), "scope");
        assert_eq!(registered(json!({ "scope": "admin:write" })).unwrap_err(), "scope");
        assert_eq!(registered(json!({ "first_party": true })).unwrap_err(), "first_party");
        for demand in ["optional", "required"] {
            assert_eq!(registered(json!({ "second_factor": demand })).unwrap_err(), "second_factor");
        }
        assert_eq!(registered(json!({ "introspection": "any" })).unwrap_err(), "introspection");
        assert_eq!(registered(json!({ "require_pkce": false })).unwrap_err(), "require_pkce");
    }

    #[test]
    fn encryption_needs_a_key_of_its_kind_and_an_algorithm() {
        let ec = json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
        let mut signs = ec.clone();
        signs["use"] = json!("sig");
        for kind in ["id_token", "userinfo"] {
            let (alg, enc) = (format!("{kind}_encrypted_response_alg"), format!("{kind}_encrypted_response_enc"));
            let jwks = json!({ "keys": [ec] });
            let good = with(json!({ "jwks": jwks, &alg: "ECDH-ES" })).unwrap();
            assert_eq!(serde_json::to_value(&good).unwrap()[&enc], "A128CBC-HS256", "the default");
            assert_eq!(validate(good.clone(), &operator()).unwrap(), good);
            assert!(with(json!({ "jwks": jwks, &alg: "ECDH-ES", &enc: "A256GCM" })).is_ok());
            assert_eq!(fault(json!({ &alg: "ECDH-ES" })), alg);
            assert!(with(json!({ &alg: "ECDH-ES", "jwks_uri": "https://client.example/jwks" })).is_ok());
            assert_eq!(fault(json!({ "jwks": jwks, &alg: "RSA-OAEP-256" })), alg);
            assert_eq!(fault(json!({ "jwks": { "keys": [signs] }, &alg: "ECDH-ES" })), alg);
            assert_eq!(fault(json!({ "jwks": jwks, &enc: "A256GCM" })), enc);
        }
    }

    /// an update is a merge and then the same validator, so it cannot reach what create refuses.
    #[test]
    fn an_update_cannot_reach_what_create_refuses() {
        let mut merged = serde_json::to_value(with(json!({ "refresh_rotation": "none" })).unwrap()).unwrap();
        merged["token_endpoint_auth_method"] = json!("none");
        let error = validate(serde_json::from_value(merged).unwrap(), &operator()).unwrap_err();
        assert_eq!(error.field, "refresh_rotation");
    }

    proptest! {
        #[test]
        fn validating_twice_changes_nothing(
            scope in proptest::option::of("[a-z: ]{0,30}"),
            grants in proptest::sample::subsequence(GrantType::ALL.to_vec(), 0..=4),
            method in proptest::sample::select(AuthMethod::ALL.to_vec()), keys: bool,
            require_pkce: bool, fapi2: bool, operator: bool,
        ) {
            let metadata = ClientMetadata {
                redirect_uris: vec!["https://client.example/cb".to_owned()],
                scope, grant_types: grants, token_endpoint_auth_method: method, require_pkce,
                profile: fapi2.then_some(Profile::Fapi2),
                jwks_uri: keys.then(|| "https://client.example/jwks".to_owned()),
                ..ClientMetadata::default()
            };
            let policy = Policy { operator, ..Policy::default() };
            if let Ok(once) = validate(metadata, &policy) {
                prop_assert_eq!(validate(once.clone(), &policy).unwrap(), once);
            }
        }
    }
}
