"""requests-oauthlib's OAuth2Session, unchanged."""

import base64
import hashlib

import jwt
import pytest
from oauthlib.oauth2 import BackendApplicationClient, InvalidClientError, InvalidGrantError
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from conftest import CALLBACK


@pytest.fixture(autouse=True)
def loopback(monkeypatch):
    """oauthlib refuses plain http unless told, and takes a granted scope that differs from the asked one for an error."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


def sign_in(server, client, person, scope):
    oauth = OAuth2Session(
        client["client_id"], redirect_uri=CALLBACK, scope=scope, pkce="S256",
        auto_refresh_url=server.metadata["token_endpoint"], token_updater=lambda token: None,
    )
    url, state = oauth.authorization_url(server.metadata["authorization_endpoint"], prompt="consent")
    back = person.open(url, CALLBACK)
    # oauthlib compares the state and refuses a callback without https unless told.
    token = oauth.fetch_token(server.metadata["token_endpoint"], authorization_response=back, client_secret=client["client_secret"])
    assert oauth._state == state
    return oauth, token


def test_a_person_signs_in_and_the_session_refreshes(server, web, alice):
    oauth, token = sign_in(server, web, alice, ["openid", "email", "offline_access"])
    keys = jwt.PyJWKClient(server.metadata["jwks_uri"])
    key = keys.get_signing_key_from_jwt(token["id_token"])
    claims = jwt.decode(token["id_token"], key.key, algorithms=["RS256"], audience=web["client_id"], issuer=server.issuer)
    half = hashlib.sha256(token["access_token"].encode()).digest()[:16]
    assert claims["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
    assert oauth.get(server.metadata["userinfo_endpoint"]).json() == {"sub": claims["sub"], "email": "alice@example.com", "email_verified": False}
    renewed = oauth.refresh_token(server.metadata["token_endpoint"], auth=HTTPBasicAuth(web["client_id"], web["client_secret"]))
    assert renewed["access_token"] != token["access_token"]
    assert oauth.get(server.metadata["userinfo_endpoint"]).status_code == 200


def test_a_code_is_redeemed_once(server, web, alice):
    oauth = OAuth2Session(web["client_id"], redirect_uri=CALLBACK, scope=["openid"], pkce="S256")
    url, _ = oauth.authorization_url(server.metadata["authorization_endpoint"])
    back = alice.open(url, CALLBACK)
    redeem = dict(token_url=server.metadata["token_endpoint"], authorization_response=back, client_secret=web["client_secret"])
    oauth.fetch_token(**redeem)
    with pytest.raises(InvalidGrantError):
        oauth.fetch_token(**redeem)


def test_a_machine_gets_a_token(server, web):
    oauth = OAuth2Session(client=BackendApplicationClient(client_id=web["client_id"]))
    token = oauth.fetch_token(server.metadata["token_endpoint"], client_id=web["client_id"], client_secret=web["client_secret"])
    assert token["token_type"].lower() == "bearer"
    with pytest.raises(InvalidClientError):
        oauth.fetch_token(server.metadata["token_endpoint"], client_id=web["client_id"], client_secret="wrong")
