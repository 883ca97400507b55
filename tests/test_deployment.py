"""What deploys the program agrees with the program; there is no Docker here to try it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.settings import Settings, setting_names
from rvc.files import ROOT
from tests.count_lines import parsed, sources
from tests.test_layers import imported
from ui.server.gradio_changes import TESTED

PORT = Settings.model_fields["api_port"].default
USER = 1000
NO_SETTINGS = {"PYTHONUNBUFFERED", "GRADIO_ANALYTICS_ENABLED"}
UNTOLD = {
    "parselmouth": ["praat-parselmouth"],
    "kokoro_onnx": ["kokoro-onnx"],
    "demucs_infer": ["demucs-infer"],
    "c2pa": ["c2pa-python"],
    "cryptography": ["cryptography"],
    "ray": ["ray"],
    "spaces": ["spaces"],
}
"""Modules whose distribution does not tell that it has them, or need not be installed."""
COME_WITH = {
    "starlette": "gradio",
    "jinja2": "gradio",
    "anyio": "gradio",
    "pydantic": "pydantic-settings",
    "python-dotenv": "pydantic-settings",
    "pandas": "gradio",
    "python-multipart": "gradio",
    "onnxruntime": "swift-f0",
    "gradio-client": "gradio",
    "typer": "gradio",
    "httpx": "gradio",
    "packaging": "gradio",
    "rich": "typer",
}
"""Distributions that the program imports and does not list, and the one that brings them."""
EXTRAS = tuple(f"requirements-{extra}.txt" for extra in ("text", "songs", "c2pa", "cluster", "space"))


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, in order."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    pairs = [line.split(None, 1) for line in lines if line.strip()]
    return [(name, rest.strip()) for name, rest in pairs]


def of(dockerfile: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for instruction, rest in dockerfile if instruction == name]


def variables(dockerfile: list[tuple[str, str]]) -> dict[str, str]:
    words = [word for rest in of(dockerfile, "ENV") for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


def manifests() -> dict[str, Any]:
    documents = yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text())
    return {document["kind"]: document for document in documents}


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = manifests()["Deployment"]["spec"]["template"]["spec"]
    return spec


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def front_matter() -> dict[str, Any]:
    _, head, _ = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return dict(yaml.safe_load(head))


def listed(name: str = "requirements.txt") -> dict[str, str]:
    """Distribution -> what is asked of it, of a file of requirements."""
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)(.*)", line) for line in lines if line[:1] not in ("", "-")]
    return {match[1].lower(): match[2] for match in found if match}


def test_the_image_runs_the_program_without_root_and_hears_sigterm(dockerfile: list[tuple[str, str]]) -> None:
    assert of(dockerfile, "FROM") == ["python:3.11-slim"]
    assert of(dockerfile, "USER") == [str(USER)]
    assert f"--uid {USER}" in " ".join(of(dockerfile, "RUN"))
    (command,) = of(dockerfile, "CMD")
    # Written as a list: no shell stands between SIGTERM and Python.
    assert json.loads(command) == ["python", "app.py"]
    assert of(dockerfile, "ENTRYPOINT") == []
    names = [name for name, _ in dockerfile]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("RUN", "COPY"))
    for rest in of(dockerfile, "COPY"):
        *copied, _ = [word for word in rest.split() if not word.startswith("--")]
        assert all((ROOT / name).exists() for name in copied)


def test_port_data_and_health_are_the_program_s_everywhere(dockerfile: list[tuple[str, str]]) -> None:
    environment = variables(dockerfile)
    assert environment["API_PORT"] == str(PORT)
    assert of(dockerfile, "EXPOSE") == [str(PORT)]
    assert of(dockerfile, "VOLUME") == [environment["DATA_DIR"]]
    service = compose()["services"]["timbre"]
    assert [port.split(":")[-2:] for port in service["ports"]] == [[str(PORT), str(PORT)]]
    assert service["environment"]["DATA_DIR"] == environment["DATA_DIR"]
    (volume,) = service["volumes"]
    assert volume.split(":")[1] == environment["DATA_DIR"]
    assert volume.split(":")[0] in compose()["volumes"]
    (container,) = pod()["containers"]
    assert [port["containerPort"] for port in container["ports"]] == [PORT]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {environment["DATA_DIR"]}
    assert pod()["securityContext"]["runAsUser"] == USER
    assert (
        pod()["volumes"][0]["persistentVolumeClaim"]["claimName"]
        == (manifests()["PersistentVolumeClaim"]["metadata"]["name"])
    )
    given = {one["name"]: one["value"] for one in container["env"]}
    for variables_of in (environment, service["environment"], given):
        assert set(variables_of) - NO_SETTINGS <= set(setting_names())
        chosen = {name.lower(): value for name, value in variables_of.items() if name not in NO_SETTINGS}
        assert Settings.model_validate(chosen).api_host == "0.0.0.0"


def test_probes_ask_a_route_that_there_is() -> None:
    (container,) = pod()["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] == "/health?only=worker"
        assert asked["port"] == container["ports"][0]["name"]
    served = (ROOT / "ui" / "server" / "monitoring.py").read_text()
    assert 'Route("/health", health)' in served


def test_the_image_s_health_check_is_a_program_that_tells_healthy_from_not(
    dockerfile: list[tuple[str, str]],
) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    (check,) = of(dockerfile, "HEALTHCHECK")
    command = json.loads(check[check.index("[") :])
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        status = 200

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(type(self).status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        environment = {"API_PORT": str(server.server_port)}

        def status() -> int:
            words = [sys.executable, *command[1:]]
            return subprocess.run(words, env=environment, capture_output=True, check=False).returncode

        assert status() == 0
        Server.status = 503
        assert status() != 0
        server.shutdown()
    assert status() != 0, "nobody listens any more"
    assert asked == ["/health", "/health"]


def test_there_is_one_server_for_one_volume_and_time_to_save() -> None:
    deployment = manifests()["Deployment"]["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"]["type"] == "Recreate"
    grace = Settings.model_fields["cancel_grace_s"].default
    assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] > 2 * grace
    assert int(compose()["services"]["timbre"]["stop_grace_period"].removesuffix("s")) > 2 * grace
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == manifests()["Service"]["spec"]["selector"] == labels
    (container,) = pod()["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"] == compose()["services"]["timbre"]["image"]


def test_the_image_holds_no_secret_no_data_and_no_tests() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    ignored = {line for line in lines if line and not line.startswith(("#", "!"))}
    assert {".env", "data", ".git", "tests", ".venv"} <= ignored
    needed = {"app.py", "ui", "pipelines", "rvc", "assets", "requirements.txt", "pyproject.toml"}
    assert not needed & ignored


def test_tools_of_the_tests_are_the_last_part_of_the_requirements(dockerfile: list[tuple[str, str]]) -> None:
    """The image leaves out what follows that line."""
    script = next(rest for rest in of(dockerfile, "RUN") if "requirements.txt" in rest)
    cut = re.search(r"sed '(/.*?/,\$d)'", script)
    assert cut is not None
    left = subprocess.run(
        ["sed", cut[1], str(ROOT / "requirements.txt")], capture_output=True, text=True, check=True
    ).stdout
    names = {_name_of(line) for line in left.splitlines() if line and line[0] != "#"}
    tools = {"pytest", "pytest-timeout", "pytest-xdist", "pytest-cov", "playwright", "ruff", "mypy"}
    tools |= {"axe-playwright-python"}
    assert set(listed()) - names == tools


def test_what_separates_songs_leaves_torch_where_it_is(dockerfile: list[tuple[str, str]]) -> None:
    text = (ROOT / "requirements-songs.txt").read_text()
    assert "-r requirements.txt" in text.splitlines()
    assert set(listed("requirements-songs.txt")) == {"demucs-infer", "einops", "julius"}
    script = next(rest for rest in of(dockerfile, "RUN") if "requirements-songs.txt" in rest)
    assert "sed '/^-r/d' requirements-songs.txt >>" in script, "the tests' tools are not taken in by it"


def imports() -> Iterator[tuple[str, str]]:
    """(top-level module, who imports it) of the program; the weights' recipe has its own requirements."""
    for path in sources():
        if "pretrain" not in path.parts:
            for name in imported(path):
                yield name.split(".")[0], path.name


def test_what_the_program_imports_is_in_the_requirements() -> None:
    distributions = packages_distributions()
    tools = {"pytest", "playwright", "ruff", "mypy"}
    missing = []
    for module, path in sorted(set(imports())):
        if module in sys.stdlib_module_names or (ROOT / module).is_dir() or (ROOT / f"{module}.py").exists():
            continue
        of_module = {_name_of(name) for name in distributions.get(module, UNTOLD.get(module, []))}
        assert not of_module & tools, f"{path} imports {module}, which the image does not have"
        brought = {name for name in of_module if _is_brought(name)}
        extras = {name for extra in EXTRAS for name in listed(extra)}
        if not (of_module & {*listed(), *extras} or brought):
            missing.append(f"{path}: {module}")
    assert missing == []


def _name_of(requirement: str) -> str:
    """The distribution that a requirement names, as all its spellings are written."""
    return re.sub(r"[._-]+", "-", re.split(r"[ <>=!~;\[(]", requirement)[0]).lower()


def bounds_of(distribution: str) -> list[str]:
    """The lowest version that is asked for, and the first that is not."""
    return re.findall(r"[\d.]+", listed()[distribution])


def _is_brought(distribution: str) -> bool:
    by = COME_WITH.get(distribution)
    if by is None or not (by in listed() or _is_brought(by)):
        return False
    needed = {_name_of(line) for line in requires(by) or [] if "extra ==" not in line}
    return distribution in needed


def test_no_program_of_the_system_is_needed(dockerfile: list[tuple[str, str]]) -> None:
    assert not any("apt-get" in rest for rest in of(dockerfile, "RUN"))
    assert not (ROOT / "packages.txt").exists()


def test_gradio_is_held_to_the_minor_version_that_its_guards_are_made_for() -> None:
    lowest, highest = bounds_of("gradio")
    major, minor = (int(part) for part in TESTED.split("."))
    assert (lowest, highest) == (TESTED, f"{major}.{minor + 1}")


def test_the_readme_begins_as_a_space_needs_it() -> None:
    head = front_matter()
    assert head["sdk"] == "gradio"
    assert (ROOT / head["app_file"]).is_file()
    assert parsed((ROOT / head["app_file"]).read_text()).body
    assert re.fullmatch(r"3\.\d+", head["python_version"])
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {head["colorFrom"], head["colorTo"]} <= colours
    assert len(head["short_description"]) <= 60
    lowest, highest = ([int(part) for part in text.split(".")] for text in bounds_of("gradio"))
    version = [int(part) for part in head["sdk_version"].split(".")]
    assert lowest <= version < highest
    assert head["license"] == "mit"
    assert "MIT License" in (ROOT / "LICENSE").read_text()


def test_settings_that_the_page_on_deploying_names_exist() -> None:
    text = (ROOT / "deploy" / "README.md").read_text() + (ROOT / "README.md").read_text()
    # Words in capitals with an underscore, in code: settings, or variables of others.
    words = set(re.findall(r"`([A-Z]+(?:_[A-Z0-9]+)+)[=`]", text))
    assert words - set(setting_names()) - {"TIMBRE_SERVER", "TIMBRE_TOKEN"} == set()


def test_what_deploys_a_cluster_agrees_with_the_program() -> None:
    documents = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "cluster.yaml").read_text()))
    (cluster,) = [one for one in documents if one["kind"] == "RayCluster"]
    (server,) = [one for one in documents if one["kind"] == "Deployment"]
    assert server["spec"]["replicas"] == 1
    (container,) = server["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one["value"] for one in container["env"]}
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounted) == {given["DATA_DIR"], given["SHARED_DIR"]}
    (workers,) = cluster["spec"]["workerGroupSpecs"]
    (worker,) = workers["template"]["spec"]["containers"]
    assert [mount["mountPath"] for mount in worker["volumeMounts"]] == [given["SHARED_DIR"]]
    assert int(worker["resources"]["requests"]["cpu"]) >= 2, "which come with a device"
    assert workers["minReplicas"] >= 1
    services = yaml.safe_load((ROOT / "deploy" / "compose.cluster.yaml").read_text())["services"]
    assert set(services) == {"head", "worker", "timbre"}
    assert services["worker"]["deploy"]["replicas"] == 2
    for chosen in (given, services["timbre"]["environment"]):
        assert set(chosen) <= set(setting_names())
        settings = Settings.model_validate({name.lower(): value for name, value in chosen.items()})
        assert settings.ray_address == "auto"
        assert settings.shared_dir == "/shared"
    for command in (" ".join(container["args"]), " ".join(services["timbre"]["command"])):
        assert "--num-cpus=0 --num-gpus=0" in command, "nothing is computed beside the server"
        assert "exec python app.py" in command, "SIGTERM reaches the program"


def test_every_folder_that_is_mounted_is_in_the_image_and_the_program_s(
    dockerfile: list[tuple[str, str]],
) -> None:
    (made,) = re.findall(r"install -d -o timbre -g timbre ((?:/\w+ ?)+)", of(dockerfile, "RUN")[0])
    files = [ROOT / "compose.yaml", *(ROOT / "deploy").rglob("*.yaml")]
    mounts = re.compile(r"(?:mountPath: |- [\w-]+:)(/\w+)")
    mounted = {path for file in files for path in mounts.findall(file.read_text())}
    assert {"/data", "/shared"} == mounted == set(made.split())


@pytest.mark.parametrize("name", ["compose.cluster.yaml", "kubernetes/cluster.yaml"])
def test_the_server_joins_again_when_the_head_was_restarted(name: str, tmp_path: Path) -> None:
    command = _commands_of_servers()[name]
    ray = '#!/bin/sh\necho "$@" >> joined\n'
    python = '#!/bin/sh\nuntil [ "$(grep -c . joined 2>/dev/null)" -ge 2 ]; do :; done; echo $$ > server\n'
    for program, text in {"ray": ray, "python": python, "sleep": "#!/bin/sh\nexec /bin/sleep 0.1\n"}.items():
        (tmp_path / program).write_text(text)
        (tmp_path / program).chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen(["sh", "-c", command], cwd=tmp_path, env=path, start_new_session=True) as server:
        try:
            assert server.wait(30) == 0
        finally:
            os.killpg(server.pid, signal.SIGKILL)
    assert (tmp_path / "server").read_text().strip() == str(server.pid), "SIGTERM reaches the program"
    joined = (tmp_path / "joined").read_text().splitlines()
    assert len(joined) >= 2
    assert all("--num-cpus=0 --num-gpus=0" in line and line.endswith("--block") for line in joined)


def _commands_of_servers() -> dict[str, str]:
    documents = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "cluster.yaml").read_text())
    (server,) = [one for one in documents if one["kind"] == "Deployment"]
    (container,) = server["spec"]["template"]["spec"]["containers"]
    service = yaml.safe_load((ROOT / "deploy" / "compose.cluster.yaml").read_text())["services"]["timbre"]
    assert service["command"][:2] == container["command"] == ["sh", "-c"]
    return {"compose.cluster.yaml": service["command"][2], "kubernetes/cluster.yaml": container["args"][0]}


def test_ray_is_left_out_of_the_image_unless_it_is_asked_for(dockerfile: list[tuple[str, str]]) -> None:
    script = next(rest for rest in of(dockerfile, "RUN") if "requirements-cluster.txt" in rest)
    assert 'if [ -n "$CLUSTER" ]' in script
    left = subprocess.run(
        ["sed", "-e", "/^-r/d", "-e", "/^# Tests and checks/,$d", str(ROOT / "requirements-cluster.txt")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = {_name_of(line) for line in left.splitlines() if line and line[0] != "#"}
    assert names == {"ray", "fsspec", "s3fs", "gcsfs"}
