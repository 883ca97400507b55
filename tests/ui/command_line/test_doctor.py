"""doctor tells the truth about this machine, and leaves nothing on it."""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path

import pytest

from pipelines.checking import machine
from pipelines.checking.findings import WIDTH, Finding
from pipelines.settings import Settings
from pipelines.store.registry import Registry
from tests.toy_worker import TOY_WORKER
from tests.ui.command_line.conftest import Call

NAMES = ["Python", "packages", "device", "threads", "memory", "disk", "data folder", "weights", "port"]


@pytest.fixture
def on_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Toy work in its conversion, and torch not asked: it takes seconds."""
    monkeypatch.setattr(machine, "look_around", partial(machine.look_around, worker_command=TOY_WORKER))
    monkeypatch.setattr(machine, "TORCH", 'print(\'{"version": "0", "gpu": "A GPU"}\')')
    monkeypatch.setattr(machine, "LEAST_MEMORY_BYTES", 1)
    monkeypatch.setenv("API_PORT", "54321")


@pytest.mark.usefixtures("on_toys")
def test_every_part_has_a_line_and_the_status_tells(call: Call, data_dir: Path) -> None:
    ended = call("doctor", "--json")
    assert [row["name"] for row in ended.rows] == [*NAMES, "browser", "conversion"]
    assert [row for row in ended.rows if row["missing"]] == []
    assert ended.status == 0
    assert all(len(row["name"]) <= WIDTH and row["said"].endswith(".") for row in ended.rows)
    assert not data_dir.exists()


@pytest.mark.usefixtures("on_toys")
def test_what_is_missing_is_named_with_what_to_do(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("API_PORT", str(taken.getsockname()[1]))
        monkeypatch.setattr(machine, "VOICE", "nobody")
        ended = call("doctor")
    lines = ended.out.splitlines()
    assert ended.status == 1
    assert [line.split()[1] for line in lines if line.startswith("MISSING")] == ["port", "conversion"]
    assert "choose another with --port" in ended.out
    assert lines[-1] == "Missing: port, conversion; each line says what to do."


def found(name: str, settings: Settings) -> Finding:
    return next(one for one in machine.look_around(settings) if one.name == name)


@pytest.mark.usefixtures("on_toys")
def test_a_folder_that_a_server_holds_is_no_fault(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir)
    holder = Registry(data_dir)
    assert "a server uses it" in found("data folder", settings).said
    holder.close()
    assert "nobody uses it" in found("data folder", settings).said
    (data_dir / "registry.json").write_text("no registry")
    assert found("data folder", settings).missing


def test_a_package_of_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "version", lambda name: "0.1" if name == "numpy" else "1000")
    finding = found("packages", Settings())
    assert finding.missing
    assert "numpy is 0.1, not <3,>=2.0" in finding.said
    assert "pip install -r requirements.txt" in finding.said


def test_a_public_server_is_looked_at_by_one_command(call: Call) -> None:
    told = call("--check")
    assert told.status == 1
    assert call("doctor", "--public") == told
