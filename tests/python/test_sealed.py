"""Authlib with joserfc, and PyJWT, unchanged: ID tokens of each algorithm, and what is encrypted to a client."""

import json

import jwt as pyjwt
import pytest
import requests
from authlib.oidc.core import CodeIDToken
from joserfc import jwe, jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from conftest import CALLBACK
from test_authlib import sign_in


def register(server, **members):
    return server.add("client", {"client_name": "Sealed", "redirect_uris": [CALLBACK], "first_party": True, "scope": "openid email", **members})


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"])
def test_an_id_token_of_each_algorithm_is_verified(server, alice, alg):
    client = register(server, id_token_signed_response_alg=alg, userinfo_signed_response_alg=alg)
    oauth, token = sign_in(server, client, alice, scope="openid email", nonce="n-0S6_WzA2Mj")
    keys = KeySet.import_key_set(requests.get(server.metadata["jwks_uri"], timeout=5).json())
    decoded = jwt.decode(token["id_token"], keys, algorithms=[alg])
    claims = CodeIDToken(decoded.claims, decoded.header, {"iss": {"value": server.issuer}, "aud": {"value": client["client_id"]}}, {"nonce": "n-0S6_WzA2Mj"})
    claims.validate()
    info = jwt.decode(oauth.get(server.metadata["userinfo_endpoint"]).text, keys, algorithms=[alg])
    assert (info.claims["email"], info.claims["aud"]) == ("alice@example.com", client["client_id"])
    # PyJWT knows Ed25519 by its old name alone; what it does not know it leaves out of the set.
    if alg != "Ed25519":
        key = pyjwt.PyJWKClient(server.metadata["jwks_uri"]).get_signing_key_from_jwt(token["id_token"])
        assert pyjwt.decode(token["id_token"], key, algorithms=[alg], audience=client["client_id"], issuer=server.issuer)["sub"] == claims["sub"]


@pytest.mark.parametrize("enc", ["A128CBC-HS256", "A128GCM", "A256GCM"])
@pytest.mark.parametrize("alg", ["RSA-OAEP-256", "ECDH-ES"])
def test_what_is_encrypted_opens(server, alice, alg, enc):
    parameters = {"use": "enc", "alg": alg, "kid": "mine"}
    key = RSAKey.generate_key(2048, parameters, private=True) if alg == "RSA-OAEP-256" else ECKey.generate_key("P-256", parameters, private=True)
    client = register(
        server, jwks={"keys": [key.as_dict(private=False)]}, id_token_encrypted_response_alg=alg, id_token_encrypted_response_enc=enc,
        userinfo_encrypted_response_alg=alg, userinfo_encrypted_response_enc=enc,
    )
    oauth, token = sign_in(server, client, alice, scope="openid email")
    opened = jwe.decrypt_compact(token["id_token"], key, algorithms=[alg, enc])
    assert opened.protected["cty"] == "JWT"
    keys = KeySet.import_key_set(requests.get(server.metadata["jwks_uri"], timeout=5).json())
    assert jwt.decode(opened.plaintext.decode(), keys).claims["aud"] == client["client_id"]
    info = jwe.decrypt_compact(oauth.get(server.metadata["userinfo_endpoint"]).text, key, algorithms=[alg, enc])
    assert json.loads(info.plaintext)["email"] == "alice@example.com"
