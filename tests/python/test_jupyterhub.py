"""A JupyterHub with oauthenticator's GenericOAuthenticator: sign-in, groups, administrators, and tokens that it refreshes."""

import os
import secrets
import subprocess
import sys
import time

import pytest
import requests

from conftest import BINARY, Person, Server, free_port

# The hub alone: it starts no notebook servers, so nothing has to be routed to them.
CONFIGURATION = """
from jupyterhub.proxy import Proxy


class NoProxy(Proxy):
    should_start = False

    def __init__(self, **more):
        super().__init__(**more)
        self.routes = {}

    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)

    async def get_all_routes(self):
        return self.routes


c = get_config()
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.hub_bind_url = "HOME"
c.JupyterHub.bind_url = "HOME"
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.authenticator_class = "generic-oauth"
c.JupyterHub.last_activity_interval = 3600
c.GenericOAuthenticator.client_id = "CLIENT_ID"
c.GenericOAuthenticator.client_secret = "CLIENT_SECRET"
c.GenericOAuthenticator.oauth_callback_url = "HOME/hub/oauth_callback"
c.GenericOAuthenticator.authorize_url = "ISSUER/authorize"
c.GenericOAuthenticator.token_url = "ISSUER/token"
c.GenericOAuthenticator.userdata_url = "ISSUER/userinfo"
c.GenericOAuthenticator.logout_redirect_url = "ISSUER/logout"
c.GenericOAuthenticator.scope = ["openid", "profile", "email", "offline_access"]
c.GenericOAuthenticator.username_claim = "preferred_username"
c.GenericOAuthenticator.manage_groups = True
c.GenericOAuthenticator.auth_state_groups_key = "oauth_user.groups"
c.GenericOAuthenticator.allowed_groups = {"researchers"}
c.GenericOAuthenticator.admin_groups = {"operators"}
c.GenericOAuthenticator.enable_auth_state = True
c.GenericOAuthenticator.auth_refresh_age = 1
"""

ACCESS_TOKEN = 2
PASSWORD = "correct horse battery staple"
ADA = {"username": "ada", "password": PASSWORD, "groups": ["researchers", "operators"]}
BOB = {"username": "bob", "password": PASSWORD, "groups": ["researchers"]}
EVE = {"username": "eve", "password": PASSWORD, "groups": ["guests"]}


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    # Access tokens end within the test, so that the hub has to refresh.
    running = Server(tmp_path_factory.mktemp("provider"), f'[lifetimes]\naccess_token = "{ACCESS_TOKEN}s"\n')
    for user in (ADA, BOB, EVE):
        running.add("user", user)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def home(provider, tmp_path_factory):
    folder = tmp_path_factory.mktemp("jupyterhub")
    address = f"http://localhost:{free_port()}"
    client = provider.add(
        "client",
        {
            "client_name": "JupyterHub", "redirect_uris": [f"{address}/hub/oauth_callback"], "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "client_secret_post", "claims": {"groups": "groups"},
        },
    )
    text = CONFIGURATION
    for name, value in {"HOME": address, "ISSUER": provider.issuer, "CLIENT_ID": client["client_id"], "CLIENT_SECRET": client["client_secret"]}.items():
        text = text.replace(name, value)
    (folder / "jupyterhub_config.py").write_text(text)
    log = (folder / "log").open("wb")
    hub = subprocess.Popen(
        [sys.executable, "-m", "jupyterhub"], cwd=folder, stdout=log, stderr=log, env=os.environ | {"JUPYTERHUB_CRYPT_KEY": secrets.token_hex(32)}
    )
    try:
        end = time.monotonic() + 60
        while True:
            try:
                if requests.get(f"{address}/hub/health", timeout=2).ok:
                    break
            except requests.RequestException:
                pass
            assert hub.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.05)
        yield address
    finally:
        hub.terminate()
        try:
            hub.wait(15)
        except subprocess.TimeoutExpired:
            hub.kill()
        log.close()


def sign_in(home: str, person: Person):
    callback = person.open(f"{home}/hub/oauth_login?next=/hub/home", f"{home}/hub/oauth_callback")
    return person.browser.get(callback, timeout=20)


def user(home: str, person: Person) -> dict:
    """What the hub's own API says of the person who is signed in."""
    browser = person.browser
    answer = browser.get(f"{home}/hub/api/user", headers={"x-xsrftoken": browser.cookies.get("_xsrf", path="/hub/"), "referer": f"{home}/hub/home"}, timeout=20)
    assert answer.ok, answer.text
    return answer.json()


def test_people_sign_in_with_their_groups(home):
    ada, bob = Person(ADA), Person(BOB)
    page = sign_in(home, ada)
    assert (page.status_code, page.url) == (200, f"{home}/hub/home"), page.text
    told = user(home, ada)
    assert (told["name"], told["admin"], sorted(told["groups"])) == ("ada", True, ["operators", "researchers"])
    sign_in(home, bob)
    told = user(home, bob)
    assert (told["name"], told["admin"], told["groups"]) == ("bob", False, ["researchers"])


def test_a_person_of_no_allowed_group_is_not_let_in(home):
    assert sign_in(home, Person(EVE)).status_code == 403


def test_the_hub_refreshes_while_the_provider_agrees(home, provider):
    bob = Person(BOB)
    sign_in(home, bob)
    time.sleep(ACCESS_TOKEN + 1)
    # The access token is over: what the hub knows now it has got by its refresh token.
    provider.command("user", "update", "bob", "--file", "-", told={"groups": ["researchers", "operators"]})
    page = bob.browser.get(f"{home}/hub/home", timeout=20)
    assert (page.status_code, page.url) == (200, f"{home}/hub/home")
    assert sorted(user(home, bob)["groups"]) == ["operators", "researchers"]

    provider.command("user", "disable", "bob")
    time.sleep(1.1)
    page = bob.browser.get(f"{home}/hub/home", timeout=20)
    assert page.url.startswith(f"{home}/hub/login"), page.url
