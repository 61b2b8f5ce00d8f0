"""The modules of the OpenID Foundation's conformance suite, as far as they can be played without it: its plans Basic OP, Form Post OP, Config OP, RP-initiated
logout, Back-channel logout and Front-channel logout. The suite itself is Java in containers; here a driver speaks HTTP as its HtmlUnit does, and each module asks what the suite's module of that name asks.
What the suite only warns about fails here."""

import collections
import html.parser
import json
import math
import queue
import re
import secrets
import string
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import pytest
import requests
from joserfc import jws, jwt
from joserfc.jwk import KeySet, RSAKey

from conftest import Server

ALICE = {
    "username": "alice", "password": "correct horse battery staple", "name": "Alice Liddell", "given_name": "Alice", "family_name": "Liddell", "middle_name": "P.",
    "nickname": "Al", "preferred_username": "alice", "profile": "https://alice.example.com/", "picture": "https://alice.example.com/me.png",
    "website": "https://alice.example.com/", "gender": "female", "birthdate": "1852-05-04", "zoneinfo": "Europe/London", "locale": "en-GB",
    "email": "alice@example.com", "email_verified": True, "phone_number": "+44 20 7946 0000", "phone_number_verified": False,
    "address": {"formatted": "1 Folly Bridge\nOxford", "street_address": "1 Folly Bridge", "locality": "Oxford", "region": "Oxfordshire", "postal_code": "OX1 4LA", "country": "GB"},
}
# The suite has all of its endpoints below one alias.
SUITE = "https://suite.example.com/test/a/chancery"
CALLBACK = f"{SUITE}/callback"
LOGGED_OUT = f"{SUITE}/post_logout_redirect"
UI_REQUIRED = {"interaction_required", "login_required", "account_selection_required", "consent_required"}
SCOPE_CLAIMS = {
    "profile": "name given_name family_name middle_name nickname profile picture website gender birthdate zoneinfo locale updated_at preferred_username".split(),
    "email": ["email", "email_verified"], "address": ["address"], "phone": ["phone_number", "phone_number_verified"],
}
BOOLEAN_CLAIMS = {"email_verified", "phone_number_verified"}
TOKEN_CLAIMS = {"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "c_hash", "jti", "nbf", "sid"}


# --- the browser ------------------------------------------------------------------------------------------------------------


class Forms(html.parser.HTMLParser):
    """The primary form of a page, the page's words, its frames, and where it goes on to by itself."""

    def __init__(self, text: str):
        super().__init__()
        self.action, self.method, self.fields, self.asks, self.inside, self.words = None, "get", {}, set(), False, ""
        self.main, self.frames, self.onward = False, [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "main":
            self.main = True
        elif tag == "iframe":
            self.frames.append(attrs["src"])
        elif tag == "meta" and attrs.get("http-equiv") == "refresh":
            self.onward = attrs["content"].partition("url=")[2]
        elif tag == "form" and self.main and self.action is None:
            self.action, self.method, self.inside = attrs.get("action") or "", attrs.get("method", "get").lower(), True
        elif self.inside and tag in ("input", "button") and attrs.get("name"):
            self.asks.add(attrs["name"])
            if tag == "input" and attrs.get("type") not in ("submit", "button"):
                self.fields[attrs["name"]] = attrs.get("value") or ""

    def handle_endtag(self, tag):
        if tag == "form":
            self.inside = False

    def handle_data(self, data):
        self.words += data


class Landing:
    """Where the browser came to rest: at one of the suite's addresses (`params`, and how they came), or on a page of the server."""

    def __init__(self, url, params=None, method="GET", page=None):
        self.url, self.params, self.method, self.page = url, params, method, page


class Browser:
    """Submits forms by the names of their fields; `seen` is what it was shown."""

    def __init__(self):
        self.session, self.seen = requests.Session(), []

    def go(self, url: str, data=None, decision="allow") -> Landing:
        from_the_suite = {} if data is None else {"origin": "https://suite.example.com", "sec-fetch-site": "cross-site"}
        response = self.session.request("GET" if data is None else "POST", url, data=data, headers=from_the_suite, allow_redirects=False, timeout=10)
        for _ in range(12):
            assert response.status_code < 500, response.text
            if "location" in response.headers:
                target = urljoin(response.url, response.headers["location"])
                if target.startswith(SUITE):
                    return self.landed(target, parse_qsl(urlsplit(target).query, keep_blank_values=True), "GET")
                assert response.headers.get("cache-control") == "no-store"
                response = self.session.get(target, allow_redirects=False, timeout=10)
                continue
            # Pages are for people alone: kept by no cache, framed by nobody, telling nobody where they were.
            assert response.headers["content-type"].startswith("text/html")
            assert "no-store" in response.headers["cache-control"]
            assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
            assert response.headers["referrer-policy"] == "no-referrer"
            form = Forms(response.text)
            if form.action is None:
                return Landing(response.url, page=response)
            action = urljoin(response.url, form.action)
            if action.startswith(SUITE):
                assert form.method == "post"
                return self.landed(action, list(form.fields.items()), "POST")
            if "username" in form.asks:
                self.seen.append("login")
                form.fields |= {"username": ALICE["username"], "password": ALICE["password"]}
            elif "decision" in form.asks:
                self.seen.append("decision")
                if decision is None:
                    return Landing(response.url, page=response)
                form.fields["decision"] = decision
            else:
                return Landing(response.url, page=response)
            origin = "{0.scheme}://{0.netloc}".format(urlsplit(response.url))
            response = self.session.post(action, data=form.fields, headers={"origin": origin, "sec-fetch-site": "same-origin"}, allow_redirects=False, timeout=10)
        raise AssertionError("the pages never end")

    @staticmethod
    def landed(url, pairs, method):
        parts = urlsplit(url)
        assert not parts.fragment
        params = dict(pairs)
        assert len(params) == len(pairs), f"a parameter came twice: {pairs}"
        return Landing(url, params, method)


# --- what the suite is told of the server ----------------------------------------------------------------------------------


class Provider:
    def __init__(self, server: Server):
        self.server, self.metadata, self.issuer = server, server.metadata, server.issuer
        self.jwks = requests.get(self.metadata["jwks_uri"], timeout=10).json()
        self.keys = KeySet.import_key_set(self.jwks)

    def client(self, **metadata):
        told = {
            "client_name": "Conformance", "redirect_uris": [CALLBACK], "post_logout_redirect_uris": [LOGGED_OUT], "require_pkce": False,
            "grant_types": ["authorization_code", "refresh_token"], "scope": "openid profile email address phone offline_access",
        }
        return self.server.add("client", told | metadata)


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    # Logout tokens come to a port of this machine.
    server = Server(tmp_path_factory.mktemp("conformance"), '[outbound]\nallow = ["127.0.0.0/8", "::1/128"]\n')
    server.add("user", ALICE)
    yield Provider(server)
    server.stop()


@pytest.fixture(scope="module")
def first(provider):
    return provider.client()


@pytest.fixture(scope="module")
def second(provider):
    return provider.client(client_name="Conformance 2")


@pytest.fixture(scope="module")
def posting(provider):
    return provider.client(client_name="Conformance, secret in the body", token_endpoint_auth_method="client_secret_post")


class Flow:
    """One module's run: a browser of its own, and a client. `mode` is the response mode of the plan."""

    def __init__(self, provider: Provider, client: dict, mode: str):
        self.provider, self.client, self.mode, self.browser = provider, client, mode, Browser()

    def request(self, **parameters):
        """The authorization request; None leaves a parameter out."""
        self.state, self.nonce = secrets.token_urlsafe(8), secrets.token_urlsafe(8)
        told = {
            "client_id": self.client["client_id"], "redirect_uri": CALLBACK, "scope": "openid", "response_type": "code", "state": self.state, "nonce": self.nonce,
        }
        if self.mode != "default":
            told["response_mode"] = self.mode
        told |= parameters
        self.state, self.nonce, self.scope = told["state"], told["nonce"], told["scope"]
        return {name: value for name, value in told.items() if value is not None}

    def authorize(self, method="GET", decision="allow", **parameters) -> Landing:
        self.browser.seen = []
        self.started = time.time()
        endpoint, request = self.provider.metadata["authorization_endpoint"], self.request(**parameters)
        if method == "POST":
            return self.browser.go(endpoint, data=request, decision=decision)
        return self.browser.go(f"{endpoint}?{urlencode(request)}", decision=decision)

    # What every module checks of a success.
    def code(self, landing: Landing) -> str:
        assert landing.params is not None, landing.page and landing.page.text
        assert "error" not in landing.params, landing.params
        assert set(landing.params) == {"code", "iss"} | ({"state"} if self.state is not None else set())
        self.check_way_back(landing)
        check_secret(landing.params["code"])
        return landing.params["code"]

    # And of an error that comes back to the client.
    def error(self, landing: Landing, *expected: str) -> dict:
        assert landing.params is not None, landing.page and landing.page.text
        self.check_way_back(landing)
        answer = landing.params
        assert set(answer) <= {"error", "error_description", "error_uri", "state", "iss"}, answer
        assert answer["error"] in expected, answer
        check_error_texts(answer)
        return answer

    def check_way_back(self, landing):
        assert landing.params.get("state") == self.state
        assert landing.params["iss"] == self.provider.issuer
        assert landing.method == ("POST" if self.mode == "form_post" else "GET")
        if landing.method == "POST":
            assert landing.url == CALLBACK

    def call_token_endpoint(self, form: dict, client=None) -> requests.Response:
        client, auth = client or self.client, None
        if client["token_endpoint_auth_method"] == "client_secret_basic":
            auth = (client["client_id"], client["client_secret"])
        else:
            form = form | {"client_id": client["client_id"], "client_secret": client["client_secret"]}
        answer = requests.post(self.provider.metadata["token_endpoint"], data=form, auth=auth, timeout=10)
        assert answer.headers["content-type"].split(";")[0] == "application/json"
        assert "no-store" in answer.headers["cache-control"]
        return answer

    def redeem(self, code: str, **more) -> dict:
        return self.tokens(self.call_token_endpoint({"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK} | more))

    def tokens(self, answer: requests.Response) -> dict:
        assert answer.status_code == 200, answer.text
        tokens = answer.json()
        assert tokens["token_type"].lower() == "bearer"
        assert isinstance(tokens["expires_in"], int) and tokens["expires_in"] > 0
        check_secret(tokens["access_token"])
        if "refresh_token" in tokens:
            check_secret(tokens["refresh_token"])
        return tokens

    def id_token(self, tokens: dict, nonce=...) -> dict:
        """Everything that the suite holds against any ID token."""
        raw = tokens["id_token"]
        header = json.loads(unpadded(raw.split(".")[0]))
        assert header["alg"] == self.client.get("id_token_signed_response_alg", "RS256")
        assert header["kid"] in {key["kid"] for key in self.provider.jwks["keys"]}
        claims = jwt.decode(raw, self.provider.keys, algorithms=[header["alg"]]).claims
        now = time.time()
        assert claims["iss"] == self.provider.issuer
        assert claims["aud"] == self.client["client_id"] and "azp" not in claims
        assert claims["exp"] > now - 300 and abs(claims["iat"] - now) < 300
        expected = self.nonce if nonce is ... else nonce
        assert claims.get("nonce") == expected and ("nonce" in claims) == (expected is not None)
        assert claims["sub"] and len(claims["sub"]) <= 255 and claims["sub"].isascii()
        if "acr" in claims:
            assert isinstance(claims["acr"], str) and claims["acr"]
        if "auth_time" in claims:
            assert isinstance(claims["auth_time"], int) and claims["auth_time"] <= now + 300
        if "at_hash" in claims:
            assert claims["at_hash"] == padless(sha256(tokens["access_token"].encode()).digest()[:16])
        # Personal claims are at userinfo, unless the claims parameter asks for them here.
        assert set(claims) <= TOKEN_CLAIMS, claims
        return claims

    def userinfo(self, tokens: dict, way="get") -> dict:
        answer = self.call_userinfo(tokens["access_token"], way)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].split(";")[0] == "application/json"
        claims = answer.json()
        assert claims["sub"]
        check_standard_claims(claims)
        return claims

    def call_userinfo(self, token, way="get"):
        url, bearer = self.provider.metadata["userinfo_endpoint"], {"authorization": f"Bearer {token}"}
        if way == "get":
            return requests.get(url, headers=bearer, timeout=10)
        if way == "post-header":
            return requests.post(url, headers=bearer, timeout=10)
        return requests.post(url, data={"access_token": token}, timeout=10)

    def run(self, **parameters):
        """A whole sign-in: tokens, the ID token's claims, and userinfo's."""
        tokens = self.redeem(self.code(self.authorize(**parameters)))
        claims, info = self.id_token(tokens), self.userinfo(tokens)
        assert info["sub"] == claims["sub"]
        return tokens, claims, info


def unpadded(part: str) -> bytes:
    assert re.fullmatch(r"[A-Za-z0-9_-]*", part)
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def padless(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


def check_secret(value: str):
    """VSCHAR alone, and as much entropy as the suite estimates from the characters of something random."""
    assert re.fullmatch(r"[\x20-\x7e]+", value)
    counts = collections.Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values()) * len(value)
    assert len(value) >= 22 and entropy >= 128, value


def check_error_texts(answer: dict):
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", answer["error"])
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*", answer.get("error_description", ""))
    assert re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]*", answer.get("error_uri", ""))


def check_standard_claims(claims: dict):
    def text(value):
        return isinstance(value, str) and value.strip() and value != "null"

    for names in SCOPE_CLAIMS.values():
        for name in set(names) & set(claims):
            value = claims[name]
            if name in BOOLEAN_CLAIMS:
                assert isinstance(value, bool), name
            elif name == "updated_at":
                assert type(value) is int and 0 < value <= time.time() + 300
            elif name == "address":
                assert value and all(text(part) for part in value.values())
            else:
                assert text(value), name
    assert re.fullmatch(r"\d{4}-\d\d-\d\d|\d{4}", claims.get("birthdate", "1852"))


# --- Basic OP, and Form Post OP: the same modules with response_mode=form_post --------------------------------------------


@pytest.fixture(params=["default", "form_post"])
def flow(request, provider, first):
    return Flow(provider, first, request.param)


def test_oidcc_server(flow):
    tokens, claims, _ = flow.run()
    assert "refresh_token" not in tokens or tokens["scope"]
    assert "name" not in claims
    assert flow.browser.seen[0] == "login"


def test_oidcc_server_client_secret_post(flow, posting):
    flow.client = posting
    flow.run()


def test_oidcc_response_type_missing(flow):
    landing = flow.authorize(response_type=None)
    if flow.mode == "default":
        flow.error(landing, "invalid_request", "unsupported_response_type")
    else:
        assert landing.params["error"] in ("invalid_request", "unsupported_response_type")


def test_oidcc_idtoken_signature(flow):
    tokens, _, _ = flow.run()
    stranger = KeySet([RSAKey.generate_key(2048, {"kid": json.loads(unpadded(tokens["id_token"].split(".")[0]))["kid"]})])
    with pytest.raises(Exception, match="bad_signature"):
        jwt.decode(tokens["id_token"], stranger)


def test_oidcc_idtoken_unsigned(provider):
    assert "none" not in provider.metadata["id_token_signing_alg_values_supported"]


@pytest.mark.parametrize("way", ["get", "post-header", "post-body"])
def test_oidcc_userinfo(flow, way):
    tokens = flow.redeem(flow.code(flow.authorize()))
    assert flow.userinfo(tokens, way)["sub"] == flow.id_token(tokens)["sub"]


def test_oidcc_ensure_request_without_nonce_succeeds_for_code_flow(flow):
    flow.run(nonce=None)


@pytest.mark.parametrize("scopes", ["profile", "email", "address", "phone", "profile email address phone"])
def test_oidcc_scope(flow, scopes):
    assert set(scopes.split()) <= set(flow.provider.metadata["scopes_supported"])
    _, claims, info = flow.run(scope=f"openid {scopes}")
    expected = {name for scope in scopes.split() for name in SCOPE_CLAIMS[scope]}
    assert set(info) == expected | {"sub"}
    for name in expected - {"updated_at"}:
        assert info[name] == ALICE[name], name


def test_oidcc_ensure_other_scope_order_succeeds(flow):
    _, _, info = flow.run(scope="email openid")
    assert info["email"] == ALICE["email"]


@pytest.mark.parametrize("display", ["page", "popup"])
def test_oidcc_display(flow, display):
    flow.run(display=display)


def test_oidcc_prompt_login(flow):
    _, before, _ = flow.run()
    time.sleep(1.1)
    _, after, _ = flow.run(prompt="login")
    assert "login" in flow.browser.seen
    assert after["sub"] == before["sub"] and after["auth_time"] > before["auth_time"]
    assert abs(after["auth_time"] - time.time()) < 60


def test_oidcc_prompt_none_not_logged_in(flow):
    flow.error(flow.authorize(prompt="none"), *UI_REQUIRED)
    assert flow.browser.seen == []


def test_oidcc_prompt_none_logged_in(flow):
    _, before, _ = flow.run()
    _, after, _ = flow.run(prompt="none")
    assert flow.browser.seen == []
    assert (after["sub"], after["auth_time"]) == (before["sub"], before["auth_time"])


def test_oidcc_max_age_1(flow):
    _, before, _ = flow.run()
    time.sleep(2)
    _, after, _ = flow.run(max_age="1")
    assert "login" in flow.browser.seen
    assert after["auth_time"] > before["auth_time"] and abs(after["auth_time"] - time.time()) < 60


def test_oidcc_max_age_10000(flow):
    _, before, _ = flow.run()
    _, after, _ = flow.run(max_age="10000")
    assert flow.browser.seen == []
    assert (after["sub"], after["auth_time"]) == (before["sub"], before["auth_time"])


def test_oidcc_ensure_request_with_unknown_parameter_succeeds(flow):
    flow.run(extra="foobar")


def test_oidcc_id_token_hint(flow):
    tokens, before, _ = flow.run()
    _, after, _ = flow.run(prompt="none", id_token_hint=tokens["id_token"])
    assert flow.browser.seen == []
    assert (after["sub"], after["auth_time"]) == (before["sub"], before["auth_time"])


def test_oidcc_login_hint(flow):
    flow.run(login_hint=f"{ALICE['username']}@{urlsplit(flow.provider.issuer).netloc}")


def test_oidcc_ui_locales(flow):
    flow.run(ui_locales="se")


def test_oidcc_claims_locales(flow):
    flow.run(claims_locales="se")


def test_oidcc_ensure_request_with_acr_values_succeeds(flow):
    asked = flow.provider.metadata["acr_values_supported"]
    _, claims, _ = flow.run(acr_values=" ".join(asked))
    assert claims["acr"] in asked


def reuse(flow, code):
    answer = flow.call_token_endpoint({"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK})
    assert answer.status_code == 400 and answer.json()["error"] == "invalid_grant"
    assert set(answer.json()) <= {"error", "error_description", "error_uri"}
    check_error_texts(answer.json())


def test_oidcc_codereuse(flow):
    code = flow.code(flow.authorize())
    flow.redeem(code)
    reuse(flow, code)


def test_oidcc_codereuse_30seconds(flow):
    # Without the half minute: what the first use made must be worth nothing.
    code = flow.code(flow.authorize())
    tokens = flow.redeem(code)
    flow.userinfo(tokens)
    reuse(flow, code)
    over = flow.call_userinfo(tokens["access_token"])
    assert over.status_code == 401 and 'error="invalid_token"' in over.headers["www-authenticate"]


def test_oidcc_ensure_registered_redirect_uri(flow):
    landing = flow.authorize(redirect_uri=f"{CALLBACK}/{secrets.token_hex(5)}")
    assert landing.params is None and landing.page.status_code == 400
    assert "redirect_uri" in Forms(landing.page.text).words


def test_oidcc_ensure_redirect_uri_in_authorization_request(flow):
    landing = flow.authorize(redirect_uri=None)
    assert landing.params is None and "redirect_uri" in Forms(landing.page.text).words


@pytest.mark.parametrize("query", ["?foo=bar", "?"])
def test_oidcc_redirect_uri_query_added(flow, query):
    assert flow.authorize(redirect_uri=CALLBACK + query).params is None


def test_oidcc_ensure_post_request_succeeds(flow):
    tokens = flow.redeem(flow.code(flow.authorize(method="POST")))
    flow.id_token(tokens)


def test_oidcc_request_uri_unsigned(flow):
    if "none" in flow.provider.metadata.get("request_object_signing_alg_values_supported", []):
        raise AssertionError("unsigned request objects would have to work")
    assert flow.provider.metadata["request_uri_parameter_supported"] is False, "its default is true"
    flow.error(flow.authorize(request_uri=f"{SUITE}/request/{secrets.token_hex(5)}"), "request_uri_not_supported")


def test_oidcc_unsigned_request_object(flow):
    # Without this list the suite takes it that unsigned ones are read.
    assert flow.provider.metadata["request_parameter_supported"] is True
    assert "none" not in flow.provider.metadata["request_object_signing_alg_values_supported"]
    claims = {"iss": flow.client["client_id"], "aud": flow.provider.issuer} | flow.request()
    unsigned = ".".join([padless(b'{"alg":"none"}'), padless(json.dumps(claims).encode()), ""])
    flow.error(flow.authorize(request=unsigned), "request_not_supported")


def test_oidcc_claims_essential(flow):
    _, _, info = flow.run(claims=json.dumps({"userinfo": {"name": {"essential": True}}}))
    assert info == {"sub": info["sub"], "name": ALICE["name"]}


def test_oidcc_refresh_token(flow, second):
    def obtain():
        tokens = flow.redeem(flow.code(flow.authorize(scope="openid offline_access", prompt="consent")))
        assert flow.browser.seen[-1] == "decision"
        return tokens, flow.id_token(tokens)

    assert "refresh_token" in flow.provider.metadata["grant_types_supported"]
    tokens, before = obtain()
    time.sleep(1.1)
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "scope": flow.scope}
    renewed = flow.tokens(flow.call_token_endpoint(form))
    assert renewed["access_token"] != tokens["access_token"]
    nonce = json.loads(unpadded(renewed["id_token"].split(".")[1])).get("nonce")
    assert nonce in (None, before["nonce"])
    after = flow.id_token(renewed, nonce)
    for name in ("iss", "sub", "aud", "auth_time", "azp"):
        assert after.get(name) == before.get(name), name
    assert after["iat"] > before["iat"]
    flow.userinfo(renewed)

    # The second client's token, with the first client's secret.
    flow.client, mine = second, flow.client
    theirs, _ = obtain()
    refused = flow.call_token_endpoint({"grant_type": "refresh_token", "refresh_token": theirs["refresh_token"]}, client=mine)
    assert refused.status_code == 400 and refused.json()["error"] == "invalid_grant"
    check_error_texts(refused.json())


def test_oidcc_ensure_request_with_valid_pkce_succeeds(flow):
    verifier = secrets.token_urlsafe(48)
    landing = flow.authorize(code_challenge=padless(sha256(verifier.encode()).digest()), code_challenge_method="S256")
    flow.id_token(flow.redeem(flow.code(landing), code_verifier=verifier))


@pytest.mark.parametrize("length", [1, 128, 1000])
def test_a_state_of_any_length_comes_back(flow, length):
    flow.code(flow.authorize(state="".join(secrets.choice(string.ascii_letters + string.digits + "!#$%&'()*,-./:;<=>?@[]^_`{|}~\\\"") for _ in range(length))))


def test_oidcc_user_rejects_authentication(flow):
    flow.error(flow.authorize(prompt="consent", decision="deny"), "access_denied")


# --- Config OP --------------------------------------------------------------------------------------------------------------

REGISTERED = set(
    """issuer authorization_endpoint token_endpoint jwks_uri registration_endpoint scopes_supported response_types_supported response_modes_supported
    grant_types_supported service_documentation ui_locales_supported op_policy_uri op_tos_uri signed_metadata code_challenge_methods_supported
    device_authorization_endpoint mtls_endpoint_aliases tls_client_certificate_bound_access_tokens userinfo_endpoint acr_values_supported subject_types_supported
    display_values_supported claim_types_supported claims_supported claims_locales_supported claims_parameter_supported request_parameter_supported
    request_uri_parameter_supported require_request_uri_registration require_signed_request_object pushed_authorization_request_endpoint
    require_pushed_authorization_requests authorization_response_iss_parameter_supported check_session_iframe end_session_endpoint frontchannel_logout_supported
    frontchannel_logout_session_supported backchannel_logout_supported backchannel_logout_session_supported dpop_signing_alg_values_supported
    protected_resources prompt_values_supported authorization_details_types_supported client_id_metadata_document_supported introspection_endpoint
    revocation_endpoint authorization_signing_alg_values_supported authorization_encryption_alg_values_supported authorization_encryption_enc_values_supported
    """.split()
) | {
    f"{what}_{kind}_values_supported"
    for what in ("id_token", "userinfo", "request_object", "introspection")
    for kind in ("signing_alg", "encryption_alg", "encryption_enc")
} | {
    f"{endpoint}_endpoint_auth_{kind}_supported" for endpoint in ("token", "introspection", "revocation") for kind in ("methods", "signing_alg_values")
}
BOOLEANS = {
    "claims_parameter_supported", "request_parameter_supported", "request_uri_parameter_supported", "require_request_uri_registration", "require_signed_request_object",
    "require_pushed_authorization_requests", "authorization_response_iss_parameter_supported", "frontchannel_logout_supported", "frontchannel_logout_session_supported",
    "backchannel_logout_supported", "backchannel_logout_session_supported", "tls_client_certificate_bound_access_tokens", "client_id_metadata_document_supported",
}


def test_oidcc_discovery_endpoint_verification(provider):
    answer = requests.get(f"{provider.issuer}/.well-known/openid-configuration", timeout=10)
    assert answer.status_code == 200 and answer.headers["content-type"].split(";")[0] == "application/json"
    metadata = answer.json()
    assert set(metadata) <= REGISTERED
    for name, value in metadata.items():
        if name in BOOLEANS:
            assert isinstance(value, bool), name
        elif name.endswith("_supported"):
            assert isinstance(value, list) and value and all(isinstance(one, str) for one in value) and len(set(value)) == len(value), name
        else:
            assert isinstance(value, str) and urlsplit(value).scheme in ("http", "https"), name
        if name.endswith("_endpoint") or name == "jwks_uri":
            assert value.startswith(f"{provider.issuer}/") and not urlsplit(value).fragment, name
    assert metadata["issuer"] == provider.issuer and not urlsplit(provider.issuer).query
    assert "code" in metadata["response_types_supported"]
    assert set(metadata["subject_types_supported"]) <= {"public", "pairwise"}
    assert "RS256" in metadata["id_token_signing_alg_values_supported"]
    for name in ("userinfo_signing_alg_values_supported", "request_object_signing_alg_values_supported"):
        assert "RS256" in metadata.get(name, ["RS256"]), name
    assert {"sub", "iss", "auth_time", "acr"} <= set(metadata["claims_supported"])
    assert "authorization_code" in metadata["grant_types_supported"]
    assert "openid" in metadata["scopes_supported"]
    assert all(re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", scope) for scope in metadata["scopes_supported"])
    assert all(re.fullmatch(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?", tag) for name in ("ui_locales_supported", "claims_locales_supported") for tag in metadata.get(name, []))
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True


def test_oidcc_server_keys(provider):
    answer = requests.get(provider.metadata["jwks_uri"], timeout=10)
    assert answer.headers["content-type"].split(";")[0] in ("application/json", "application/jwk-set+json")
    keys = answer.json()["keys"]
    assert len({key["kid"] for key in keys}) == len(keys)
    members = {"RSA": {"n", "e"}, "EC": {"crv", "x", "y"}, "OKP": {"crv", "x"}}
    for key in keys:
        assert members[key["kty"]] <= set(key) and not set(key) & {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}
        for name in members[key["kty"]] - {"crv"}:
            unpadded(key[name])
        assert key["use"] == "sig"
    assert {key.get("alg") for key in keys} >= {"RS256"}


# --- RP-initiated logout ----------------------------------------------------------------------------------------------------


@pytest.fixture
def signed_in(provider, first):
    return sign_in(provider, first)


def sign_in(provider, client):
    """A flow whose person is signed in, with the ID token at hand and a state for the end of the session."""
    flow = Flow(provider, client, "default")
    flow.issued, flow.claims, _ = flow.run(state=secrets.token_hex(64))
    assert len(flow.state) == 128
    flow.end_state = "".join(secrets.choice([chr(code) for code in range(0x21, 0x7F) if chr(code) != "+"]) for _ in range(50))
    return flow


def end_session(flow, data=False, decision="allow", **parameters) -> Landing:
    told = {"id_token_hint": flow.issued["id_token"], "post_logout_redirect_uri": LOGGED_OUT, "state": flow.end_state} | parameters
    told = {name: value for name, value in told.items() if value is not None}
    endpoint = flow.provider.metadata["end_session_endpoint"]
    flow.browser.seen = []
    if data:
        return flow.browser.go(endpoint, data=told, decision=decision)
    return flow.browser.go(f"{endpoint}?{urlencode(told)}" if told else endpoint, decision=decision)


def gone(flow):
    flow.error(flow.authorize(prompt="none"), *UI_REQUIRED)


def still_there(flow):
    flow.code(flow.authorize(prompt="none"))


def test_oidcc_rp_initiated_logout_discovery_endpoint_verification(provider):
    assert provider.metadata["end_session_endpoint"]


@pytest.mark.parametrize("data", [False, True], ids=["get", "post"])
def test_oidcc_rp_initiated_logout(signed_in, data):
    landing = end_session(signed_in, data)
    assert landing.url.startswith(LOGGED_OUT) and landing.params == {"state": signed_in.end_state}
    gone(signed_in)


def test_oidcc_rp_initiated_logout_no_state(signed_in):
    landing = end_session(signed_in, state=None)
    assert landing.url == LOGGED_OUT and landing.params == {}
    gone(signed_in)


def no_way_back(flow, **parameters):
    """An error page, or a question whose answer leads to a page of the server."""
    landing = end_session(flow, decision=None, **parameters)
    assert landing.params is None, landing.url
    still_there(flow)
    landing = end_session(flow, **parameters)
    assert landing.params is None, landing.url
    return landing


def test_oidcc_rp_initiated_logout_bad_post_logout_redirect_uri(signed_in):
    no_way_back(signed_in, post_logout_redirect_uri=f"{LOGGED_OUT}/{secrets.token_hex(5)}")


def test_oidcc_rp_initiated_logout_query_added_to_post_logout_redirect_uri(signed_in):
    no_way_back(signed_in, post_logout_redirect_uri=f"{LOGGED_OUT}?foo=bar")


def test_oidcc_rp_initiated_logout_modified_id_token_hint(signed_in):
    _, payload, _ = signed_in.issued["id_token"].split(".")
    no_way_back(signed_in, id_token_hint=".".join([padless(b'{"alg":"none"}'), payload, ""]))


def test_oidcc_rp_initiated_logout_bad_id_token_hint(signed_in):
    header, _, _ = signed_in.issued["id_token"].split(".")
    key = RSAKey.generate_key(2048)
    forged = jws.serialize_compact(json.loads(unpadded(header)), json.dumps(signed_in.claims).encode(), key)
    no_way_back(signed_in, id_token_hint=forged)


def test_oidcc_rp_initiated_logout_no_id_token_hint(signed_in):
    no_way_back(signed_in, id_token_hint=None)


@pytest.mark.parametrize(
    "parameters",
    [{"id_token_hint": None, "state": None}, {"id_token_hint": None}, {}],
    ids=["no-params", "only-state", "no-post-logout-redirect-uri"],
)
def test_oidcc_rp_initiated_logout_ends_on_a_page(signed_in, parameters):
    landing = end_session(signed_in, post_logout_redirect_uri=None, **parameters)
    assert landing.params is None and landing.page.status_code == 200
    assert "signed out" in Forms(landing.page.text).words.lower()
    gone(signed_in)


# --- Back-channel logout ----------------------------------------------------------------------------------------------------


def test_oidcc_backchannel_logout_discovery_endpoint_verification(provider):
    assert provider.metadata["end_session_endpoint"]
    assert provider.metadata["backchannel_logout_supported"] is True and provider.metadata["backchannel_logout_session_supported"] is True


@pytest.fixture
def receiver():
    """The suite's own endpoint for logout tokens: what came, each as its content type and its fields."""
    came = queue.Queue()

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            came.put((self.path, self.headers["content-type"], parse_qsl(body.decode(), keep_blank_values=True)))
            self.send_response(200)
            self.send_header("cache-control", "no-store")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    came.address = f"http://127.0.0.1:{http.server_port}/test/a/chancery/backchannel_logout"
    yield came
    http.shutdown()
    http.server_close()
    thread.join(10)


def test_oidcc_backchannel_rp_initiated_logout(provider, receiver):
    client = provider.client(client_name="Back-channel", backchannel_logout_uri=receiver.address, backchannel_logout_session_required=True)
    flow = sign_in(provider, client)
    landing = end_session(flow)
    assert landing.url.startswith(LOGGED_OUT) and landing.params == {"state": flow.end_state}

    path, content_type, fields = receiver.get(timeout=20)
    assert path == urlsplit(receiver.address).path and content_type.split(";")[0] == "application/x-www-form-urlencoded"
    assert [name for name, _ in fields] == ["logout_token"]
    token = fields[0][1]
    header = json.loads(unpadded(token.split(".")[0]))
    assert header["alg"] == "RS256" and header["typ"] == "logout+jwt"
    claims = jwt.decode(token, provider.keys, algorithms=["RS256"]).claims
    assert claims["iss"] == provider.issuer and claims["aud"] == client["client_id"]
    assert abs(claims["iat"] - time.time()) < 300 and claims["iat"] < claims["exp"] <= claims["iat"] + 120
    assert claims["jti"] and "nonce" not in claims
    assert claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert (claims["sub"], claims["sid"]) == (flow.claims["sub"], flow.claims["sid"])
    gone(flow)
    with pytest.raises(queue.Empty):
        receiver.get(timeout=0.5)


# --- Front-channel logout ---------------------------------------------------------------------------------------------------


def test_oidcc_frontchannel_logout_discovery_endpoint_verification(provider):
    assert provider.metadata["end_session_endpoint"]
    assert provider.metadata["frontchannel_logout_supported"] is True and provider.metadata["frontchannel_logout_session_supported"] is True


def test_oidcc_frontchannel_rp_initiated_logout(provider):
    address = f"{SUITE}/frontchannel_logout"
    client = provider.client(client_name="Front-channel", frontchannel_logout_uri=address, frontchannel_logout_session_required=True)
    flow = sign_in(provider, client)
    landing = end_session(flow)
    assert landing.params is None, "a page, which loads the frame first"
    page = Forms(landing.page.text)
    assert [frame.split("?")[0] for frame in page.frames] == [address]
    assert sorted(parse_qsl(urlsplit(page.frames[0]).query)) == [("iss", provider.issuer), ("sid", flow.claims["sid"])]
    policy = landing.page.headers["content-security-policy"]
    frames = next(directive for directive in policy.split(";") if directive.strip().startswith("frame-src"))
    assert frames.split()[1:] == ["https://suite.example.com"]
    way = urlsplit(page.onward)
    assert page.onward.startswith(LOGGED_OUT) and parse_qsl(way.query) == [("state", flow.end_state)]
    gone(flow)
