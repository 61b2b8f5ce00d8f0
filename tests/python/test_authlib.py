"""Authlib's OAuth2Session, unchanged."""

import pytest
from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.jwk import KeySet

from conftest import CALLBACK


def session(server, client, **more):
    return OAuth2Session(
        client["client_id"], client.get("client_secret"), redirect_uri=CALLBACK, code_challenge_method="S256",
        token_endpoint_auth_method=client.get("token_endpoint_auth_method", "client_secret_basic"),
        revocation_endpoint_auth_method=client.get("token_endpoint_auth_method", "client_secret_basic"), **more,
    )


def sign_in(server, client, person, scope="openid email offline_access", **extra):
    oauth = session(server, client, scope=scope, token_endpoint=server.metadata["token_endpoint"])
    verifier = generate_token(48)
    url, state = oauth.create_authorization_url(server.metadata["authorization_endpoint"], code_verifier=verifier, **extra)
    back = person.open(url, CALLBACK)
    token = oauth.fetch_token(server.metadata["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier)
    return oauth, token


def test_a_person_signs_in(server, web, alice):
    oauth, token = sign_in(server, web, alice, prompt="consent", nonce="n-0S6_WzA2Mj")
    import requests

    keys = KeySet.import_key_set(requests.get(server.metadata["jwks_uri"], timeout=5).json())
    decoded = jwt.decode(token["id_token"], keys)
    claims = CodeIDToken(decoded.claims, decoded.header, {"iss": {"value": server.issuer}, "aud": {"value": web["client_id"]}}, {"nonce": "n-0S6_WzA2Mj"})
    claims.validate()
    info = oauth.get(server.metadata["userinfo_endpoint"]).json()
    assert info["sub"] == claims["sub"]
    assert info["email"] == "alice@example.com"
    assert "name" not in info


def test_the_session_refreshes_and_revokes(server, web, alice):
    oauth, token = sign_in(server, web, alice, prompt="consent")
    renewed = oauth.refresh_token(server.metadata["token_endpoint"], refresh_token=token["refresh_token"])
    assert renewed["access_token"] != token["access_token"]
    assert oauth.get(server.metadata["userinfo_endpoint"]).status_code == 200
    answer = oauth.introspect_token(server.metadata["introspection_endpoint"], token=renewed["access_token"]).json()
    assert answer["active"] is True
    assert oauth.revoke_token(server.metadata["revocation_endpoint"], token=renewed["refresh_token"]).status_code == 200
    answer = oauth.introspect_token(server.metadata["introspection_endpoint"], token=renewed["access_token"]).json()
    assert answer == {"active": False}
    with pytest.raises(OAuthError) as refused:
        oauth.refresh_token(server.metadata["token_endpoint"], refresh_token=renewed["refresh_token"])
    assert refused.value.error == "invalid_grant"


def test_a_machine_gets_a_token(server, web):
    oauth = session(server, web)
    token = oauth.fetch_token(server.metadata["token_endpoint"], grant_type="client_credentials")
    assert token["token_type"].lower() == "bearer"
    assert "refresh_token" not in token


def test_a_secret_in_the_body_works_for_a_client_registered_so(server):
    posting = server.add(
        "client",
        {"client_name": "Batch", "grant_types": ["client_credentials"], "token_endpoint_auth_method": "client_secret_post"},
    )
    token = session(server, posting).fetch_token(server.metadata["token_endpoint"], grant_type="client_credentials")
    assert token["access_token"]


def test_a_wrong_secret_is_invalid_client(server, web):
    oauth = session(server, {**web, "client_secret": "wrong"})
    with pytest.raises(OAuthError) as refused:
        oauth.fetch_token(server.metadata["token_endpoint"], grant_type="client_credentials")
    assert refused.value.error == "invalid_client"
