"""An application with flask-oidc, as its documentation begins; and an API of it that takes tokens by introspection."""

import threading

import flask
import pytest
import requests
from flask_oidc import OpenIDConnect
from werkzeug.serving import make_server

from conftest import Person, free_port


@pytest.fixture
def app(server):
    port = free_port()
    home = f"http://localhost:{port}"
    # flask-oidc sends no PKCE, and its secret in the body.
    client = server.add(
        "client",
        {
            "client_name": "Flask", "redirect_uris": [f"{home}/authorize"], "token_endpoint_auth_method": "client_secret_post",
            "grant_types": ["authorization_code", "refresh_token"], "require_pkce": False,
        },
    )
    web = {"client_id": client["client_id"], "client_secret": client["client_secret"], "issuer": server.issuer}
    application = flask.Flask("flask-oidc")
    application.config.update(SECRET_KEY="a test", OIDC_CLIENT_SECRETS={"web": web}, OIDC_SCOPES="openid email profile")
    oidc = OpenIDConnect(application)

    @application.route("/")
    def index():
        return f"Welcome {flask.g.oidc_user.email}" if oidc.user_loggedin else "Not logged in"

    @application.route("/private")
    @oidc.require_login
    def private():
        return flask.session["oidc_auth_profile"]["email"]

    @application.route("/token")
    @oidc.require_login
    def token():
        return oidc.get_access_token()

    @application.route("/api")
    @oidc.accept_token(scopes=["email"])
    def api():
        return {"ok": True}

    http = make_server("127.0.0.1", port, application, threaded=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield home
    http.shutdown()
    thread.join(10)


def test_a_person_signs_in_to_a_private_page_and_out(app, alice: Person):
    browser = alice.browser
    assert browser.get(app, timeout=10).text == "Not logged in"
    begun = browser.get(f"{app}/private", allow_redirects=False, timeout=10)
    login = browser.get(requests.compat.urljoin(app, begun.headers["location"]), allow_redirects=False, timeout=10)
    back = alice.open(login.headers["location"], f"{app}/authorize")
    assert browser.get(back, timeout=10).text == "alice@example.com"
    assert browser.get(app, timeout=10).text == "Welcome alice@example.com"
    browser.get(f"{app}/logout", timeout=10)
    assert browser.get(app, timeout=10).text == "Not logged in"


def test_its_api_takes_tokens_by_introspection(app, alice: Person):
    browser = alice.browser
    login = browser.get(f"{app}/login", allow_redirects=False, timeout=10)
    browser.get(alice.open(login.headers["location"], f"{app}/authorize"), timeout=10)
    token = browser.get(f"{app}/token", timeout=10).text

    def call(token):
        return requests.get(f"{app}/api", headers={"authorization": f"Bearer {token}"}, timeout=10)

    assert call(token).json() == {"ok": True}
    assert call(token[:-4] + "AAAA").status_code == 401
