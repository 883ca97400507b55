"""Wishes that no client of ours sends, to every listener of a launched page: refused, and nothing is left."""

from __future__ import annotations

import hashlib
import json
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.store.registry import read_registry
from rvc.files import ROOT
from tests.hostile import bad_files
from tests.hostile.attacker import Attacker, Heard, faults_of_ours
from tests.hostile.bad_files import NAMES, SEED, bad_recordings, bad_voices, bad_zips, zipped
from tests.ui.launched import RECORDING, VOICE_FILES, Launched, launched, wait_for

VICTIM, ATTACKER = "the-victim-s-own-secret", "the-attacker-s-own-secret"
LIMITS: dict[str, Any] = {"uploads_per_hour": 0, "files_per_hour": 0, "starts_per_hour": 0}
TELLTALE = ("Traceback", 'File "', "site-packages", "/pipelines/", "/rvc/", str(ROOT))
HUGE = "9" * 4_000
# Buttons that need nothing sent with them: the example is checked for whoever presses it.
HARMLESS = frozenset({"use_example"})
CHANGING = (
    *("registry.json", "registry.journal", "converter.log", "device.log", "server.lock", "durations.json"),
)


@dataclass(frozen=True, kw_only=True)
class Victim:
    """What somebody else has on the server.

    Attributes:
        page: The page.
        upload, job, batch, model: Ids.
        secrets: Words that only the victim's rows hold.
    """

    page: Launched
    upload: str
    job: str
    batch: str
    model: str
    secrets: tuple[str, ...] = ("Confidential Voice", "my-secret-recording")

    @property
    def ids(self) -> tuple[str, ...]:
        return self.upload, self.job, self.batch, self.model


@pytest.fixture(scope="module")
def faults() -> Iterator[list[str]]:
    with faults_of_ours() as found:
        yield found


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, faults: list[str]) -> Iterator[Victim]:
    with launched(tmp_path_factory.mktemp("hostile"), steps=1, shared=True, **LIMITS) as page:
        client = Attacker(url=page.url, token=VICTIM)

        def ask(name: str, *data: object) -> Any:  # noqa: ANN401  # any JSON
            status, text = client.call(name, list(data))
            assert status == 200
            return json.loads(text.splitlines()[1].removeprefix("data: "))[0]

        def sent(path: Path, name: str) -> dict[str, Any] | None:
            return client.send(name, path.read_bytes())

        def done(row: dict[str, Any]) -> dict[str, Any]:
            wait_for(lambda: ask("job_status", row["id"])["status"] == "completed", "the victim's job")
            found: dict[str, Any] = ask("job_status", row["id"])
            return found

        voice_files = [sent(path, path.name) for path in VOICE_FILES[:2]]
        upload = ask("upload_training_audio", voice_files)["job_id"]
        training = done(ask("start_training", upload, "Confidential Voice", {"consent": True}))
        many = ask("upload_batch_audio", [sent(RECORDING, "my-secret-recording.flac")])["job_id"]
        batch = done(ask("start_batch", [many], training["model_id"], {}))
        yield Victim(
            page=page, upload=many, job=training["id"], batch=batch["id"], model=training["model_id"]
        )


@pytest.fixture
def attacker(victim: Victim) -> Attacker:
    return Attacker(url=victim.page.url, token=f"{ATTACKER}-{secrets.token_hex(4)}")


def state_of(page: Launched) -> dict[str, Any]:
    """Every file of the data folder by its hash, and every row; logs aside."""
    files = {
        path.relative_to(page.data_dir).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in page.data_dir.rglob("*")
        if path.is_file() and path.name not in CHANGING
    }
    _, rows = read_registry(page.data_dir / "registry.json")
    return {"files": files, "rows": {name: rows[name] for name in ("jobs", "models", "usage")}}


def victim_of(state: dict[str, Any]) -> set[str]:
    """Whose the rows are."""
    return {row["user_id"] for row in state["rows"]["jobs"].values()}


def untouched(victim: Victim, before: dict[str, Any], after: dict[str, Any]) -> None:
    """All rows and files of the victim's, and all others that were there, are as they were."""
    for table in ("jobs", "models"):
        rows = before["rows"][table]
        assert {key: after["rows"][table].get(key) for key in rows} == rows
    usage = [state["rows"]["usage"][victim.model] for state in (before, after)]
    assert usage[0] == usage[1]
    assert {name: after["files"].get(name) for name in before["files"]} == before["files"]


def check(heard: Heard, victim: Victim, faults: list[str]) -> None:
    """Nothing of the server's inside, nothing of the victim's, and a word to every refusal of ours."""
    assert not faults, f"{heard.listener} with {str(heard.sent)[:300]}:\n{faults[0]}"
    sent = json.dumps(heard.sent)  # what one has sent oneself may be quoted
    for telltale in (*TELLTALE, str(victim.page.data_dir), *victim.secrets):
        assert telltale in sent or telltale not in heard.text, (heard.listener, telltale, heard.text[:600])


def values(victim: Victim, *own: object) -> list[Any]:
    """What may stand for any one parameter; what is one's own is worth more tries."""
    path = str(next(victim.page.data_dir.glob("jobs/*/inputs/*")))
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    return [
        None,
        True,
        -1,
        10**30,
        1e308,
        "",
        "x" * 100_000,
        "\0\n\ud7ff\u202e",
        "../../registry.json",
        path,
        HUGE,
        [],
        [[[[]]]],
        {},
        {"__proto__": {"a": 1}},
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"url": "http://127.0.0.1:1/x", "path": "x", "meta": {"_type": "gradio.FileData"}},
        file,
        [file],
        *victim.ids,
        [victim.upload],
        *own * 3,
    ]


def wishes_to(
    listener: dict[str, Any], victim: Victim, chance: random.Random, *own: object
) -> list[list[Any]]:
    """Data for one listener: too little, too much, and for each parameter values of every kind."""
    count = len(listener["inputs"])
    choice = values(victim, *own)
    wishes: list[list[Any]] = [[], [None] * (count + 3), [victim.job] * count, [victim.model] * count]
    for _ in range(min(1 + 2 * count, 6)):
        wishes.append([chance.choice(choice) for _ in range(count)])
    if count >= 2:  # a voice of one's own and an upload of another's, and the other way round
        wishes += [[victim.upload, "builtin-kathleen", {}], [[victim.upload], "builtin-kathleen", {}]]
        wishes += [[[victim.upload], victim.model], [victim.upload, "Mine", {"consent": True}]]
    return wishes


def test_every_listener_refuses_whatever_it_is_sent(
    victim: Victim, attacker: Attacker, faults: list[str]
) -> None:
    chance = random.Random(SEED)
    before = state_of(victim.page)
    listeners = [one for one in attacker.listeners() if one.get("backend_fn", True)]
    listeners = [one for one in listeners if one["api_name"] not in HARMLESS]
    wishes = [(one["id"], data) for one in listeners for data in wishes_to(one, victim, chance)]
    assert len(wishes) >= 400
    assert {"start_batch", "train_voice", "export_model"} <= {one["api_name"] for one in listeners}
    assert any(one["api_visibility"] == "private" for one in listeners)
    for heard in attacker.join(wishes):
        check(heard, victim, faults)
    after = state_of(victim.page)
    untouched(victim, before, after)
    # Any text can be said: then it is the attacker's own.
    new = {key: row for key, row in after["rows"]["jobs"].items() if key not in before["rows"]["jobs"]}
    assert {row["type"] for row in new.values()} <= {"speech"}
    assert victim_of(before) & {row["user_id"] for row in new.values()} == set()
    made = set(after["files"]) - set(before["files"])
    assert all(name.split("/")[:2] in [["jobs", key] for key in new] for name in made)


def test_one_s_own_things_with_wrong_values_reach_nothing_of_another(
    victim: Victim, attacker: Attacker, faults: list[str]
) -> None:
    chance = random.Random(SEED + 3)
    before = state_of(victim.page)
    by_name = {one["api_name"]: one for one in attacker.listeners()}

    def own(name: str, *data: object) -> dict[str, Any]:
        (heard,) = attacker.join([(by_name[name]["id"], list(data))])
        answer: dict[str, Any] = heard.output["data"][0]
        return answer

    voice = own("import_model", [attacker.send("v.zip", zipped(bad_files.voice()))], "Mine")["id"]
    recording = attacker.send("r.wav", RECORDING.read_bytes())
    upload = own("upload_target_audio", recording)["job_id"]
    things = (voice, upload, [upload], recording, [recording], {"format": "../x"}, {"consent": "no"})
    mine = [name for name in by_name if name not in ("delete_model", "delete_job", "follow_jobs")]
    wishes = [
        (by_name[name]["id"], [chance.choice(values(victim, *things)) for _ in by_name[name]["inputs"]])
        for name in mine
        if by_name[name]["inputs"]
        for _ in range(4)
    ]
    assert len(wishes) >= 150
    for heard in attacker.join(wishes):
        check(heard, victim, faults)
    after = state_of(victim.page)
    untouched(victim, before, after)


def test_calls_by_name_and_predictions_are_no_way_around(
    victim: Victim, attacker: Attacker, faults: list[str]
) -> None:
    before, chance = state_of(victim.page), random.Random(SEED + 4)
    names = [one["api_name"] for one in attacker.listeners() if one.get("api_name")]
    asked = 0
    for name in dict.fromkeys(names):
        if name in HARMLESS:
            continue
        data = chance.choice(
            ([victim.job], [victim.model, "bundle"], "no list", [{"path": "/etc/passwd"}] * 3)
        )
        status, text = attacker.call(name, data)
        assert status < 500, (name, data, text)
        wish = {"data": data, "session_hash": "by-hand"}
        answer = attacker.client.post(f"gradio_api/run/{name}", json=wish)
        text += answer.text
        heard = Heard(listener=-1, sent=(name, data), success=False, output={}, text=text)
        check(heard, victim, faults)
        asked += 2
    assert asked >= 150
    assert state_of(victim.page) == before


def test_bad_files_that_are_really_sent_are_refused_in_a_sentence(
    victim: Victim, attacker: Attacker, faults: list[str], tmp_path: Path
) -> None:
    before = state_of(victim.page)
    chance = random.Random(SEED)
    by_name = {one["api_name"]: one["id"] for one in attacker.listeners()}
    recordings = [
        case for case in bad_recordings(tmp_path) if "bent" not in case[0] and "junk" not in case[0]
    ]
    files = [*chance.sample(recordings, 20), *chance.sample(bad_zips(), 10), *bad_voices()[:6]]
    wishes: list[tuple[int, Any]] = []
    for number, (what, content) in enumerate(files):
        sent = attacker.send(NAMES[number % len(NAMES)].replace("\0", "") or what, content)
        if sent is None:
            continue
        wishes.append((by_name["upload_training_audio"], [[sent]]))
        wishes.append((by_name["upload_target_audio"], [sent]))
        wishes.append((by_name["convert_voice"], [sent, "builtin-kathleen", {}]))
        if content[:2] != b"\x80\x04":  # a child reads those, which takes seconds each
            wishes.append((by_name["import_model"], [[sent], ""]))
    assert len(wishes) >= 100
    said = set()
    answers = attacker.join(wishes)
    for heard in answers:
        check(heard, victim, faults)
        if not heard.success:
            assert heard.error, heard
            said.add(heard.error)
    assert len(said) >= 5
    after = state_of(victim.page)
    untouched(victim, before, after)
    # What was taken in after all is there as a row and its folder; of the rest there is nothing.
    taken = [heard for heard in answers if heard.success]
    assert len(taken) < len(wishes) / 4
    for table in ("jobs", "models"):
        folders = {path.name for path in (victim.page.data_dir / table).iterdir()}
        assert folders == set(after["rows"][table])
    new = len(after["rows"]["jobs"]) - len(before["rows"]["jobs"])
    converted = sum(heard.listener == by_name["convert_voice"] for heard in taken)
    imported = sum(heard.listener == by_name["import_model"] for heard in taken)
    assert new == len(taken) + converted - imported


@pytest.mark.parametrize("name", ["convert_voice", "train_voice"])
def test_when_the_job_is_refused_the_recording_that_came_with_it_is_not_kept(
    victim: Victim, attacker: Attacker, faults: list[str], name: str
) -> None:
    before = state_of(victim.page)
    listener = next(one["id"] for one in attacker.listeners() if one["api_name"] == name)
    sent = attacker.send("r.ogg", VOICE_FILES[0].read_bytes())
    wrong: list[tuple[Any, Any]] = [
        (victim.model, {}),
        ("builtin-kathleen", []),
        ("builtin-kathleen", {"x": "y" * 70_000}),
    ]
    if name == "train_voice":
        wrong = [("", {}), ("x" * 1_000, {}), (5, {}), ("Mine", {"consent": False}), ("Mine", "text")]
    wishes = [(listener, [[sent] if name == "train_voice" else sent, *rest]) for rest in wrong]
    for heard in attacker.join(wishes):
        check(heard, victim, faults)
        assert heard.error, heard
    assert state_of(victim.page) == before


def test_what_another_has_is_not_served_by_any_path(victim: Victim, attacker: Attacker) -> None:
    data = victim.page.data_dir
    paths = [str(path) for path in sorted(data.rglob("*")) if path.is_file()][:25]
    paths += [
        str(data),
        "/etc/passwd",
        f"{data}/../data/registry.json",
        "registry.json",
        "../data/registry.json",
    ]
    paths += [f"/proc/self/cwd/{name}" for name in ("app.py", "README.md")]
    asked = 0
    for path in paths:
        for route in (
            "gradio_api/file=",
            "file=",
            "gradio_api/file/",
            "gradio_api/stream/",
            "assets/",
            "static/",
        ):
            answer = attacker.client.get(route + path)
            assert answer.status_code in (400, 401, 403, 404, 405), (route, path, answer.status_code)
            asked += 1
    assert asked >= 150


def test_names_of_files_stay_in_the_upload_folder(victim: Victim, attacker: Attacker) -> None:
    folder = victim.page.data_dir.parent
    outside = {path for path in folder.rglob("*") if not path.is_relative_to(folder / "cache")}
    for name in NAMES:
        sent = attacker.send(name.replace("\0", "") or "x", b"content")
        if sent is not None:
            assert Path(sent["path"]).resolve().is_relative_to((folder / "cache").resolve())
    assert {path for path in folder.rglob("*") if not path.is_relative_to(folder / "cache")} == outside
