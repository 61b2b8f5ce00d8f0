"""What `chancery doctor` finds about this machine's place in the network: in a network of its own, with an address that counts as public and leads nowhere."""

import json
import subprocess
import warnings

import pytest

from conftest import BINARY
from test_image import AS_ROOT

# What runs in there: the server, and the doctor beside it. 8.8.4.4 is this network's own loopback.
SCRIPT = f"""
ip link set lo up
ip addr add 8.8.4.4/32 dev lo
ip route add default dev lo src 8.8.4.4
{BINARY} serve > log 2>&1 &
server=$!
trap 'kill $server; wait $server' EXIT
for try in $(seq 200); do {BINARY} healthcheck > /dev/null 2>&1 && break; sleep 0.1; done
{BINARY} doctor --json || true
"""


def doctor(tmp_path, listen: str) -> dict:
    env = {"CHANCERY_MANAGEMENT_LISTEN": listen, "CHANCERY_LISTEN": "127.0.0.1:8080"}
    settings = [f"{name}={value}" for name, value in env.items()]
    command = [*AS_ROOT, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *settings, "unshare", "--net", "sh", "-euc", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("{"), f"{done.stdout}{done.stderr}{(tmp_path / 'log').read_text() if (tmp_path / 'log').exists() else ''}"
    return json.loads(done.stdout)


@pytest.mark.parametrize(("listen", "severity"), [("0.0.0.0:9080", "error"), ("127.0.0.1:9080", None)])
def test_a_management_port_that_answers_in_public_is_found(tmp_path, listen, severity):
    isolated = subprocess.run([*AS_ROOT, "unshare", "--net", "true"], capture_output=True, text=True, check=False)
    if isolated.returncode:
        warnings.warn(f"this machine gives nobody a network of their own ({isolated.stderr.strip()}): no server was bound to a public address", stacklevel=1)
        return
    found = {finding["id"]: finding for finding in doctor(tmp_path, listen)["findings"]}.get("management-public")
    assert (found or {}).get("severity") == severity, found
    if found:
        assert "the metrics answer at 8.8.4.4:9080, which is public" in found["what"] and "management_listen" in found["mend"], found
