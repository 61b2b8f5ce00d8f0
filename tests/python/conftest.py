"""The real binary, started as an operator would start it, and a person with a browser without JavaScript."""

import contextlib
import html.parser
import itertools
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

import pytest
import requests

BINARY = os.environ.get("CHANCERY_TEST_BINARY")
ALICE = {"username": "alice", "password": "correct horse battery staple", "name": "Alice Liddell", "email": "alice@example.com"}
CALLBACK = "https://app.example.com/callback"

# Authlib refuses plain http unless told; the issuer here is on loopback.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"


asked = itertools.count(os.getpid() * 613)


def free_port() -> int:
    """A port that nobody listens on, that is given to nobody else here, and that the kernel gives to nobody who asks for any port or connects somewhere."""
    try:
        given_away = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        given_away = 32_768
    lowest = 20_000
    ours = max(given_away - lowest, 0)
    # Other processes of tests begin elsewhere.
    for _ in range(1000):
        port = lowest + next(asked) % ours if ours else 0
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return probe.getsockname()[1]
    raise RuntimeError("no port is free")


class Server:
    """A running `chancery serve` on SQLite in a folder of its own."""

    def __init__(self, folder: Path, config: str = ""):
        """`config` is extra TOML."""
        self.folder = folder
        port, management = free_port(), free_port()
        self.issuer = f"http://localhost:{port}"
        self.config = folder / "chancery.toml"
        self.config.write_text(
            f"""[server]
issuer = "{self.issuer}"
listen = "127.0.0.1:{port}"
management_listen = "127.0.0.1:{management}"
data_dir = "{folder}/data"

[passwords]
memory_kib = 64
iterations = 1
{config}"""
        )
        self.config.chmod(0o600)
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen([BINARY, "serve", "--config", self.config], cwd=folder, stdout=self.log, stderr=self.log)
        end = time.monotonic() + 20
        while True:
            try:
                if requests.get(f"{self.issuer}/readyz", timeout=2).ok:
                    break
            except requests.RequestException:
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError("the server did not start:\n" + (folder / "log").read_text())
            time.sleep(0.025)
        self.metadata = requests.get(f"{self.issuer}/.well-known/openid-configuration", timeout=5).json()

    def add(self, kind: str, content: dict) -> dict:
        """`chancery KIND add --file`, and what it prints."""
        with tempfile.NamedTemporaryFile("w", suffix=".json", dir=self.folder) as file:
            json.dump(content, file)
            file.flush()
            return json.loads(self.command(kind, "add", "--file", file.name, "--json"))

    def command(self, *words: str, told: dict | None = None) -> str:
        """A `chancery` command on this server's configuration, with `told` as JSON on its standard input; what it prints."""
        done = subprocess.run(
            [BINARY, *words, "--config", self.config], cwd=self.folder, input=told and json.dumps(told), capture_output=True, text=True, check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self):
        self.process.terminate()
        self.process.wait(15)
        self.log.close()


class Form(html.parser.HTMLParser):
    """The primary form of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.action, self.fields, self.asks, self.inside = None, {}, set(), False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form" and self.action is None:
            self.action, self.inside = attrs.get("action") or "", True
        elif self.inside and tag in ("input", "button") and attrs.get("name"):
            self.asks.add(attrs["name"])
            if tag == "input" and attrs.get("type") not in ("submit", "button"):
                self.fields[attrs["name"]] = attrs.get("value") or ""

    def handle_endtag(self, tag):
        if tag == "form":
            self.inside = False


class Person:
    """Signs in and says yes."""

    def __init__(self, user: dict):
        self.user, self.browser = user, requests.Session()

    def open(self, url: str, destination: str) -> str:
        """Goes from page to page until the browser would leave for `destination`; answers with that URL."""
        response = self.browser.get(url, allow_redirects=False, timeout=10)
        for _ in range(12):
            if "location" in response.headers:
                target = urllib.parse.urljoin(response.url, response.headers["location"])
                if target.startswith(destination):
                    return target
                response = self.browser.get(target, allow_redirects=False, timeout=10)
                continue
            form = Form(response.text)
            assert form.action is not None, f"no form at {response.url}: {response.status_code}\n{response.text[:2000]}"
            if "username" in form.asks:
                form.fields |= {"username": self.user["username"], "password": self.user["password"]}
            elif "decision" in form.asks:
                form.fields["decision"] = "allow"
            else:
                raise AssertionError(f"a page that nobody expected at {response.url}:\n{response.text[:2000]}")
            origin = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(response.url))
            response = self.browser.post(
                urllib.parse.urljoin(response.url, form.action), data=form.fields,
                headers={"origin": origin, "sec-fetch-site": "same-origin"}, allow_redirects=False, timeout=10,
            )
        raise AssertionError("the pages never end")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    assert BINARY, "CHANCERY_TEST_BINARY must name the chancery binary; ./test sets it"
    running = Server(tmp_path_factory.mktemp("chancery"))
    running.add("user", ALICE)
    yield running
    running.stop()


@pytest.fixture
def alice():
    return Person(ALICE)


@pytest.fixture(scope="session")
def web(server):
    """A confidential web application."""
    return server.add(
        "client",
        {
            "client_name": "Python shop",
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        },
    )
