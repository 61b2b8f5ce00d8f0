"""The files of deploy/ and the Dockerfile, as far as they can be checked without an engine: that they are read, that every command, path,
port and variable in them exists in the binary, and that the server takes the configuration that they give it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from dockerfile_parse import DockerfileParser

from conftest import BINARY

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MASTER_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
BINARY_IN_IMAGE = "/usr/local/bin/chancery"


def known_variables() -> set[str]:
    """Those of config/chancery.toml, which a test of its own keeps complete."""
    text = (ROOT / "config/chancery.toml").read_text()
    long = {f"CHANCERY_{section.upper()}__{key.upper()}" for section, keys in tomllib.loads(text).items() for key in keys}
    short = set(re.findall(r"^# (CHANCERY_[A-Z_]+)\.", text, re.MULTILINE))
    return long | short | {f"{name}_FILE" for name in ("CHANCERY_DATABASE_URL", "CHANCERY_MASTER_KEY")} | {"CHANCERY_CONFIG"}


def runs(words: list[str]):
    """The binary knows the command and its flags."""
    done = subprocess.run([BINARY, *words, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"chancery {words[0]}" in done.stdout, f"{words}: {done.stderr}"


def config_check(tmp_path, env: dict) -> dict:
    done = subprocess.run([BINARY, "config", "check", "--json"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def documents(name: str) -> list[dict]:
    return [document for document in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()) if document]


def image_environment() -> dict:
    """What the Dockerfile's last stage sets."""
    text = dockerfile()
    env = re.search(r"^ENV ((?:.*\\\n)*.*)", text.split("FROM ")[-1], re.MULTILINE).group(1)
    return dict(word.split("=", 1) for word in shlex.split(env.replace("\\\n", " ")))


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("file", ["Dockerfile", "deploy/compose.yaml", "deploy/chancery.service", *(f"deploy/kubernetes/{f.name}" for f in sorted((DEPLOY / "kubernetes").glob("*.yaml")))])
def test_every_variable_exists(file):
    named = set(re.findall(r"CHANCERY_[A-Z_]+[A-Z]", (ROOT / file).read_text()))
    assert named <= known_variables(), named - known_variables()


def test_the_dockerfile_copies_what_exists_and_runs_what_is_built():
    text = dockerfile()
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?", text, re.MULTILINE)
    assert [name for _, name in stages] == ["build", ""]
    assert stages[-1][0].startswith("gcr.io/distroless/cc-") and stages[-1][0].endswith(":nonroot"), "no shell, no root"
    copied = [source for line in re.findall(r"^COPY (?!--from)(.*)", text, re.MULTILINE) for source in line.split()[:-1]]
    for source in copied:
        assert (ROOT / source).exists(), source
    # Everything that the sources include must be in the build.
    included = set()
    for file in (ROOT / "src").rglob("*.rs"):
        source = file.read_text()
        paths = re.findall(r'include_(?:str|bytes)!\((?:concat!\()?"([^"]+)"', source)
        included |= {(file.parent / path).resolve() for path in paths}
        included |= {ROOT / folder for folder in re.findall(r'#\[folder = "([^"]+)"\]', source)}
        included |= {ROOT / "templates" / path for path in re.findall(r'#\[template\(path = "([^"]+)"', source)}
    assert {path.relative_to(ROOT).parts[0] for path in included} >= {"assets", "migrations", "templates"}
    # Cargo reads no manifest that names a file which is not there.
    included |= {ROOT / path for path in re.findall(r'^path = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)}
    ignored = [line.rstrip("/") for line in (ROOT / ".dockerignore").read_text().split()]
    for path in included:
        top = path.relative_to(ROOT).parts[0]
        assert top in copied and top not in ignored, f"{path} is not copied into the build"
    assert "# syntax=" not in text, "BuildKit would fetch another front end from a registry, and needs none"
    assert "--profile dist" in text and "target/dist/chancery" in text
    assert "[profile.dist]" in (ROOT / "Cargo.toml").read_text()
    assert re.search(r"^USER nonroot$", text, re.MULTILINE)
    assert json.loads(re.search(r"^ENTRYPOINT (.*)", text, re.MULTILINE).group(1)) == [BINARY_IN_IMAGE]
    runs(json.loads(re.search(r"^CMD (.*)", text, re.MULTILINE).group(1)))
    health = json.loads(re.search(r"^HEALTHCHECK .*CMD (\[.*)", text, re.MULTILINE).group(1))
    assert health[0] == BINARY_IN_IMAGE
    runs(health[1:])


def test_the_dockerfile_is_read_by_a_parser_as_it_is_meant():
    with (ROOT / "Dockerfile").open("rb") as file:
        parsed = DockerfileParser(fileobj=file)
        structure = parsed.structure
        assert parsed.is_multistage and parsed.baseimage.startswith("gcr.io/distroless/cc-")
        assert dict(parsed.envs) == image_environment()
    last = [step["instruction"] for step in structure[max(i for i, step in enumerate(structure) if step["instruction"] == "FROM") :]]
    assert set(last) - {"COMMENT"} == {"FROM", "COPY", "ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert last.index("COPY") < last.index("USER") < last.index("WORKDIR") < last.index("VOLUME"), "a volume keeps what was there before it"


# Each refuses fields that it does not know, and versions of the API that it does not have any more.
@pytest.mark.parametrize("version", ["1.33", "1.36"])
@pytest.mark.parametrize("file", sorted(f.name for f in (DEPLOY / "kubernetes").glob("*.yaml") if f.name != "kustomization.yaml"))
def test_kubernetes_knows_every_field(file, version):
    for document in documents(file):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_image_serves_with_its_environment(tmp_path):
    env = image_environment() | {"CHANCERY_SERVER__DATA_DIR": str(tmp_path)}
    checked = config_check(tmp_path, env)
    ports = re.search(r"^EXPOSE (.*)", dockerfile(), re.MULTILINE).group(1).split()
    assert [checked["listen"], checked["management_listen"]] == [f"0.0.0.0:{port}" for port in ports]


def compose() -> dict:
    """compose.yaml with its variables filled in as compose would: after YAML was read."""
    given = {"POSTGRES_PASSWORD": "0123456789abcdef", "CHANCERY_MASTER_KEY": MASTER_KEY}

    def fill(match):
        name, _, default = match.group(1).partition(":")
        assert default[:1] != "?" or name in given, name
        return given.get(name, default[1:] if default[:1] == "-" else "")

    def filled(value):
        if isinstance(value, str):
            return re.sub(r"\$\{([^}]+)\}", fill, value)
        if isinstance(value, dict):
            return {name: filled(inner) for name, inner in value.items()}
        return [filled(inner) for inner in value] if isinstance(value, list) else value

    return filled(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def test_compose_gives_the_server_what_it_needs(tmp_path):
    services = compose()["services"]
    server, postgres = services["chancery"], services["postgres"]
    assert (DEPLOY / server["build"]["context"] / "Dockerfile").resolve() == ROOT / "Dockerfile"
    runs(server["command"])
    checked = config_check(tmp_path, image_environment() | server["environment"])
    assert checked["database"] == "postgres" and checked["issuer"] == "http://localhost:8080"
    port = checked["listen"].rsplit(":", 1)[1]
    assert server["ports"] == [f"127.0.0.1:{port}:{port}"], "the management port stays inside"
    assert server["read_only"] and server["cap_drop"] == ["ALL"] and server["security_opt"] == ["no-new-privileges:true"]
    url = server["environment"]["CHANCERY_DATABASE_URL"]
    env = postgres["environment"]
    assert url == f"postgres://{env['POSTGRES_USER']}:{env['POSTGRES_PASSWORD']}@postgres/{env['POSTGRES_DB']}"
    assert server["depends_on"]["postgres"]["condition"] == "service_healthy" and postgres["healthcheck"]["test"]
    assert not postgres.get("ports") and set(server["networks"]) >= set(postgres["networks"])


def test_the_commands_at_the_head_of_compose_work(tmp_path):
    text = (DEPLOY / "compose.yaml").read_text()
    lines = [line.lstrip("# ") for line in text.split("name: chancery")[0].splitlines() if line.startswith("#   ")]
    make, chmod = [line for line in lines if line.startswith(("printf", "chmod"))]
    subprocess.run(["bash", "-euc", f"{make}\n{chmod}"], cwd=tmp_path, check=True)
    made = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert set(made) == {"POSTGRES_PASSWORD", "CHANCERY_MASTER_KEY"} and len(made["POSTGRES_PASSWORD"]) == 48
    env = {"CHANCERY_DATABASE_URL": "postgres://x@y/z", "CHANCERY_MASTER_KEY": made["CHANCERY_MASTER_KEY"]}
    config_check(tmp_path, env)
    command = next(line for line in lines if "exec chancery" in line).split("exec chancery chancery ")[1]
    runs(shlex.split(command))


def test_the_unit_starts_what_exists_and_is_confined():
    unit = DEPLOY / "chancery.service"
    text = unit.read_text()
    command = shlex.split(re.search(r"^ExecStart=(.*)", text, re.MULTILINE).group(1))
    assert command[0] == BINARY_IN_IMAGE
    runs(command[1:])
    known = {key for keys in tomllib.loads((ROOT / "config/chancery.toml").read_text()).values() for key in keys}
    assert {"data_dir", "master_key_file", "url_file", "trusted"} <= known, "the keys that the head of the unit names"
    assert shutil.which("systemd-analyze"), "systemd-analyze is missing; ./test installs it"
    said = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False).stderr
    assert [line for line in said.splitlines() if "is not executable" not in line] == [], said
    judged = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit], capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    exposure = float(re.search(r"Overall exposure level for chancery.service: ([0-9.]+)", judged.stdout).group(1))
    documented = re.search(r"`systemd-analyze security`: ([0-9.]+)", (ROOT / "docs/running.md").read_text()).group(1)
    assert exposure <= float(documented), judged.stdout


def test_kubernetes_gives_the_server_what_it_needs(tmp_path):
    [deployment] = documents("deployment.yaml")
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    runs(container["args"])
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    [mount], [volume] = container["volumeMounts"], pod["volumes"]
    [secret] = documents("secret.example.yaml")
    assert volume["name"] == mount["name"] and volume["secret"]["secretName"] == secret["metadata"]["name"]
    values = {"database-url": "postgres://x@y/z", "master-key": MASTER_KEY}
    assert set(values) == set(secret["stringData"]) and set(secret["stringData"].values()) == {""}, "no secret is written down"
    for name, path in env.items():
        if name.endswith("_FILE"):
            key = os.path.relpath(path, mount["mountPath"])
            file = tmp_path / key
            file.write_text(values[key])
            file.chmod(volume["secret"]["defaultMode"])
            env[name] = str(file)
    checked = config_check(tmp_path, image_environment() | env)
    assert checked["issuer"] == "https://id.example.com" and checked["database"] == "postgres"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert [f"0.0.0.0:{ports['http']}", f"0.0.0.0:{ports['management']}"] == [checked["listen"], checked["management_listen"]]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in probes.values()} == {"management"}
    assert [probes[name]["path"] for name in ("startup", "readiness", "liveness")] == ["/readyz", "/readyz", "/healthz"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    limits = tomllib.loads((ROOT / "config/chancery.toml").read_text())["limits"]
    drain = int(env["CHANCERY_LIMITS__DRAIN_DELAY"].rstrip("s")) + int(limits["drain_deadline"].rstrip("s"))
    assert pod["terminationGracePeriodSeconds"] > drain


def test_the_probes_of_kubernetes_are_answered(server):
    import requests

    [deployment] = documents("deployment.yaml")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    management = tomllib.loads(server.config.read_text())["server"]["management_listen"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert requests.get(f"http://{management}{container[probe]['httpGet']['path']}", timeout=5).status_code == 200
    done = subprocess.run([BINARY, "healthcheck", "--config", server.config], cwd=server.folder, check=False)
    assert done.returncode == 0


def test_the_parts_of_kubernetes_fit_together():
    [deployment] = documents("deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    services = documents("service.yaml")
    for service in services:
        assert service["spec"]["selector"] == labels and {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    [budget], [policy], [ingress] = documents("pdb.yaml"), documents("networkpolicy.yaml"), documents("ingress.yaml")
    assert budget["spec"]["selector"]["matchLabels"] == labels and budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == ports
    [rule] = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    public = services[0]
    assert backend["name"] == public["metadata"]["name"] and backend["port"]["name"] in {port["name"] for port in public["spec"]["ports"]}
    [issuer] = [v["value"] for v in deployment["spec"]["template"]["spec"]["containers"][0]["env"] if v["name"] == "CHANCERY_ISSUER"]
    assert issuer == f"https://{rule['host']}" and ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
    [kustomization] = documents("kustomization.yaml")
    files = {file.name for file in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert set(kustomization["resources"]) == files - {"kustomization.yaml", "secret.example.yaml"}
    if shutil.which("kubectl"):
        built = subprocess.run(["kubectl", "kustomize", DEPLOY / "kubernetes"], capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        assert len(list(yaml.safe_load_all(built.stdout))) == 6
