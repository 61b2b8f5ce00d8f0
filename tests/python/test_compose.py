"""The compose file as it stands, run by Docker Compose on podman in a place of its own: its processes, its mounts and its network go with it.

As in test_image.py, base images are made of this machine's files, postgres:17-bookworm among them: its PostgreSQL behind an entry point that does what
the official one does. Podman has systemd run the checks of health; where that is not, a loop does."""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
import warnings
from pathlib import Path

import pytest

from conftest import BINARY
from test_deploy import DEPLOY, ROOT, dockerfile
from test_image import AS_ROOT, distroless, may_mount, run, rust, with_libraries

POSTGRES = "docker.io/library/postgres:17-bookworm"
# Sets up as the official image does: by a server that listens on its socket alone, and for long enough that who asks there thinks that all is well.
ENTRY_POINT = r"""#!/bin/sh
set -eu
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /var/run/postgresql && chown -R 999:999 "$PGDATA" /var/run/postgresql && chmod 0700 "$PGDATA"
  exec setpriv --reuid=999 --regid=999 --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
  initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  pg_ctl -o "-c listen_addresses=''" -w start
  psql --username="$POSTGRES_USER" --dbname=postgres --command="CREATE DATABASE \"$POSTGRES_DB\""
  sleep 4
  pg_ctl -m fast -w stop
fi
exec "$@" -c listen_addresses='*'
"""
# Engines keep notes on the machine: they are to go. A first process that ends takes everything with it.
PLACE = "mount -t tmpfs none /run && mkdir /run/netns /run/lock && ip link set lo up && sysctl -qw net.ipv4.ip_forward=1 && exec sleep 300"
HEALTH = "while sleep 1; do for name in $(podman ps --quiet); do podman healthcheck run $name; done; done >/dev/null 2>&1"


def postgres(root: Path) -> Path:
    """Like postgres:17-bookworm, of this machine's version; the folder of its programs."""
    programs = Path(shutil.which("initdb") or "nowhere").resolve().parent
    if not (programs / "postgres").exists():
        programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    for name in ("sh", "id", "mkdir", "chown", "chmod", "setpriv", "sleep"):
        with_libraries(root, shutil.which(name), f"/bin/{name}")
    for name in ("initdb", "postgres", "pg_ctl", "psql", "pg_isready"):
        with_libraries(root, str(programs / name), str(programs / name))
    library, share = programs.parent / "lib", Path("/usr/share/postgresql") / programs.parent.name
    shutil.copytree(library, root / str(library).lstrip("/"), ignore=shutil.ignore_patterns("bitcode", "llvmjit*", "pgxs", "bin"))
    shutil.copytree(share, root / str(share).lstrip("/"), ignore=shutil.ignore_patterns("man", "locale"))
    for folder in ("etc", "tmp", "usr/share/zoneinfo/Etc", "var/run", "usr/local/bin"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for zone in ("UTC", "Etc/UTC"):
        shutil.copy(f"/usr/share/zoneinfo/{zone}", root / "usr/share/zoneinfo" / zone)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\npostgres:x:999:\n")
    entry = root / "usr/local/bin/docker-entrypoint.sh"
    entry.write_text(ENTRY_POINT)
    entry.chmod(0o755)
    return programs


class Engine:
    """Podman, and Docker Compose speaking to it."""

    def __init__(self, folder: Path):
        self.folder = folder
        compose = os.environ.get("CHANCERY_TEST_COMPOSE")
        assert compose and shutil.which("podman"), "podman or Docker Compose is missing; ./test installs both"
        (folder / "storage.conf").write_text(f'[storage]\ndriver = "{self.driver()}"\ngraphroot = "{folder}/images"\nrunroot = "/run/containers"\n')
        (folder / "containers.conf").write_text(
            f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "{folder}/networks"\n[containers]\nlog_driver = "k8s-file"\n'
        )
        (folder / "registries.conf").write_text('unqualified-search-registries = ["docker.io"]\nshort-name-mode = "permissive"\n')
        self.env = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder), "DOCKER_HOST": "unix:///run/podman.sock", "DOCKER_BUILDKIT": "0", "TMPDIR": str(folder),
            "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf", "CONTAINERS_CONF": f"{folder}/containers.conf", "CONTAINERS_REGISTRIES_CONF": f"{folder}/registries.conf",
        }  # fmt: skip
        self.log = (folder / "engine.log").open("wb")
        self.place = self.begin(["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-euc", PLACE])
        self.first = None
        self.until(self.found)
        self.begin(self.inside("podman", "system", "service", "--time", "0", self.env["DOCKER_HOST"]))
        self.begin(self.inside("sh", "-c", HEALTH))
        self.up = [compose, "--file", str(DEPLOY / "compose.yaml"), "--env-file", str(folder / ".env")]
        self.until(lambda: self.tries("podman", "--remote", "--url", self.env["DOCKER_HOST"], "info").returncode == 0)

    def driver(self) -> str:
        (self.folder / "probe").mkdir()
        line = f"mount -t tmpfs none {self.folder}/probe && cd {self.folder} && mkdir low up work root && mount -t overlay -o lowerdir=low,upperdir=up,workdir=work overlay root"
        return "overlay" if subprocess.run([*AS_ROOT, "unshare", "--mount", "sh", "-c", line], capture_output=True, check=False).returncode == 0 else "vfs"

    def begin(self, line: list) -> subprocess.Popen:
        return subprocess.Popen([str(word) for word in [*AS_ROOT, *line]], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def found(self) -> bool:
        """The first process of the place, once it is what it stays."""
        waiting = [self.place.pid]
        for pid in waiting:
            try:
                waiting += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
                if Path(f"/proc/{pid}/comm").read_text() == "sleep\n":
                    self.first = pid
            except OSError:
                pass
        return self.first is not None

    def inside(self, *line) -> list[str]:
        settings = [f"{name}={value}" for name, value in self.env.items()]
        return [str(word) for word in ["nsenter", "--target", self.first, "--mount", "--net", "--pid", "--", "env", "-i", *settings, *line]]

    def tries(self, *line, **more) -> subprocess.CompletedProcess:
        return subprocess.run([*AS_ROOT, *self.inside(*line)], capture_output=True, text=True, timeout=120, check=False, **more)

    def does(self, *line, **more) -> str:
        done = self.tries(*line, **more)
        assert done.returncode == 0, f"{shlex.join(map(str, line))}: {done.stdout[-3000:]}{done.stderr[-3000:]}\n{self.tries('podman', 'ps', '--all').stdout}"
        return done.stdout

    def compose(self, *line, **more) -> str:
        return self.does(*self.up, *line, **more)

    def asks(self, path: str, *more: str) -> str:
        return self.does("curl", "--silent", "--show-error", "--max-time", "10", *more, f"http://localhost:8080{path}")

    def image(self, name: str, root: Path, *changes: str):
        archive = self.folder / "image.tar"
        run(*AS_ROOT, "tar", "--numeric-owner", "--owner=0", "--group=0", "-C", root, "-cf", archive, ".")
        self.does("podman", "import", "--quiet", *(word for change in changes for word in ("--change", change)), archive, name)
        run(*AS_ROOT, "rm", "-rf", root, archive)

    def container(self, service: str) -> dict:
        [found] = json.loads(self.does("podman", "inspect", f"chancery-{service}-1"))
        return found

    def until(self, holds, patience: float = 60):
        end = time.monotonic() + patience
        while not holds():
            assert self.place.poll() is None and time.monotonic() < end, self.story()
            time.sleep(0.2)

    def story(self) -> str:
        """What there is to know where something does not come true."""
        said = [self.tries("sh", "-c", f"podman ps --all; for name in chancery-postgres-1 chancery-chancery-1; do podman healthcheck run $name; podman logs --tail 10 $name; done")]
        return "\n".join([(self.folder / "engine.log").read_text(errors="replace")[-4000:], *(done.stdout + done.stderr for done in said)])

    def stop(self):
        subprocess.run([*AS_ROOT, *self.inside("podman", "rm", "--all", "--force", "--time", "0")], capture_output=True, check=False)
        run(*AS_ROOT, "kill", "-KILL", self.first)
        self.place.wait(20)
        self.log.close()
        run(*AS_ROOT, "rm", "-rf", self.folder / "images", self.folder / "networks")
        # The branches of the control groups, which are empty now.
        for branch in [found for name in ("libpod_parent", "k8s.io") for found in Path("/sys/fs/cgroup").glob(f"**/{name}")]:
            subprocess.run([*AS_ROOT, "find", branch, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"], capture_output=True, check=False)


def test_the_compose_file_runs(tmp_path):
    if not may_mount():
        warnings.warn("this machine lets nobody mount: the compose file was not run", stacklevel=1)
        return
    engine = Engine(tmp_path)
    try:
        runs(engine, tmp_path)
    finally:
        engine.stop()


def runs(engine: Engine, tmp_path: Path):
    build, runtime = re.findall(r"^FROM (\S+)", dockerfile(), re.MULTILINE)
    rust(tmp_path / "rust")
    engine.image(f"docker.io/library/{build}", tmp_path / "rust")
    distroless(tmp_path / "distroless")
    engine.image(runtime, tmp_path / "distroless")
    programs = postgres(tmp_path / "postgres")
    engine.image(POSTGRES, tmp_path / "postgres", f"ENV PATH=/usr/local/bin:/usr/bin:/bin:{programs}", "ENV PGDATA=/var/lib/postgresql/data",
                 'ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]', 'CMD ["postgres"]', "STOPSIGNAL SIGINT", "VOLUME /var/lib/postgresql/data")  # fmt: skip

    # The commands at its head, with the folder of .env elsewhere.
    lines = [line.removeprefix("#   ") for line in (DEPLOY / "compose.yaml").read_text().split("name: chancery")[0].splitlines() if line.startswith("#   ")]
    change, make, protect, up, add = lines
    assert change == "cd deploy" and up == "docker compose up --detach" and add.startswith("docker compose exec chancery chancery user add ")
    subprocess.run(["bash", "-euc", f"{make}\n{protect}"], cwd=tmp_path, check=True)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0

    engine.compose("up", "--detach")
    engine.until(lambda: engine.container("chancery")["State"]["Health"]["Status"] == "healthy")
    server, database = engine.container("chancery"), engine.container("postgres")
    assert server["RestartCount"] == 0, "the database was healthy before it was one"
    assert server["HostConfig"]["ReadonlyRootfs"] and not server["EffectiveCaps"] and "no-new-privileges" in str(server["HostConfig"]["SecurityOpt"])
    assert database["NetworkSettings"]["Ports"] in ({}, {"5432/tcp": None})
    listening = engine.does("ss", "--numeric", "--listening", "--tcp", "--no-header")
    assert {word for word in listening.split() if re.search(r":(8080|9080|5432)$", word)} == {"127.0.0.1:8080"}, listening

    assert json.loads(engine.asks("/.well-known/openid-configuration"))["issuer"] == "http://localhost:8080"
    assert 'name="password"' in engine.asks("/login")
    # Without a terminal the administrator's password is made and printed, as at its head.
    assert "Password, shown this once" in engine.compose("exec", "--no-TTY", *shlex.split(add)[3:])
    said = engine.compose("exec", "--no-TTY", "chancery", "chancery", "client", "add", "--file", "/dev/stdin", "--json", input='{"client_name": "Robot", "grant_types": ["client_credentials"]}')
    client = json.loads(said)
    token = ("--user", f"{client['client_id']}:{client['client_secret']}", "--data", "grant_type=client_credentials")
    assert json.loads(engine.asks("/token", *token))["token_type"] == "Bearer"
    assert engine.tries(*engine.up, "exec", "--no-TTY", "chancery", "chancery", "doctor").returncode == 0

    engine.compose("stop", "chancery")
    assert engine.container("chancery")["State"]["ExitCode"] == 0
    assert '"stopped"' in engine.compose("logs", "chancery")
    engine.compose("restart")
    engine.until(lambda: engine.tries("curl", "--silent", "--fail", "--max-time", "2", "http://localhost:8080/readyz").returncode == 0)
    assert json.loads(engine.asks("/token", *token))["token_type"] == "Bearer", "the data is still there"
    engine.compose("down")
    engine.compose("up", "--detach", "--no-build")
    engine.until(lambda: engine.tries("curl", "--silent", "--fail", "--max-time", "2", "http://localhost:8080/readyz").returncode == 0)
    assert json.loads(engine.asks("/token", *token))["token_type"] == "Bearer", "a volume outlives its containers"
    assert "alice" in engine.compose("exec", "--no-TTY", "chancery", "chancery", "user", "list")
    engine.compose("down", "--volumes")
    assert engine.does("podman", "ps", "--all", "--quiet") == "" and "chancery_database" not in engine.does("podman", "volume", "ls", "--quiet")
