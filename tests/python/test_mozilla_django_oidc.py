"""A Django site with mozilla-django-oidc: people sign in, are asked for again in the background, and sign out at the provider."""

import sys
import threading
import time
import types
from urllib.parse import urlencode

import pytest
from werkzeug.serving import make_server

from conftest import ALICE, Person, free_port

RENEWED_AFTER = 1.0


def site(home: str, server, client: dict, folder) -> types.ModuleType:
    """The site's URL configuration, which is a module; its settings are Django's and so the process's own."""
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="a test", ALLOWED_HOSTS=["localhost"], ROOT_URLCONF="the_site", USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "site.db"}},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "mozilla_django_oidc"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
            "mozilla_django_oidc.middleware.SessionRefresh",
        ],
        AUTHENTICATION_BACKENDS=["mozilla_django_oidc.auth.OIDCAuthenticationBackend"],
        LOGIN_URL="/oidc/authenticate/", LOGIN_REDIRECT_URL="/", LOGIN_REDIRECT_URL_FAILURE="/failed", LOGOUT_REDIRECT_URL="/",
        OIDC_RP_CLIENT_ID=client["client_id"], OIDC_RP_CLIENT_SECRET=client["client_secret"], OIDC_RP_SIGN_ALGO="RS256",
        OIDC_RP_SCOPES="openid email profile", OIDC_USE_PKCE=True, OIDC_TOKEN_USE_BASIC_AUTH=True, OIDC_STORE_ID_TOKEN=True,
        OIDC_RENEW_ID_TOKEN_EXPIRY_SECONDS=RENEWED_AFTER, OIDC_OP_LOGOUT_URL_METHOD="the_site.at_the_provider", OIDC_TIMEOUT=10,
        OIDC_OP_AUTHORIZATION_ENDPOINT=server.metadata["authorization_endpoint"], OIDC_OP_TOKEN_ENDPOINT=server.metadata["token_endpoint"],
        OIDC_OP_USER_ENDPOINT=server.metadata["userinfo_endpoint"], OIDC_OP_JWKS_ENDPOINT=server.metadata["jwks_uri"],
    )
    django.setup()
    from django.contrib.auth.decorators import login_required
    from django.core.management import call_command
    from django.http import HttpResponse
    from django.urls import include, path

    call_command("migrate", verbosity=0)
    module = types.ModuleType("the_site")
    module.at_the_provider = lambda request: server.metadata["end_session_endpoint"] + "?" + urlencode(
        {"id_token_hint": request.session["oidc_id_token"], "post_logout_redirect_uri": f"{home}/", "state": "bye"}
    )
    module.urlpatterns = [
        path("", lambda request: HttpResponse(request.user.email if request.user.is_authenticated else "Not signed in")),
        path("private", login_required(lambda request: HttpResponse(f"For {request.user.email}"))),
        path("failed", lambda request: HttpResponse("No sign-in", status=403)),
        path("oidc/", include("mozilla_django_oidc.urls")),
    ]
    sys.modules["the_site"] = module
    return module


@pytest.fixture(scope="module")
def home(server, tmp_path_factory):
    from django.core.wsgi import get_wsgi_application

    port = free_port()
    address = f"http://localhost:{port}"
    client = server.add(
        "client",
        {
            "client_name": "Django", "redirect_uris": [f"{address}/oidc/callback/"], "post_logout_redirect_uris": [f"{address}/"],
            # Userinfo as a JWT, which the library verifies as it does the ID token.
            "userinfo_signed_response_alg": "RS256",
        },
    )
    site(address, server, client, tmp_path_factory.mktemp("django"))
    http = make_server("127.0.0.1", port, get_wsgi_application(), threaded=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield address
    http.shutdown()
    thread.join(10)


def sign_in(home: str, person: Person):
    callback = person.open(f"{home}/private", f"{home}/oidc/callback/")
    return person.browser.get(callback, timeout=10)


def test_a_person_signs_in_is_renewed_in_the_background_and_signs_out(home, server, alice: Person):
    browser = alice.browser
    assert browser.get(home, timeout=10).text == "Not signed in"
    page = sign_in(home, alice)
    assert (page.url, page.text) == (f"{home}/private", f"For {ALICE['email']}")

    # The site goes through the provider with prompt=none, and nobody sees a page of it.
    time.sleep(RENEWED_AFTER + 0.1)
    again = browser.get(f"{home}/private", timeout=10)
    ways = [hop.headers["location"].split("?")[0] for hop in again.history]
    assert ways == [server.metadata["authorization_endpoint"], f"{home}/oidc/callback/", "/private"]
    assert again.text == f"For {ALICE['email']}"

    out = browser.post(f"{home}/oidc/logout/", timeout=10)
    assert (out.url, out.text) == (f"{home}/?state=bye", "Not signed in")
    # There is no session at the provider either.
    silent = browser.get(f"{home}/oidc/authenticate/", allow_redirects=False, timeout=10).headers["location"]
    refused = browser.get(f"{silent}&prompt=none", allow_redirects=False, timeout=10)
    assert "error=login_required" in refused.headers["location"]


def test_a_session_that_ended_at_the_provider_ends_at_the_site(home, server, alice: Person):
    assert sign_in(home, alice).text == f"For {ALICE['email']}"
    server.command("user", "sign-out", "alice")
    time.sleep(RENEWED_AFTER + 0.1)
    after = alice.browser.get(f"{home}/", timeout=10)
    assert (after.status_code, after.text) == (403, "No sign-in")
    assert alice.browser.get(home, timeout=10).text == "Not signed in"
