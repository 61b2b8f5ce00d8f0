"""A web application that signs people in through Chancery, with Authlib (pip install authlib requests)."""

import os
import secrets
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session

ISSUER, CLIENT_ID, CLIENT_SECRET = (os.environ[name] for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"))
PORT = int(os.environ.get("PORT", "3000"))
HOME = f"http://localhost:{PORT}"
if ISSUER.startswith("http://"):
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # http on your own machine only

server = requests.get(f"{ISSUER}/.well-known/openid-configuration", timeout=10).json()
sessions = {}


def oauth(**more):
    return OAuth2Session(
        CLIENT_ID, CLIENT_SECRET, scope="openid profile email", redirect_uri=f"{HOME}/callback", code_challenge_method="S256", **more
    )


class App(BaseHTTPRequestHandler):
    def do_GET(self):
        cookie = SimpleCookie(self.headers.get("cookie", "")).get("sid")
        session = sessions.get(cookie and cookie.value, {})
        path = self.path.split("?")[0]
        if path == "/login":
            sid, verifier = secrets.token_urlsafe(), generate_token(48)
            location, state = oauth().create_authorization_url(server["authorization_endpoint"], code_verifier=verifier)
            sessions[sid] = {"state": state, "verifier": verifier}
            self.redirect(location, {"set-cookie": f"sid={sid}; HttpOnly; SameSite=Lax; Path=/"})
        elif path == "/callback" and "verifier" in session:
            client = oauth(state=session["state"])
            client.fetch_token(server["token_endpoint"], authorization_response=HOME + self.path, code_verifier=session["verifier"])
            person = client.get(server["userinfo_endpoint"]).json()
            session.clear()
            session["person"] = person
            self.redirect(f"{HOME}/")
        else:
            person = session.get("person")
            self.answer(f"Hello, {person.get('name', person['sub'])}." if person else f"Sign in at {HOME}/login")

    def redirect(self, location, headers=None):
        self.send_response(303)
        for name, value in {"location": location, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def answer(self, text):
        self.send_response(200)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(text.encode())


print(f"listening on {HOME}", flush=True)
ThreadingHTTPServer(("localhost", PORT), App).serve_forever()
