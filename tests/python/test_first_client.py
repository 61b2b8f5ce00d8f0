"""The README's first client, as it is printed there."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from conftest import Person, free_port

SAMPLE = Path(__file__).parents[2] / "docs/first-client/app.py"


@pytest.fixture
def app(server):
    port = free_port()
    home = f"http://localhost:{port}"
    client = server.add("client", {"client_name": "First client", "redirect_uris": [f"{home}/callback"]})
    env = {**os.environ, "ISSUER": server.issuer, "CLIENT_ID": client["client_id"], "CLIENT_SECRET": client["client_secret"], "PORT": str(port)}
    process = subprocess.Popen([sys.executable, SAMPLE], env=env)
    for _ in range(400):
        try:
            requests.get(home, timeout=5)
            break
        except requests.ConnectionError:
            time.sleep(0.025)
    yield home
    process.terminate()
    process.wait(10)


def test_the_first_client_signs_a_person_in(app, alice: Person):
    browser = alice.browser
    assert browser.get(app, timeout=5).text.startswith("Sign in at")
    begun = browser.get(f"{app}/login", allow_redirects=False, timeout=5)
    back = alice.open(begun.headers["location"], f"{app}/callback")
    assert browser.get(back, timeout=10).text == "Hello, Alice Liddell."
