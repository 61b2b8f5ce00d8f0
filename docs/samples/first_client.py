# A web app that lets people sign in through Chancery. pip install Authlib Flask requests, then: python first_client.py
import os

from authlib.integrations.flask_client import OAuth
from flask import Flask, redirect, session

issuer = os.environ.get("ISSUER", "http://localhost:8080")
port = int(os.environ.get("PORT", "3000"))

app = Flask(__name__)
app.secret_key = os.urandom(32)
chancery = OAuth(app).register(
    "chancery",
    client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ["CLIENT_SECRET"],
    server_metadata_url=f"{issuer}/.well-known/openid-configuration",
    client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256"},
)


@app.get("/")
def home():
    if "person" not in session:
        return chancery.authorize_redirect(f"http://localhost:{port}/callback")
    return f"Hello, {session['person'].get('name', session['person']['sub'])}!"


@app.get("/callback")
def callback():
    tokens = chancery.authorize_access_token()  # checks state, nonce, PKCE and the ID token
    session["person"] = chancery.userinfo(token=tokens)
    return redirect("/")


if __name__ == "__main__":
    app.run(port=port)
