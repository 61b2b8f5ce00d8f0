"""The admin API's OpenAPI document, judged by others: openapi-spec-validator reads it, schemathesis makes requests of it and compares the
answers with it. The server's own tests hold the same document against the same validator that it was written with; these do not."""

import hashlib
import os
import re
import subprocess
import sys

import pytest
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

from conftest import BINARY, Server

SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
# More requests in `./test --long`.
EXAMPLES = 150 if os.environ.get("CHANCERY_TEST_LONG") else 12


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A server of its own, since everything in it is going to be changed and removed. Waiting after many failures is tested elsewhere."""
    running = Server(tmp_path_factory.mktemp("admin"), "\n[throttle]\nunknown_tokens_per_minute = 100000\n")
    # What a file owns cannot be changed through the API: the caller does not remove itself.
    (running.folder / "setup.toml").write_text(
        f"""name = "tests"
[[clients]]
client_id = "administration"
client_name = "Administration"
grant_types = ["client_credentials"]
scope = "admin:write"
secrets = [{{ sha256 = "{hashlib.sha256(SECRET.encode()).hexdigest()}" }}]
"""
    )
    subprocess.run([BINARY, "apply", "setup.toml", "--config", running.config], cwd=running.folder, check=True, capture_output=True)
    yield running
    running.stop()


@pytest.fixture
def token(site):
    answer = requests.post(f"{site.issuer}/token", auth=("administration", SECRET), data={"grant_type": "client_credentials"}, timeout=5)
    return answer.json()["access_token"]


def test_the_document_is_openapi_3_1(site):
    document = requests.get(f"{site.issuer}/admin/api/openapi.json", timeout=5).json()
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def schemathesis(site, token, *words) -> str:
    """Runs it, and answers with what it said: nothing was found."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{site.issuer}/admin/api/openapi.json", "--header", f"Authorization: Bearer {token}",
        "--seed", "20261121", "--max-examples", str(EXAMPLES), "--no-color", "--no-shrink", "--continue-on-failure", *words,
    ]
    done = subprocess.run(command, cwd=site.folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_whatever_is_sent_is_answered_as_the_document_says(site, token):
    phases = ["--phases", "coverage,fuzzing"]
    # A cursor is nothing that a caller makes up, and a document may fit its schema and contradict itself.
    checks = ["--exclude-checks", "positive_data_acceptance,negative_data_rejection,ignored_auth"]
    said = schemathesis(site, token, *phases, *checks, "--exclude-operation-id", "rotateKeys")
    assert re.search(r"Tested: (\d\d)", said) and "mostly returned 429" not in said and "only 401/403" not in said, said[-3000:]


    # May declare the key compromised that signed the token.
    schemathesis(site, token, *phases, *checks, "--include-operation-id", "rotateKeys")


def test_nothing_is_answered_without_a_token(site, token):
    schemathesis(site, token, "--phases", "fuzzing", "--checks", "ignored_auth,not_a_server_error,response_schema_conformance", "--mode", "positive")
