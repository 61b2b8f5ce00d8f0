"""PyJWT's PyJWKClient as the API that receives access tokens, unchanged."""

import jwt
import pytest
import requests
from jwt import PyJWKClient

AUDIENCE = "https://orders.example.com"


@pytest.fixture(scope="module", params=["RS256", "PS256", "ES256", "EdDSA"])
def api(request, server):
    """An API for each signing algorithm, and a client of it."""
    name = request.param
    scope = f"orders:{name.lower()}"
    resource = f"{AUDIENCE}/{name.lower()}"
    server.add(
        "resource",
        {"identifier": resource, "name": f"Orders {name}", "scopes": [{"name": scope, "description": "Read your orders"}],
         "access_token_lifetime": 300, "access_token_signing_alg": name},
    )
    client = server.add("client", {"client_name": f"Robot {name}", "grant_types": ["client_credentials"], "scope": scope})
    return name, resource, scope, client


def test_an_access_token_is_validated_offline(server, api):
    name, resource, scope, client = api
    answer = requests.post(
        server.metadata["token_endpoint"], data={"grant_type": "client_credentials", "scope": scope},
        auth=(client["client_id"], client["client_secret"]), timeout=5,
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    token = answer.json()["access_token"]
    assert answer.json()["expires_in"] == 300

    key = PyJWKClient(server.metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    claims = jwt.decode(
        token, key, algorithms=[name], audience=resource, issuer=server.issuer,
        options={"require": ["exp", "iat", "iss", "aud", "sub", "jti", "client_id"]},
    )
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert claims["scope"] == scope
    assert claims["client_id"] == claims["sub"] == client["client_id"]
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, key, algorithms=[name], audience="https://elsewhere.example.com")
    header, payload, signature = token.split(".")
    forged = f"{header}.{payload}.{'A' * len(signature)}"
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(forged, key, algorithms=[name], audience=resource)
