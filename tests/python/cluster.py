"""The manifests in a cluster of one machine, as docs/running.md has it: Kubernetes made of its own modules (tests/kubernetes), with containerd, in the
place and with the images of test_compose.py. `./test --long` runs it; making Kubernetes takes ten minutes.

Services have no address of their own here, and nobody enforces the network policy or serves the ingress: requests go to the pods that the service's
endpoints name."""

import json
import os
import shlex
import shutil
import time
from pathlib import Path

import pytest

from conftest import BINARY
from test_compose import POSTGRES, Engine, postgres
from test_deploy import BINARY_IN_IMAGE, DEPLOY, documents, image_environment
from test_image import AS_ROOT, distroless, may_mount, run, with_libraries

KUBERNETES = os.environ.get("CHANCERY_TEST_KUBERNETES")
IMAGE = documents("deployment.yaml")[0]["spec"]["template"]["spec"]["containers"][0]["image"]
NODE = "10.77.0.1"
# A clean machine for kubelet, and a network for its one node.
CLEAN = f"""
mount --make-rshared /
for folder in /var/lib/kubelet /var/log/pods /var/log/containers; do mkdir -p $folder && mount -t tmpfs none $folder && mount --make-rshared $folder; done
mount --make-rshared /run && mkdir /run/k
(cat /etc/hosts; echo {NODE} node) >/run/k/hosts && mount --bind /run/k/hosts /etc/hosts
ip link add node type bridge && ip address add {NODE}/24 dev node && ip link set node up && ip route add default via 10.77.0.254
sysctl -qw net.bridge.bridge-nf-call-iptables=0 || :
"""
CONTAINERD = """version = 2
root = "{folder}/containerd"
state = "/run/k/containerd"
[grpc]
address = "/run/k/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "registry.k8s.io/pause:3.9"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{folder}/cni"
"""
NETWORK = {"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "pods", "isGateway": True, "ipam": {
    "type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/k/ipam"}}]}  # fmt: skip
KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "containerRuntimeEndpoint": "unix:///run/k/containerd.sock",
    "cgroupDriver": "cgroupfs", "cgroupsPerQOS": False, "enforceNodeAllocatable": [], "failSwapOn": False, "authentication": {"webhook": {"enabled": False}, "anonymous": {"enabled": True}},
    "authorization": {"mode": "AlwaysAllow"}, "imageGCHighThresholdPercent": 100, "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
}  # fmt: skip
DATABASE = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "postgres", "namespace": "default"}, "spec": {"containers": [{
    "name": "postgres", "image": POSTGRES, "readinessProbe": {"exec": {"command": ["pg_isready", "--host", "127.0.0.1"]}, "periodSeconds": 1},
    "env": [{"name": "POSTGRES_USER", "value": "chancery"}, {"name": "POSTGRES_DB", "value": "chancery"}, {"name": "POSTGRES_PASSWORD", "value": "secret"}]}]}}  # fmt: skip


class Cluster(Engine):
    """Kubernetes in the place of an engine."""

    def __init__(self, folder: Path):
        assert KUBERNETES and shutil.which("containerd"), "Kubernetes or containerd is missing; ./test --long makes and installs them"
        super().__init__(folder)
        self.env |= {"KUBECONFIG": f"{folder}/kubeconfig"}
        self.does("sh", "-euc", CLEAN)
        for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"):
            (folder / name).symlink_to(KUBERNETES)
        (folder / "cni").mkdir()
        (folder / "cni/10.conflist").write_text(json.dumps(NETWORK))
        (folder / "containerd.toml").write_text(CONTAINERD.format(folder=folder))
        (folder / "kubelet.json").write_text(json.dumps(KUBELET))
        (folder / "tokens.csv").write_text('token,admin,1,"system:masters"\n')
        (folder / "kubeconfig").write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "here", "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
            "clusters": [{"name": "here", "cluster": {"server": "https://127.0.0.1:6443", "insecure-skip-tls-verify": True}}], "users": [{"name": "admin", "user": {"token": "token"}}],
        }))  # fmt: skip
        run("openssl", "genrsa", "-out", folder / "account.key", "2048")
        self.images()
        kubeconfig = f"--kubeconfig={folder}/kubeconfig"
        etcd = "http://127.0.0.1:2379"
        for line in (
            ["containerd", "--config", folder / "containerd.toml"],
            [folder / "etcd", "--data-dir=/run/k/etcd", f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}", "--listen-peer-urls=http://127.0.0.1:2380",
             "--initial-advertise-peer-urls=http://127.0.0.1:2380", "--initial-cluster=default=http://127.0.0.1:2380", "--unsafe-no-fsync"],
            [folder / "kube-apiserver", f"--etcd-servers={etcd}", "--service-cluster-ip-range=10.96.0.0/16", f"--service-account-key-file={folder}/account.key",
             f"--service-account-signing-key-file={folder}/account.key", "--service-account-issuer=https://kubernetes.default.svc", f"--token-auth-file={folder}/tokens.csv",
             "--authorization-mode=RBAC", f"--advertise-address={NODE}", "--cert-dir=/run/k/certificates"],
            [folder / "kube-controller-manager", kubeconfig, f"--service-account-private-key-file={folder}/account.key", "--leader-elect=false", "--cert-dir=/run/k/controllers"],
            [folder / "kube-scheduler", kubeconfig, "--leader-elect=false", "--cert-dir=/run/k/scheduler"],
            [folder / "kubelet", kubeconfig, f"--config={folder}/kubelet.json", "--hostname-override=node", f"--node-ip={NODE}", "--cert-dir=/run/k/kubelet"],
        ):  # fmt: skip
            # Each waits for what it needs, some of them by ending.
            self.begin(self.inside("sh", "-c", f"until {shlex.join(str(word) for word in line)}; do sleep 1; done"))
        self.until(lambda: self.tries("ctr", "--address", "/run/k/containerd.sock", "--namespace", "k8s.io", "version").returncode == 0)
        self.does("ctr", "--address", "/run/k/containerd.sock", "--namespace", "k8s.io", "images", "import", folder / "images.tar")
        ready = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
        self.until(lambda: self.tries(folder / "kubectl", "get", "nodes", "--output", ready).stdout == "True", 120)
        self.until(lambda: self.tries(folder / "kubectl", "get", "serviceaccount", "default").returncode == 0)

    def images(self):
        root = self.folder / "chancery"
        distroless(root)
        shutil.copy(BINARY, root / BINARY_IN_IMAGE.lstrip("/"))
        (root / "var/lib/chancery").mkdir(mode=0o700)
        if shutil.which("strip"):
            run("strip", root / BINARY_IN_IMAGE.lstrip("/"))
        settings = [f"ENV {name}={value}" for name, value in image_environment().items()]
        self.image(IMAGE, root, *settings, "USER nonroot", "WORKDIR /var/lib/chancery", f'ENTRYPOINT ["{BINARY_IN_IMAGE}"]', 'CMD ["serve"]')
        programs = postgres(self.folder / "postgres")
        self.image(POSTGRES, self.folder / "postgres", f"ENV PATH=/usr/local/bin:/usr/bin:/bin:{programs}", "ENV PGDATA=/var/lib/postgresql/data",
                   'ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]', 'CMD ["postgres"]')  # fmt: skip
        with_libraries(self.folder / "pause", shutil.which("sleep"), "/bin/sleep")
        self.image("registry.k8s.io/pause:3.9", self.folder / "pause", 'ENTRYPOINT ["/bin/sleep", "infinity"]')
        self.does("podman", "save", "--quiet", "--multi-image-archive", "--output", self.folder / "images.tar", IMAGE, POSTGRES, "registry.k8s.io/pause:3.9")

    def kubectl(self, *line, **more) -> str:
        return self.does(self.folder / "kubectl", "--namespace", "id", *line, **more)

    def pods(self) -> list[dict]:
        return json.loads(self.kubectl("get", "pods", "--output", "json"))["items"]

    def ready(self) -> list[str]:
        """The addresses that the service leads to."""
        slices = json.loads(self.kubectl("get", "endpointslices", "--selector", "kubernetes.io/service-name=chancery", "--output", "json"))["items"]
        return [address for part in slices for end in part["endpoints"] or [] if end["conditions"]["ready"] for address in end["addresses"]]

    def rolled_out(self):
        self.kubectl("rollout", "status", "deployment/chancery", "--timeout=90s")

    def story(self) -> str:
        said = [self.tries(self.folder / "kubectl", *line) for line in (["get", "pods", "--all-namespaces", "--output", "wide"], ["get", "events", "--all-namespaces"])]
        return "\n".join([(self.folder / "engine.log").read_text(errors="replace")[-4000:], *((done.stdout + done.stderr)[-3000:] for done in said)])

    def stop(self):
        super().stop()
        run(*AS_ROOT, "rm", "-rf", self.folder / "containerd", self.folder / "images.tar")


@pytest.fixture
def cluster(tmp_path):
    if not may_mount():
        pytest.fail("this machine lets nobody mount: the manifests were not run")
    made = Cluster(tmp_path)
    yield made
    made.stop()


def test_the_manifests_run(cluster):
    cluster.does(cluster.folder / "kubectl", "apply", "--filename", "-", input=json.dumps(DATABASE))
    cluster.does(cluster.folder / "kubectl", "wait", "--for=condition=Ready", "pod/postgres", "--timeout=90s")
    database = cluster.does(cluster.folder / "kubectl", "get", "pod", "postgres", "--output", "jsonpath={.status.podIP}")

    cluster.does(cluster.folder / "kubectl", "create", "namespace", "id")
    cluster.does(cluster.folder / "kubectl", "label", "namespace", "id", "pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted")
    key = run("bash", "-c", "openssl rand 32 | basenc --base64url -w0 | tr -d =")
    cluster.kubectl("create", "secret", "generic", "chancery", f"--from-literal=database-url=postgres://chancery:secret@{database}/chancery", f"--from-literal=master-key={key}")
    done = cluster.tries(cluster.folder / "kubectl", "--namespace", "id", "apply", "--kustomize", DEPLOY / "kubernetes")
    assert done.returncode == 0 and "arning" not in done.stderr, done.stderr
    cluster.rolled_out()
    cluster.until(lambda: len(cluster.ready()) == 2)
    first = cluster.pods()[0]["metadata"]["name"]

    address = cluster.ready()[0]
    assert json.loads(cluster.does("curl", "--silent", f"http://{address}:8080/.well-known/openid-configuration"))["issuer"] == "https://id.example.com"
    assert 'name="password"' in cluster.does("curl", "--silent", f"http://{address}:8080/login")
    said = cluster.kubectl("exec", "--stdin", first, "--", "chancery", "client", "add", "--file", "/dev/stdin", "--json", input='{"client_name": "Robot", "grant_types": ["client_credentials"]}')
    client = json.loads(said)

    def tokens() -> set[str]:
        """Asks everybody whom the service leads to."""
        ask = ["curl", "--silent", "--max-time", "5", "--output", "/dev/null", "--write-out", "%{http_code}", "--user", f"{client['client_id']}:{client['client_secret']}", "--data", "grant_type=client_credentials"]
        return {cluster.tries(*ask, f"http://{address}:8080/token").stdout for address in cluster.ready() for _ in range(3)}

    assert tokens() == {"200"}

    # A rolling update that nobody notices.
    cluster.kubectl("rollout", "restart", "deployment/chancery")
    answered, end = set(), time.monotonic() + 15
    while time.monotonic() < end:
        answered |= tokens()
    cluster.rolled_out()
    assert answered == {"200"} and first not in {pod["metadata"]["name"] for pod in cluster.pods()}

    # A database that does not answer: not ready, and not started again.
    backends = cluster.does("pgrep", "-x", "postgres").split()
    cluster.does("kill", "-STOP", *backends)
    cluster.until(lambda: cluster.ready() == [], 60)
    cluster.does("kill", "-CONT", *backends)
    cluster.until(lambda: len(cluster.ready()) == 2, 60)
    assert {pod["status"]["containerStatuses"][0]["restartCount"] for pod in cluster.pods()} == {0}

    # The budget lets one go at a time.
    evicted = [evict(cluster, pod["metadata"]["name"]) for pod in cluster.pods()]
    assert evicted[0].returncode == 0 and "disruption budget" in evicted[1].stderr, evicted
    cluster.until(lambda: len(cluster.ready()) == 2, 60)

    def servers() -> list[str]:
        return cluster.tries("pgrep", "--full", f"^{BINARY_IN_IMAGE} serve").stdout.split()

    # Those that were evicted have finished.
    cluster.until(lambda: len(servers()) == 2, 60)
    cluster.does("kill", "-KILL", servers()[0])
    cluster.until(lambda: {pod["status"]["containerStatuses"][0]["restartCount"] for pod in cluster.pods()} == {0, 1} and len(cluster.ready()) == 2, 60)
    assert tokens() == {"200"}


def evict(cluster, name: str):
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "id"}}
    return cluster.tries(cluster.folder / "kubectl", "create", "--raw", f"/api/v1/namespaces/id/pods/{name}/eviction", "--filename", "-", input=json.dumps(body))
