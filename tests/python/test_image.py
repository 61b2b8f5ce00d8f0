"""The image, without a container engine: the Dockerfile built by buildah, which needs none, and what comes out started as it would be: as nobody in
particular, in a root file system that holds what the distroless base holds, cannot be written to, and has no shell, /proc or /dev.

Two things stand in for what a test cannot fetch. The base images are made of this machine's files: glibc's libraries, the certificates and the
users of gcr.io/distroless/cc-debian12; a shell and `install` for rust:1-bookworm. And `cargo` in the latter hands over the binary that is already built."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import warnings
from pathlib import Path

import pytest
import requests

from conftest import BINARY, free_port
from test_deploy import BINARY_IN_IMAGE, ROOT, dockerfile, image_environment

AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
NONROOT = 65532
# What the base image has, besides the loader.
LIBRARIES = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libdl.so.2", "libpthread.so.0", "librt.so.1"}


def run(*command, **more) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, check=False, **more)
    assert done.returncode == 0, f"{shlex.join(str(word) for word in command)}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def with_libraries(root: Path, program: str, target: str):
    """The program and the libraries that the loader would look for."""
    libraries = re.findall(r"(?:=> )?(/\S+) \(0x", run("ldd", program))
    for source, at in [(program, target), *((library, library) for library in libraries)]:
        (root / at.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, root / at.lstrip("/"))


def distroless(root: Path):
    """Like gcr.io/distroless/cc-debian12:nonroot."""
    with_libraries(root, BINARY, BINARY_IN_IMAGE)
    (root / BINARY_IN_IMAGE.lstrip("/")).unlink()
    for folder in ("etc/ssl/certs", "var/lib", "home/nonroot"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs")
    (root / "etc/passwd").write_text(f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{NONROOT}:{NONROOT}:nonroot:/home/nonroot:/sbin/nologin\n")
    (root / "etc/group").write_text(f"root:x:0:\nnonroot:x:{NONROOT}:\n")


def rust(root: Path):
    """Like rust:1-bookworm, with a `cargo` that knows one command."""
    for program in ("sh", "install"):
        with_libraries(root, shutil.which(program), f"/bin/{program}")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    with_libraries(root, BINARY, "/opt/chancery")
    # Copied from layer to layer, and large where it is a debug build.
    if shutil.which("strip"):
        run("strip", root / "opt/chancery")
    cargo = root / "usr/local/bin/cargo"
    cargo.parent.mkdir(parents=True)
    cargo.write_text('#!/bin/sh\n[ "$*" = "build --locked --profile dist --bin chancery" ] && [ -f src/main.rs ] && [ -f Cargo.lock ] && exec install -D /opt/chancery target/dist/chancery\n')
    cargo.chmod(0o755)


class Image:
    """A root file system, entered as the user of the image."""

    def __init__(self, root: Path, tmp_path: Path, read_only: bool):
        self.root, self.data = root, tmp_path / "data"
        self.env = image_environment()
        self.data.mkdir()
        run(*AS_ROOT, "chown", f"{NONROOT}:{NONROOT}", self.data)
        mounts = [
            f"mount --bind {self.root} {self.root}",
            f"mount --bind {self.data} {self.root}{self.env['CHANCERY_SERVER__DATA_DIR']}",
            f"mount -o remount,bind,ro {self.root}",
        ]
        enter = f"chroot --userspec={NONROOT}:{NONROOT} {self.root} {BINARY_IN_IMAGE} \"$@\""
        self.prefix = ["unshare", "--mount", "sh", "-euc", f"{' && '.join(mounts)} && exec {enter}", "sh"]
        if not read_only:
            # The folder of the image itself: the rest belongs to root, and this user writes nowhere else.
            run(*AS_ROOT, "chown", "-R", f"{NONROOT}:{NONROOT}", f"{self.root}{self.env['CHANCERY_SERVER__DATA_DIR']}")
            self.prefix = ["sh", "-euc", f"exec {enter}", "sh"]
        # The ports of the image may be taken on this machine, and nobody beyond it is to be served.
        self.env |= {name: f"127.0.0.1:{free_port()}" for name in ("CHANCERY_LISTEN", "CHANCERY_MANAGEMENT_LISTEN")}

    def command(self, *words) -> list[str]:
        settings = [f"{name}={value}" for name, value in self.env.items()]
        return [str(word) for word in [*AS_ROOT, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *settings, *self.prefix, *words]]

    def serves(self):
        """Everything that an engine would ask of it."""
        run(*self.command("migrate"))
        assert subprocess.run(self.command("healthcheck"), capture_output=True, check=False).returncode != 0, "nothing serves yet"
        server = subprocess.Popen(self.command(*json.loads(re.search(r"^CMD (.*)", dockerfile(), re.MULTILINE).group(1))), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            end = time.monotonic() + 20
            while server.poll() is None and time.monotonic() < end:
                try:
                    if requests.get(f"http://{self.env['CHANCERY_MANAGEMENT_LISTEN']}/readyz", timeout=2).ok:
                        break
                except requests.RequestException:
                    time.sleep(0.05)
            assert server.poll() is None, server.stdout.read()
            run(*self.command("healthcheck"))
            assert requests.get(f"http://{self.env['CHANCERY_LISTEN']}/jwks", timeout=5).json()["keys"]
            with_status = Path(f"/proc/{child(server.pid)}/status").read_text()
            assert re.search(rf"^Uid:\s+{NONROOT}\s+{NONROOT}", with_status, re.MULTILINE), with_status
        finally:
            run(*AS_ROOT, "kill", f"-{signal.SIGTERM.value}", child(server.pid))
            said = server.communicate(timeout=30)[0]
        assert server.returncode == 0, said

    def holds_nothing_else(self):
        """No program but ours, and nothing that the user may write to."""
        programs, writable = set(), set()
        for path in self.root.rglob("*"):
            if path.is_symlink() or path.is_relative_to(self.root / "var/lib/chancery"):
                continue
            mode = path.stat()
            inside = f"/{path.relative_to(self.root)}"
            if path.is_file() and mode.st_mode & 0o111 and ".so" not in path.name:
                programs.add(inside)
            if mode.st_uid == NONROOT or mode.st_mode & 0o002:
                writable.add(inside)
        assert programs == {BINARY_IN_IMAGE} and not writable, (programs, writable)


def child(pid: int) -> int:
    """The process that a chain of sudo, env and unshare ends in."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return child(int(children[0])) if children else pid


@pytest.fixture(scope="module", autouse=True)
def root():
    if AS_ROOT and subprocess.run([*AS_ROOT, "true"], capture_output=True, check=False).returncode:
        pytest.fail("entering a root file system needs root, or sudo without a password")


def may_mount() -> bool:
    done = subprocess.run([*AS_ROOT, "unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False)
    if done.returncode:
        warnings.warn(f"this machine lets nobody mount ({done.stderr.strip()}): buildah did not build the Dockerfile, and no file system was made read-only", stacklevel=1)
    return done.returncode == 0


def test_the_binary_needs_what_the_base_image_has():
    names = {Path(line.split()[0]).name for line in run("ldd", BINARY).splitlines()}
    assert {name for name in names if not name.startswith(("ld-linux", "linux-vdso"))} <= LIBRARIES


def test_the_runtime_layer_serves_as_nobody_and_read_only(tmp_path):
    root = tmp_path / "root"
    distroless(root)
    shutil.copy(BINARY, root / BINARY_IN_IMAGE.lstrip("/"))
    (root / "var/lib/chancery").mkdir(mode=0o700)
    image = Image(root, tmp_path, read_only=may_mount())
    image.holds_nothing_else()
    image.serves()
    run(*AS_ROOT, "rm", "-rf", root, image.data)


def test_the_dockerfile_builds_and_its_image_serves(tmp_path):
    if not may_mount():
        return
    assert shutil.which("buildah"), "buildah is missing; ./test installs it"
    config = tmp_path / "storage.conf"
    config.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/images"\nrunroot = "{tmp_path}/run"\n')
    settings = [f"CONTAINERS_STORAGE_CONF={config}", "BUILDAH_ISOLATION=chroot", f"TMPDIR={tmp_path}"]

    def buildah(*words) -> str:
        return run(*AS_ROOT, "env", *settings, "buildah", *words).strip()

    bases = re.findall(r"^FROM (\S+)", dockerfile(), re.MULTILINE)
    for name, make in zip(bases, (rust, distroless), strict=True):
        make(tmp_path / make.__name__)
        container = buildah("from", "scratch")
        buildah("copy", "--quiet", container, tmp_path / make.__name__, "/")
        buildah("commit", "--quiet", "--rm", container, name)
    buildah("bud", "--pull-never", "--format", "docker", "--tag", "chancery", "--file", ROOT / "Dockerfile", ROOT)
    config = json.loads(buildah("inspect", "--type", "image", "chancery"))["Docker"]["config"]
    assert config["User"] == "nonroot" and config["Entrypoint"] == [BINARY_IN_IMAGE] and config["Cmd"] == ["serve"]
    assert config["Healthcheck"]["Test"] == ["CMD", BINARY_IN_IMAGE, "healthcheck"] and config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {"8080/tcp", "9080/tcp"} and "/var/lib/chancery" in config["Volumes"]
    assert image_environment().items() <= dict(word.split("=", 1) for word in config["Env"]).items()
    container = buildah("from", "--pull-never", "chancery")
    image = Image(Path(buildah("mount", container)), tmp_path, read_only=True)
    folder = (image.root / "var/lib/chancery").stat()
    assert (folder.st_uid, folder.st_gid, folder.st_mode & 0o777) == (NONROOT, NONROOT, 0o700), "a named volume begins as this folder is"
    image.holds_nothing_else()
    image.serves()
    run(*AS_ROOT, "sh", "-c", f"for name in overlay vfs; do umount {tmp_path}/images/$name 2>/dev/null; done; rm -rf {tmp_path}/images {tmp_path}/run {image.data}")
