//! Resources (APIs): RFC 8707 identifiers, the scopes that belong to each, and the audience rules of design 4.4.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::client::{MetadataCode, MetadataError};
use super::refusal::Reason;
use super::scope;
use crate::jose::Alg;
use crate::oidc::groups::ClaimMapping;

/// The scopes of the built-in admin API (design 4.4).
pub const ADMIN_READ: &str = "admin:read";
/// Includes [`ADMIN_READ`].
pub const ADMIN_WRITE: &str = "admin:write";

/// An API that access tokens are made for. The JSON of `chancery resource add` and the admin API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// Absolute URI without fragment (RFC 8707 §2): the `aud` of its tokens.
    pub identifier: String,
    pub name: String,
    #[serde(default)]
    pub scopes: Vec<ResourceScope>,
    /// Seconds; `None` means the server's `[lifetimes] access_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_lifetime: Option<u64>,
    #[serde(default)]
    pub access_token_signing_alg: Alg,
    #[serde(default)]
    pub access_token_format: TokenFormat,
    /// Clients that may introspect tokens for this resource.
    #[serde(default)]
    pub introspection_clients: Vec<String>,
    /// What its access tokens say about the person's groups and roles.
    #[serde(default, skip_serializing_if = "ClaimMapping::is_empty")]
    pub claims: ClaimMapping,
}

/// A scope of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceScope {
    pub name: String,
    /// What the consent page says.
    #[serde(default)]
    pub description: String,
}

/// What an access token looks like to those who carry it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenFormat {
    /// RFC 9068.
    #[default]
    Jwt,
    /// The same claims, sealed.
    Opaque,
}

/// Does this scope belong to the built-in admin API?
pub fn is_admin(scope: &str) -> bool {
    scope == ADMIN_READ || scope == ADMIN_WRITE
}

/// The resource that defines a scope.
pub fn owner<'a>(resources: &'a [Resource], scope: &str) -> Option<&'a Resource> {
    resources.iter().find(|resource| resource.defines(scope))
}

impl Resource {
    /// Does the scope belong to this resource?
    pub fn defines(&self, scope: &str) -> bool {
        self.scopes.iter().any(|known| known.name == scope)
    }
}

/// Every resource of the deployment, the built-in admin API included.
#[derive(Debug, Clone)]
pub struct Catalogue {
    issuer: String,
    resources: Vec<Resource>,
}

/// For whom an access token is made and how (RFC 9068, RFC 8707 §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience {
    /// `aud`, never empty.
    pub aud: Vec<String>,
    /// The granted scopes that have a meaning for this audience; OpenID Connect's own stay.
    pub scopes: Vec<String>,
    /// Seconds, the shortest of the resources'; `None` means the server's `[lifetimes] access_token`.
    pub lifetime: Option<u64>,
    pub alg: Alg,
    pub format: TokenFormat,
    /// What the resources together want to know of a person.
    pub claims: ClaimMapping,
}

impl Catalogue {
    /// The registered resources, with the admin API at `{issuer}/admin/api` beside them. `issuer` has no trailing slash.
    pub fn new(mut resources: Vec<Resource>, issuer: &str) -> Self {
        let admin = admin_api(issuer);
        resources.retain(|resource| resource.identifier != admin.identifier);
        resources.push(admin);
        Self { issuer: issuer.to_owned(), resources }
    }

    /// All of them, the admin API last.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The issuer's own audience: userinfo, and tokens without any resource.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The resource with this identifier, byte for byte.
    pub fn find(&self, identifier: &str) -> Option<&Resource> {
        self.resources.iter().find(|resource| resource.identifier == identifier)
    }

    /// The resource that a scope belongs to.
    pub fn owner(&self, scope: &str) -> Option<&Resource> {
        owner(&self.resources, scope)
    }

    /// Is there such a scope at all?
    pub fn knows(&self, scope: &str) -> bool {
        scope::is_openid_connect(scope) || self.owner(scope).is_some()
    }

    /// The longest life of an access token of any resource; `default` is the server's.
    pub fn longest_lifetime(&self, default: std::time::Duration) -> std::time::Duration {
        let own = self.resources.iter().filter_map(|resource| resource.access_token_lifetime).max().unwrap_or(0);
        default.max(std::time::Duration::from_secs(own))
    }

    /// RFC 8707 §2: every resource asked for is a URI that we know and where the client has a scope. The issuer itself counts as
    /// one for clients with OpenID Connect scopes.
    ///
    /// # Errors
    /// `ResourceMalformed`, `ResourceNotAllowed`.
    pub fn check_requested(&self, requested: &[&str], allowed_scopes: &[String]) -> Result<Vec<String>, Reason> {
        let mut out: Vec<String> = Vec::new();
        for identifier in requested {
            if !is_identifier(identifier) {
                return Err(Reason::ResourceMalformed { received: identifier.chars().take(256).collect() });
            }
            let open = match self.find(identifier) {
                Some(resource) => allowed_scopes.iter().any(|scope| resource.defines(scope)),
                None => *identifier == self.issuer && allowed_scopes.iter().any(|scope| scope::is_openid_connect(scope)),
            };
            if !open {
                return Err(Reason::ResourceNotAllowed {
                    resource: (*identifier).to_owned(),
                    allowed: self.open_to(allowed_scopes),
                });
            }
            if !out.iter().any(|known| known == identifier) {
                out.push((*identifier).to_owned());
            }
        }
        Ok(out)
    }

    /// The resources of a token request (RFC 8707 §2.2): those asked for, which must be among the grant's where it names some;
    /// else the grant's.
    ///
    /// # Errors
    /// `ResourceMalformed`, `ResourceNotAllowed`.
    pub fn narrow(&self, requested: &[&str], granted: &[String], scopes: &[String]) -> Result<Vec<String>, Reason> {
        let asked = self.check_requested(requested, scopes)?;
        if asked.is_empty() {
            return Ok(granted.to_vec());
        }
        match asked.iter().find(|resource| !granted.is_empty() && !granted.contains(resource)) {
            Some(outside) => Err(Reason::ResourceNotAllowed { resource: outside.clone(), allowed: granted.to_vec() }),
            None => Ok(asked),
        }
    }

    /// Design 4.4: `aud` is the resources asked for, else the resources of the granted scopes, else the issuer. `openid` belongs to
    /// the issuer's own audience, where userinfo is (OpenID Connect Core §5.3): without it a sign-in that also asks for an API's
    /// scope would end with a token that userinfo must refuse.
    ///
    /// # Errors
    /// `ResourceNotAllowed` if a resource has gone; `ResourcesDisagree` if one token cannot serve them all.
    pub fn audiences(&self, requested: &[String], granted: &[String], issuer: &str) -> Result<Audience, Reason> {
        // Most tokens are for one: room for four would be the more expensive kind of memory.
        let mut resources: Vec<&Resource> = Vec::with_capacity(2);
        let mut aud: Vec<String> = Vec::with_capacity(requested.len().max(1));
        for identifier in requested {
            match self.find(identifier) {
                Some(resource) => resources.push(resource),
                None if identifier == issuer => {}
                None => return Err(Reason::ResourceNotAllowed { resource: identifier.clone(), allowed: self.open_to(granted) }),
            }
            aud.push(identifier.clone());
        }
        if requested.is_empty() {
            if granted.iter().any(|scope| scope == scope::OPENID) {
                aud.push(issuer.to_owned());
            }
            for resource in granted.iter().filter_map(|scope| self.owner(scope)) {
                if !aud.contains(&resource.identifier) {
                    aud.push(resource.identifier.clone());
                    resources.push(resource);
                }
            }
            if aud.is_empty() {
                aud.push(issuer.to_owned());
            }
        }
        let belongs = |scope: &&String| scope::is_openid_connect(scope) || resources.iter().any(|resource| resource.defines(scope));
        let mut scopes = Vec::with_capacity(granted.len());
        scopes.extend(granted.iter().filter(belongs).cloned());
        Ok(Audience {
            aud,
            scopes,
            lifetime: resources.iter().filter_map(|resource| resource.access_token_lifetime).min(),
            alg: agreed(&resources, "their signing algorithm", |resource| resource.access_token_signing_alg)?,
            format: agreed(&resources, "their token format", |resource| resource.access_token_format)?,
            claims: claims_of(&resources)?,
        })
    }

    /// The identifiers of the resources where one of these scopes counts.
    fn open_to(&self, scopes: &[String]) -> Vec<String> {
        let open = |resource: &&Resource| scopes.iter().any(|scope| resource.defines(scope));
        self.resources.iter().filter(open).map(|resource| resource.identifier.clone()).collect()
    }
}

fn claims_of(resources: &[&Resource]) -> Result<ClaimMapping, Reason> {
    let mut all = ClaimMapping::default();
    for resource in resources {
        all = all.with(&resource.claims).map_err(|claim| Reason::ResourcesDisagree {
            resources: resources.iter().map(|resource| resource.identifier.clone()).collect(),
            about: format!("the source of the claim {claim}"),
        })?;
    }
    Ok(all)
}

fn agreed<T: Copy + Default + PartialEq>(resources: &[&Resource], about: &str, of: impl Fn(&Resource) -> T) -> Result<T, Reason> {
    let mut values = resources.iter().map(|resource| of(resource));
    let first = values.next().unwrap_or_default();
    if values.all(|value| value == first) {
        return Ok(first);
    }
    Err(Reason::ResourcesDisagree {
        resources: resources.iter().map(|resource| resource.identifier.clone()).collect(),
        about: about.to_owned(),
    })
}

/// The built-in resource of the admin API.
fn admin_api(issuer: &str) -> Resource {
    let scope = |name: &str, description: &str| ResourceScope { name: name.to_owned(), description: description.to_owned() };
    Resource {
        identifier: format!("{issuer}/admin/api"),
        name: "Administration of this server".to_owned(),
        scopes: vec![
            scope(ADMIN_READ, "Read users, clients, keys and the audit log"),
            scope(ADMIN_WRITE, "Change users, clients, keys and everything else on this server"),
        ],
        access_token_lifetime: None,
        access_token_signing_alg: Alg::default(),
        access_token_format: TokenFormat::Jwt,
        introspection_clients: Vec::new(),
        claims: ClaimMapping::default(),
    }
}

/// RFC 8707 §2: an absolute URI without fragment. It is compared as bytes and never fetched.
fn is_identifier(text: &str) -> bool {
    let shape =
        text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['#', '\\', '"', '<', '>']) && text.len() <= 2048;
    shape && Url::parse(text).is_ok_and(|url| !matches!(url.scheme(), "javascript" | "data" | "file" | "blob"))
}

/// May this resource be registered beside `others`? Create and merged update use it alike.
///
/// # Errors
/// The member at fault.
pub fn validate(resource: Resource, others: &Catalogue) -> Result<Resource, MetadataError> {
    let refuse =
        |field: &'static str, message: String| Err(MetadataError { field, code: MetadataCode::InvalidClientMetadata, message });
    if !is_identifier(&resource.identifier) {
        return refuse("identifier", "must be an absolute URI without fragment, such as https://api.example.com".to_owned());
    }
    if resource.identifier == others.issuer || resource.identifier.starts_with(&format!("{}/admin/api", others.issuer)) {
        return refuse("identifier", "is the server's own; give the API an identifier of its own".to_owned());
    }
    if resource.name.trim().is_empty() || resource.name.chars().count() > 255 || resource.name.chars().any(char::is_control) {
        return refuse("name", "must have between 1 and 255 characters; people read it".to_owned());
    }
    if resource.scopes.is_empty() {
        return refuse("scopes", "is empty; a scope is what allows a client to use the resource, so name at least one".to_owned());
    }
    for (position, scope) in resource.scopes.iter().enumerate() {
        let name = &scope.name;
        if !scope::is_token(name) || name.len() > 255 {
            return refuse(
                "scopes",
                format!("entry {} is not a scope name of printable ASCII without quotes and spaces", position + 1),
            );
        }
        if scope::is_openid_connect(name) || is_admin(name) {
            return refuse("scopes", format!("has {name}, which belongs to the server itself"));
        }
        if resource.scopes.iter().take(position).any(|earlier| earlier.name == *name) {
            return refuse("scopes", format!("has {name} twice"));
        }
        if let Some(other) = others.owner(name).filter(|other| other.identifier != resource.identifier) {
            return refuse("scopes", format!("has {name}, which belongs to {}; a scope has one resource", other.identifier));
        }
        if scope.description.chars().count() > 500 || scope.description.chars().any(char::is_control) {
            return refuse("scopes", format!("has a description of {name} that is too long or contains control characters"));
        }
    }
    if resource.access_token_lifetime.is_some_and(|seconds| !(10..=86_400).contains(&seconds)) {
        return refuse("access_token_lifetime", "is a number of seconds between 10 and 86400".to_owned());
    }
    if resource.introspection_clients.len() > 100 || resource.introspection_clients.iter().any(|id| id.is_empty() || id.len() > 255)
    {
        return refuse("introspection_clients", "is a list of at most 100 client ids".to_owned());
    }
    if let Err(message) = resource.claims.check() {
        return refuse("claims", message);
    }
    Ok(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://id.example";

    fn api(identifier: &str, scopes: &[&str]) -> Resource {
        Resource {
            identifier: identifier.to_owned(),
            name: identifier.to_owned(),
            scopes: scopes.iter().map(|name| ResourceScope { name: (*name).to_owned(), description: String::new() }).collect(),
            access_token_lifetime: None,
            access_token_signing_alg: Alg::RS256,
            access_token_format: TokenFormat::Jwt,
            introspection_clients: Vec::new(),
            claims: ClaimMapping::default(),
        }
    }

    fn catalogue() -> Catalogue {
        let short = Resource { access_token_lifetime: Some(60), ..api("https://bank.example", &["bank:pay"]) };
        let sealed = Resource { access_token_format: TokenFormat::Opaque, ..api("https://mail.example/", &["mail:send"]) };
        Catalogue::new(vec![api("https://orders.example", &["orders:read", "orders:write"]), short, sealed], ISSUER)
    }

    fn scopes(text: &str) -> Vec<String> {
        scope::parse(text).unwrap()
    }

    fn aud(requested: &[&str], granted: &str) -> Vec<String> {
        let requested: Vec<String> = requested.iter().map(|resource| (*resource).to_owned()).collect();
        catalogue().audiences(&requested, &scopes(granted), ISSUER).unwrap().aud
    }

    #[test]
    fn the_audience_is_what_was_asked_for_else_what_the_scopes_need_else_the_issuer() {
        assert_eq!(aud(&["https://orders.example"], "openid orders:read bank:pay"), ["https://orders.example"]);
        assert_eq!(aud(&[], "orders:read bank:pay"), ["https://orders.example", "https://bank.example"]);
        assert_eq!(aud(&[], "orders:read orders:write"), ["https://orders.example"]);
        assert_eq!(aud(&[], "openid profile"), [ISSUER]);
        assert_eq!(aud(&[], ""), [ISSUER]);
        assert_eq!(aud(&[], "openid orders:read"), [ISSUER, "https://orders.example"], "userinfo and the API");
        assert_eq!(aud(&[], "admin:read"), ["https://id.example/admin/api"]);
    }

    #[test]
    fn a_token_for_one_resource_carries_no_scope_of_another() {
        let audience =
            catalogue().audiences(&["https://orders.example".to_owned()], &scopes("openid orders:read bank:pay"), ISSUER).unwrap();
        assert_eq!(audience.scopes, ["openid", "orders:read"]);
    }

    #[test]
    fn the_shortest_lifetime_counts() {
        let audience = catalogue().audiences(&[], &scopes("orders:read bank:pay"), ISSUER).unwrap();
        assert_eq!(audience.lifetime, Some(60));
        assert_eq!(catalogue().longest_lifetime(std::time::Duration::from_secs(600)).as_secs(), 600);
    }

    #[test]
    fn one_token_has_one_format() {
        let refused = catalogue().audiences(&[], &scopes("orders:read mail:send"), ISSUER).unwrap_err();
        assert_eq!(refused.wire().error, "invalid_target");
    }

    #[test]
    fn a_resource_is_known_and_open_to_the_client_or_refused() {
        let check = |resource: &str| catalogue().check_requested(&[resource], &scopes("openid orders:read"));
        assert_eq!(check("https://orders.example").unwrap(), ["https://orders.example"]);
        assert_eq!(check(ISSUER).unwrap(), [ISSUER]);
        for (resource, error) in [
            ("https://orders.example/", "invalid_target"),
            ("https://bank.example", "invalid_target"),
            ("https://id.example/admin/api", "invalid_target"),
            ("https://evil.test", "invalid_target"),
            ("orders", "invalid_target"),
            ("https://orders.example#x", "invalid_target"),
        ] {
            assert_eq!(check(resource).unwrap_err().wire().error, error, "{resource}");
        }
    }

    #[test]
    fn a_token_request_narrows_the_grant_and_never_widens_it() {
        let granted = vec!["https://orders.example".to_owned(), "https://bank.example".to_owned()];
        let held = scopes("orders:read bank:pay mail:send");
        let narrow = |requested: &[&str]| catalogue().narrow(requested, &granted, &held);
        assert_eq!(narrow(&[]).unwrap(), granted);
        assert_eq!(narrow(&["https://bank.example"]).unwrap(), ["https://bank.example"]);
        assert!(matches!(narrow(&["https://mail.example/"]), Err(Reason::ResourceNotAllowed { .. })));
        assert_eq!(catalogue().narrow(&["https://mail.example/"], &[], &held).unwrap(), ["https://mail.example/"]);
    }

    #[test]
    fn the_admin_api_cannot_be_replaced() {
        let fake = Resource { access_token_lifetime: Some(86_400), ..api("https://id.example/admin/api", &["openid"]) };
        let catalogue = Catalogue::new(vec![fake], ISSUER);
        assert_eq!(catalogue.resources().len(), 1);
        assert_eq!(catalogue.owner(ADMIN_WRITE).unwrap().access_token_lifetime, None);
    }

    #[test]
    fn what_may_be_registered() {
        let fault = |resource: Resource| validate(resource, &catalogue()).map_err(|error| error.field);
        assert!(fault(api("https://new.example", &["new:read"])).is_ok());
        assert!(fault(api("urn:example:api", &["new:read"])).is_ok());
        assert!(fault(api("https://orders.example", &["orders:read"])).is_ok(), "its own update");
        for identifier in [
            "",
            "orders",
            "https://a.test/#x",
            "https://a b.test",
            "javascript:x",
            ISSUER,
            "https://id.example/admin/api",
            "https://id.example/admin/api/x",
        ] {
            assert_eq!(fault(api(identifier, &["new:read"])).unwrap_err(), "identifier", "{identifier}");
        }
        for taken in ["openid", "offline_access", "admin:write", "bank:pay", "a b", "a\"b", ""] {
            assert_eq!(fault(api("https://new.example", &[taken])).unwrap_err(), "scopes", "{taken}");
        }
        assert_eq!(fault(api("https://new.example", &[])).unwrap_err(), "scopes");
        assert_eq!(fault(api("https://new.example", &["a", "a"])).unwrap_err(), "scopes");
        let endless = Resource { access_token_lifetime: Some(u64::MAX), ..api("https://new.example", &["a"]) };
        assert_eq!(fault(endless).unwrap_err(), "access_token_lifetime");
    }
}
