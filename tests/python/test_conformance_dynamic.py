"""The conformance suite's modules whose clients register themselves: its plans Dynamic OP and third-party-initiated login, as test_conformance.py plays the others."""

import json
import secrets
import threading
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import ECKey

from conftest import Server
from test_conformance import ALICE, CALLBACK, Flow, Forms, Provider, padless, unpadded


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("dynamic"), '[registration]\nmode = "open"\nopen_per_address = 1000\n[outbound]\nallow = ["127.0.0.0/8"]\n')
    server.add("user", ALICE)
    yield Provider(server)
    server.stop()


def register(provider, **metadata):
    told = {
        "client_name": f"Conformance {secrets.token_hex(4)}", "redirect_uris": [CALLBACK], "grant_types": ["authorization_code"], "response_types": ["code"],
        "contacts": ["suite@example.com"],
    }
    return requests.post(provider.metadata["registration_endpoint"], json=told | metadata, timeout=10)


@pytest.fixture
def registered(provider):
    """Registers, checks the answer, and removes what was registered."""
    done = []

    def run(**metadata):
        answer = register(provider, **metadata)
        assert answer.status_code == 201, answer.text
        assert answer.headers["content-type"].split(";")[0] == "application/json" and "no-store" in answer.headers["cache-control"]
        client = answer.json()
        assert client["client_id"] and None not in client.values()
        if client["token_endpoint_auth_method"].startswith("client_secret"):
            assert client["client_secret"] and type(client["client_secret_expires_at"]) is int
        assert client["registration_client_uri"].startswith(provider.issuer)
        for name, value in metadata.items():
            assert client[name] == value, name
        done.append(client)
        return Dynamic(provider, client)

    yield run
    for client in done:
        bearer = {"authorization": f"Bearer {client['registration_access_token']}"}
        assert requests.delete(client["registration_client_uri"], headers=bearer, timeout=10).status_code == 204
        assert requests.get(client["registration_client_uri"], headers=bearer, timeout=10).status_code == 401


class Dynamic(Flow):
    """PKCE as well: only operators let a client do without."""

    def __init__(self, provider, client):
        super().__init__(provider, client, "default")

    def authorize(self, **parameters):
        self.verifier = secrets.token_urlsafe(48)
        challenge = padless(sha256(self.verifier.encode()).digest())
        return super().authorize(code_challenge=challenge, code_challenge_method="S256", **parameters)

    def redeem(self, code, **more):
        return super().redeem(code, code_verifier=self.verifier, **more)


def refused(provider, error, **metadata):
    answer = register(provider, **metadata)
    assert answer.status_code == 400 and answer.json()["error"] == error, answer.text
    assert answer.headers["content-type"].split(";")[0] == "application/json" and "no-store" in answer.headers["cache-control"]


def test_oidcc_registration_dynamic(registered):
    registered().run()


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_oidcc_server(registered, method):
    registered(token_endpoint_auth_method=method).run()


def test_oidcc_idtoken_rs256(registered):
    flow = registered(id_token_signed_response_alg="RS256")
    tokens, _, _ = flow.run()
    assert json.loads(unpadded(tokens["id_token"].split(".")[0]))["alg"] == "RS256"


def test_oidcc_userinfo_rs256(registered, provider):
    flow = registered(userinfo_signed_response_alg="RS256")
    tokens = flow.redeem(flow.code(flow.authorize()))
    answer = flow.call_userinfo(tokens["access_token"])
    assert answer.status_code == 200 and answer.headers["content-type"].split(";")[0] == "application/jwt"
    claims = jwt.decode(answer.text, provider.keys, algorithms=["RS256"]).claims
    assert claims["iss"] == provider.issuer and claims["aud"] == flow.client["client_id"] and "nonce" not in claims
    assert claims["sub"] == flow.id_token(tokens)["sub"]


def test_oidcc_redirect_uri_query_ok(registered):
    address = f"{CALLBACK}?foo=bar"
    flow = registered(redirect_uris=[address])
    landing = flow.authorize(redirect_uri=address)
    assert landing.params.pop("foo") == "bar"
    flow.id_token(super(Dynamic, flow).redeem(flow.code(landing), redirect_uri=address, code_verifier=flow.verifier))


@pytest.mark.parametrize("query", ["?bar=foo", "?foo=bar&foo2=bar2", ""])
def test_oidcc_redirect_uri_query_mismatch(registered, query):
    flow = registered(redirect_uris=[f"{CALLBACK}?foo=bar"])
    landing = flow.authorize(redirect_uri=CALLBACK + query)
    assert landing.params is None and "redirect_uri" in Forms(landing.page.text).words


def test_oidcc_redirect_uri_regfrag(provider):
    refused(provider, "invalid_redirect_uri", redirect_uris=[f"{CALLBACK}#foobar"])


@pytest.mark.parametrize("member", ["logo_uri", "policy_uri", "tos_uri"])
def test_oidcc_registration_uri_is_shown(registered, member):
    address = f"https://suite.example.com/{member}"
    flow = registered(**{member: address})
    page = flow.authorize(decision=None).page
    if member == "logo_uri":
        assert "<img" in page.text
    else:
        assert f'href="{address}"' in page.text


def test_oidcc_registration_jwks_uri(registered, provider):
    key = ECKey.generate_key("P-256", {"kid": "suite", "use": "sig", "alg": "ES256"})

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"keys": [key.as_dict(private=False)]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        flow = registered(token_endpoint_auth_method="private_key_jwt", token_endpoint_auth_signing_alg="ES256", jwks_uri=f"http://127.0.0.1:{http.server_port}/jwks")
        code = flow.code(flow.authorize())
        flow.call_token_endpoint = lambda form, client=None: assertion(flow, key, form)
        flow.id_token(flow.redeem(code))
    finally:
        http.shutdown()
        http.server_close()


def assertion(flow, key, form):
    now = int(time.time())
    claims = {"iss": flow.client["client_id"], "sub": flow.client["client_id"], "aud": flow.provider.issuer, "iat": now, "exp": now + 60, "jti": secrets.token_hex(16)}
    told = {
        "client_id": flow.client["client_id"], "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode({"alg": "ES256", "kid": key.kid}, claims, key),
    }
    return requests.post(flow.provider.metadata["token_endpoint"], data=form | told, timeout=10)


def test_oidcc_3rd_party_init_login(registered):
    address = "https://suite.example.com/initiate_login"
    flow = registered(initiate_login_uri=address)
    bearer = {"authorization": f"Bearer {flow.client['registration_access_token']}"}
    assert requests.get(flow.client["registration_client_uri"], headers=bearer, timeout=10).json()["initiate_login_uri"] == address


def test_oidcc_3rd_party_init_login_nohttps(provider):
    refused(provider, "invalid_client_metadata", initiate_login_uri="http://suite.example.com/initiate_login")
