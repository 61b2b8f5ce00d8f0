//! Sign-ins that begin here (OpenID Connect Core §4): the address that sends a person to the app's own beginning of a sign-in.

use url::Url;

use super::claims::for_scopes;
use super::user::User;
use crate::oauth::client::Client;

/// The client's initiate_login_uri with what §4 wants; `None` if it has none, or is switched off. There is no target_link_uri: where people
/// land is the app's to know. `login_hint` is the username, and only if these scopes tell the app that name anyway.
pub fn url(client: &Client, user: &User, scopes: &[String], issuer: &str) -> Option<String> {
    let registered = client.metadata.initiate_login_uri.as_deref().filter(|_| client.enabled)?;
    let mut url = Url::parse(registered).ok()?;
    let is_told = for_scopes(user.profile(), scopes).values().any(|value| value == user.username.as_str());
    let mut query = url.query_pairs_mut();
    query.append_pair("iss", issuer);
    if is_told {
        query.append_pair("login_hint", &user.username);
    }
    drop(query);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::grant::samples;

    fn made(uri: Option<&str>, enabled: bool, scopes: &str) -> Option<String> {
        let mut client = samples::client("app");
        client.metadata.initiate_login_uri = uri.map(str::to_owned);
        client.enabled = enabled;
        let scopes: Vec<String> = scopes.split(' ').map(str::to_owned).collect();
        url(&client, &samples::user(), &scopes, "https://id.test/a")
    }

    #[test]
    fn a_sign_in_begins_where_the_app_says() {
        let expected = "https://app.test/login?iss=https%3A%2F%2Fid.test%2Fa";
        assert_eq!(made(Some("https://app.test/login"), true, "openid email").as_deref(), Some(expected));
        let kept = "https://app.test/login?a=b&iss=https%3A%2F%2Fid.test%2Fa#x";
        assert_eq!(made(Some("https://app.test/login?a=b#x"), true, "openid").as_deref(), Some(kept));
        assert_eq!(made(None, true, "openid"), None);
        assert_eq!(made(Some("https://app.test/login"), false, "openid"), None);
    }

    #[test]
    fn the_name_is_told_to_those_who_know_it() {
        let told = |scopes: &str| made(Some("https://app.test/login"), true, scopes).unwrap().contains("login_hint=alice");
        assert!(told("openid profile"));
        assert!(!told("openid email"));
    }
}
