//! The addresses in client metadata: where people are sent, what they may follow, and what this server asks itself (security.md R-15,
//! R-61; RFC 7591 §2, OpenID Connect Back-Channel and Front-Channel Logout §2).

use super::{ClientMetadata, GrantType, MetadataCode, MetadataError, Policy, refuse};
use crate::oauth::redirect_uri;

const MAX_REDIRECT_URIS: usize = 100;
const MAX_URL: usize = 2048;
/// The addresses that people follow.
pub(super) const FOR_BROWSERS: [&str; 5] = ["client_uri", "logo_uri", "policy_uri", "tos_uri", "initiate_login_uri"];

/// redirect_uris and post_logout_redirect_uris.
pub(super) fn redirects(metadata: &ClientMetadata, policy: &Policy) -> Result<(), MetadataError> {
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

/// Every other member that is an address.
pub(super) fn addresses(metadata: &ClientMetadata, policy: &Policy) -> Result<(), MetadataError> {
    for (field, url) in urls(metadata) {
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
    frontchannel(metadata)
}

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
