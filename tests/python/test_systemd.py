"""The unit under systemd itself: PID 1 of a machine that systemd-nspawn makes of this one's files, in an overlay that is thrown away. None of this
machine's own units starts there, its network is one of its own, and the commands at the head of the unit install the server."""

import json
import os
import re
import subprocess
import time
import warnings
from pathlib import Path

import pytest

from conftest import BINARY
from test_deploy import DEPLOY, ROOT
from test_image import AS_ROOT, may_mount, run

NOTHING_ELSE = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# An overlay of the machine's root, without what would start by itself or wait for disks and networks. The control groups get a branch of their own,
# which can be taken away again.
BOOT = r"""
mount -t tmpfs none "$1"; cd "$1"; mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
rm -rf root/etc/systemd/system root/etc/chancery root/var/lib/chancery root/var/log/journal
mkdir -p root/etc/systemd/system root/src/target/dist root/src/config root/src/deploy
: >root/etc/fstab; : >root/etc/crypttab; : >root/src/target/dist/chancery
ln -s /dev/null root/etc/systemd/system/systemd-networkd-wait-online.service
for branch in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
  if [ ! -d /run/systemd/system ] && [ -w $branch/cgroup.procs ]; then mkdir $branch/"$2"; echo $$ >$branch/"$2"/cgroup.procs; fi
done
keep=; [ -d /run/systemd/system ] || keep=--keep-unit
exec systemd-nspawn --quiet --register=no $keep --console=pipe --directory=root --machine="$2" --private-network --link-journal=no \
  --bind-ro="$3":/src/target/dist/chancery --bind-ro="$4"/config:/src/config --bind-ro="$4"/deploy:/src/deploy \
  /lib/systemd/systemd --unit=basic.target systemd.log_target=console
"""


class Machine:
    """A machine whose PID 1 is systemd."""

    def __init__(self, folder: Path):
        self.name, self.log = f"chancery-{os.getpid()}", folder / "boot.log"
        (folder / "place").mkdir()
        line = ["timeout", "--kill-after=5", "240", "unshare", "--mount", "sh", "-euc", BOOT, "sh", folder / "place", self.name, BINARY, ROOT]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([str(word) for word in [*AS_ROOT, "env", "-i", NOTHING_ELSE, *line]], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.leader = self.until(lambda: self.systemd(self.process.pid))
            self.until(lambda: self.tries("systemctl is-active --quiet basic.target")[0] == 0)
        except BaseException:
            self.stop()
            raise

    def systemd(self, pid: int) -> int | None:
        """The first descendant that is systemd."""
        try:
            children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                return pid
        except OSError:
            return None
        return next((found for child in children if (found := self.systemd(child))), None)

    def until(self, holds):
        end = time.monotonic() + 60
        while not (found := holds()):
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text(errors="replace")[-6000:]
            time.sleep(0.1)
        return found

    def tries(self, line: str, **more) -> tuple[int, str]:
        """Runs a line of shell on the machine."""
        enter = ["nsenter", "--target", self.leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--", "env", "-i", NOTHING_ELSE, "sh", "-euc", line]
        done = subprocess.run([str(word) for word in [*AS_ROOT, *enter]], capture_output=True, text=True, timeout=60, check=False, **more)
        return done.returncode, done.stdout + done.stderr

    def does(self, line: str, **more) -> str:
        status, said = self.tries(line, **more)
        assert status == 0, f"{line}: {said}\n{self.tries('journalctl --no-pager --unit chancery')[1][-3000:]}"
        return said

    def shows(self, what: str) -> str:
        return self.does(f"systemctl show --value --property {what} chancery").strip()

    def journal(self) -> str:
        return self.does("journalctl --no-pager --output cat --unit chancery")

    def stop(self):
        if self.process.poll() is None and getattr(self, "leader", None):
            self.tries("systemctl --force --force poweroff")
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            run(*AS_ROOT, "kill", "-TERM", self.process.pid)
            self.process.wait(20)
        for branch in ("systemd", "unified", "."):
            place = f"/sys/fs/cgroup/{branch}/{self.name}"
            subprocess.run([*AS_ROOT, "sh", "-c", f"[ ! -d {place} ] || find {place} -depth -type d -exec rmdir {{}} +"], capture_output=True, check=False)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    if not may_mount():
        yield None
        return
    folder = tmp_path_factory.mktemp("systemd")
    try:
        made = Machine(folder)
    except AssertionError:
        # The overlay of a root file system that takes none.
        if "mount: " not in (folder / "boot.log").read_text(errors="replace"):
            raise
        warnings.warn(f"this machine makes no overlay of its root: the unit was not started by systemd\n{(folder / 'boot.log').read_text()}", stacklevel=1)
        yield None
        return
    yield made
    made.stop()


def head() -> list[str]:
    """The commands at the head of the unit."""
    text = (DEPLOY / "chancery.service").read_text().split("[Unit]")[0]
    return [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")]


def asks(machine, path: str, more: str = "") -> str:
    return machine.does(f"curl --silent --show-error --max-time 10 {more} http://localhost:8080{path}")


def test_systemd_starts_reloads_drains_and_restarts_it(machine):
    if machine is None:
        return
    *install, start, command = head()
    assert start.endswith("&& systemctl enable --now chancery") and command.startswith("sudo -u chancery chancery user list"), "the head of the unit"
    machine.does(f"cd /src; getent passwd chancery >/dev/null && userdel chancery; {'; '.join(install)}")
    # What the head tells the operator to write.
    machine.does(r"""sed -i 's|^data_dir = .*|data_dir = "/var/lib/chancery"|; s|^master_key_file = .*|master_key_file = "/etc/chancery/master.key"|' /etc/chancery/chancery.toml""")
    machine.does(f"cd /src; {start}")
    # Without waiting: `systemctl start` returns when it answers.
    assert json.loads(asks(machine, "/.well-known/openid-configuration"))["issuer"] == "http://localhost:8080"
    assert 'name="password"' in asks(machine, "/login")

    pid = machine.shows("MainPID")
    status = dict(line.split(":", 1) for line in machine.does(f"cat /proc/{pid}/status").splitlines() if ":" in line)
    user = machine.does("id -u chancery").strip()
    assert set(status["Uid"].split()) == {user} and status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    inside = f"nsenter --target {pid} --mount -- "
    assert "Read-only file system" in machine.tries(f"{inside} touch /etc/chancery/x")[1] and machine.tries(f"{inside} ls /home")[1] == ""

    said = machine.does("runuser -u chancery -- " + command.removeprefix("sudo -u chancery "))
    assert "USERNAME" in said or "no " in said.lower(), said
    machine.does("""printf '{"client_name": "Robot", "grant_types": ["client_credentials"]}' >/tmp/client.json""")
    client = json.loads(machine.does("runuser -u chancery -- chancery client add --file /tmp/client.json --json --config /etc/chancery/chancery.toml"))
    token = f"--user {client['client_id']}:{client['client_secret']} --data grant_type=client_credentials"
    assert json.loads(asks(machine, "/token", token))["token_type"] == "Bearer"

    machine.does("systemctl reload chancery")
    machine.until(lambda: "SIGHUP: nothing to read again" in machine.journal())
    assert machine.shows("MainPID") == pid and json.loads(asks(machine, "/token", token))["token_type"] == "Bearer"

    slow = in_flight(machine)
    assert slow.startswith("HTTP/1.1 401"), slow
    machine.until(lambda: machine.shows("ActiveState") == "inactive")
    assert [machine.shows("Result"), machine.shows("ExecMainStatus")] == ["success", "0"], machine.journal()

    machine.does("systemctl start chancery")
    assert json.loads(asks(machine, "/token", token))["token_type"] == "Bearer", "the data is still there"
    pid = machine.shows("MainPID")
    machine.does(f"kill -KILL {pid}")
    machine.until(lambda: machine.shows("ActiveState") == "active" and machine.shows("MainPID") not in (pid, "0"))
    assert json.loads(asks(machine, "/token", token))["token_type"] == "Bearer"


def in_flight(machine) -> str:
    """A request whose end is sent after the stop has begun."""
    head = r"POST /token HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 29\r\nConnection: close\r\n\r\ngrant_type="
    script = f"""exec 3<>/dev/tcp/127.0.0.1/8080; printf "{head}" >&3; sleep 0.3; systemctl stop --no-block chancery; sleep 1; printf client_credentials >&3; cat <&3"""
    return machine.does(f"bash -euc '{script}'")


def test_a_running_unit_is_as_confined_as_the_documentation_says(machine):
    if machine is None:
        return
    said = machine.tries("systemd-analyze security --no-pager chancery")[1]
    exposure = float(re.search(r"Overall exposure level for chancery.service: ([0-9.]+)", said).group(1))
    documented = re.search(r"`systemd-analyze security`: ([0-9.]+)", (ROOT / "docs/running.md").read_text()).group(1)
    assert exposure <= float(documented), said


def test_it_takes_port_443_by_the_drop_in_of_the_documentation(machine):
    """Without a proxy: docs/running.md has the TLS configuration and the drop-in."""
    if machine is None:
        return
    text = (ROOT / "docs/running.md").read_text().split("## Without a proxy")[1].split("\n## ")[0]
    settings = re.search(r"```toml\n(.*?)```", text, re.DOTALL).group(1)
    drop_in = re.search(r"```ini\n(.*?)```", text, re.DOTALL).group(1)
    reload = re.search(r"--deploy-hook '([^']+)'", text).group(1)
    machine.does("""
      cd /etc/chancery
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=id.example.com -addext subjectAltName=DNS:id.example.com -keyout privkey.pem -out fullchain.pem
      chown chancery privkey.pem fullchain.pem; chmod 0400 privkey.pem
      sed -i '/^issuer = /d; /^listen = /d; /^\\[tls\\]/,/^\\[pages\\]/{/_file/d}' chancery.toml
    """)
    toml = machine.does("cat /etc/chancery/chancery.toml")
    for section in re.findall(r"\[(\w+)\]\n((?:[^\[\n].*\n)+)", settings):
        toml = toml.replace(f"[{section[0]}]\n", f"[{section[0]}]\n{section[1]}", 1)
    machine.does("cat >/etc/chancery/chancery.toml", input=toml)
    machine.does("mkdir -p /etc/systemd/system/chancery.service.d; cat >/etc/systemd/system/chancery.service.d/port.conf", input=drop_in)
    machine.does("systemctl daemon-reload; systemctl restart chancery")
    see = "curl --silent --show-error --cacert /etc/chancery/fullchain.pem --resolve id.example.com:443:127.0.0.1 https://id.example.com/.well-known/openid-configuration"
    assert json.loads(machine.does(see))["issuer"] == "https://id.example.com"
    machine.does(reload)
    machine.until(lambda: "SIGHUP: the TLS certificate was read again" in machine.journal())
    assert json.loads(machine.does(see))["issuer"] == "https://id.example.com"
    machine.does("systemctl stop chancery")
