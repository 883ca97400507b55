"""Commands on the data folder of this machine, with toy work: what they make, say and leave behind."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile as sf

from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store.records import Caller
from pipelines.store.registry import Registry
from rvc.files import ROOT
from tests.sounds import tone, write
from tests.toy_worker import TOY_WORKER
from tests.ui.command_line.conftest import Call, everything_in
from tests.ui.launched import VOICE_FILES, wait_for


def seconds_of(source: Path | io.BytesIO) -> float:
    return float(sf.info(source).duration)


def folder_of_recordings(folder: Path) -> Path:
    """Two recordings, one of them deeper, and what is none."""
    (folder / "deeper").mkdir(parents=True)
    write(folder / "one.wav", "wav16", tone(1.0, 8_000), 8_000)
    write(folder / "deeper" / "two.flac", "flac", tone(2.0, 8_000), 8_000)
    (folder / "notes.txt").write_text("no sound")
    return folder


def no_jobs_left(data_dir: Path) -> bool:
    registry = Registry(data_dir, read_only=True)
    return not registry.list("jobs") and not list((data_dir / "jobs").iterdir())


def test_voices_are_listed_and_nothing_is_made_for_it(call: Call, data_dir: Path) -> None:
    ended = call("voices")
    assert ended.status == 0
    assert next(line.split()[:2] for line in ended.out.splitlines() if "kathleen" in line) == [
        "builtin-kathleen",
        "Kathleen",
    ]
    assert {row["id"] for row in call("voices", "--json").rows} >= {"builtin-kathleen"}
    assert not data_dir.exists()


def test_a_recording_is_converted_and_leaves_nothing_in_the_data_folder(
    call: Call, recording: Path, data_dir: Path, tmp_path: Path
) -> None:
    target = tmp_path / "new" / "out.wav"
    ended = call("convert", recording, "--voice", "KATHLEEN", "-o", target)
    assert (ended.status, ended.out) == (0, f"{target}\n")
    assert seconds_of(target) == seconds_of(recording)
    assert no_jobs_left(data_dir)


def test_results_are_rows_of_json_and_the_name_decides_the_form(
    call: Call, recording: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.flac"
    (row,) = call("convert", recording, "--voice", "builtin-k", "-o", target, "--json").rows
    assert (row["output"], row["status"], row["model_name"]) == (str(target), "completed", "Kathleen")
    assert target.read_bytes()[:4] == b"fLaC"


def test_standard_input_becomes_standard_output(
    recording: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    import app
    from tests.ui.command_line.toy_program import with_toy_work

    with_toy_work(monkeypatch)
    monkeypatch.setattr(
        sys, "stdin", SimpleNamespace(buffer=io.BytesIO(recording.read_bytes()), isatty=lambda: False)
    )
    assert app.main(["convert", "-", "--voice", "kathleen", "-o", "-"]) == 0
    assert seconds_of(io.BytesIO(capfdbinary.readouterr().out)) == seconds_of(recording)


def test_a_folder_is_converted_as_it_is_laid_out_and_again_what_is_new(
    call: Call, data_dir: Path, tmp_path: Path
) -> None:
    source, results = folder_of_recordings(tmp_path / "in"), tmp_path / "in" / "results"
    ended = call("convert", source, "--voice", "kathleen", "--out", results)
    assert ended.status == 0
    assert {path for path in everything_in(results) if path.endswith(".wav")} == {"one.wav", "deeper/two.wav"}
    assert seconds_of(results / "deeper" / "two.wav") == 2.0
    assert no_jobs_left(data_dir)

    shutil.copyfile(source / "one.wav", source / "three.wav")
    assert "exists already" in call("convert", source, "--voice", "kathleen", "--out", results).sentence
    ended = call("convert", source, "--voice", "kathleen", "--out", results, "--skip-existing", "--json")
    assert [row["output"] for row in ended.rows] == [str(results / "three.wav")]
    ended = call("convert", source, "--voice", "kathleen", "--out", results, "--skip-existing")
    assert (ended.status, ended.out) == (0, "")


def test_files_that_differ_by_their_ending_keep_both_results(call: Call, tmp_path: Path) -> None:
    for kind, name in (("wav16", "a.wav"), ("flac", "a.flac")):
        write(tmp_path / name, kind, tone(1.0, 8_000), 8_000)
    results = tmp_path / "results"
    ended = call("convert", tmp_path / "a.wav", tmp_path / "a.flac", "--voice", "kathleen", "-o", results)
    assert ended.status == 0
    assert everything_in(results) == {"a.wav.wav", "a.flac.wav"}


def test_no_result_replaces_another(call: Call, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.wav", "wav16", tone(1.0, 8_000), 8_000)
    ended = call("convert", tmp_path / "one", tmp_path / "two", "--voice", "kathleen", "-o", tmp_path / "out")
    assert (ended.status, "would both become" in ended.sentence) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_bad_file_among_many_is_named_and_the_others_are_made(
    call: Call, recording: Path, data_dir: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    ended = call("convert", recording, bad, "--voice", "kathleen", "-o", tmp_path / "results", "--json")
    assert ended.status == 2
    assert [row["status"] for row in sorted(ended.rows, key=lambda row: row["input"])] == [
        "failed",
        "completed",
    ]
    assert "bad.wav: " in ended.err
    assert "1 of 2 recordings could not be converted." in ended.err
    assert no_jobs_left(data_dir)


def test_more_recordings_than_a_batch_holds_are_more_batches(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_FILES", "2")
    source = tmp_path / "in"
    source.mkdir()
    for number in range(3):
        write(source / f"{number}.wav", "wav16", tone(1.0, 8_000), 8_000)
    ended = call("convert", source, "--voice", "kathleen", "-o", tmp_path / "results")
    assert ended.status == 0
    assert everything_in(tmp_path / "results") == {"0.wav", "1.wav", "2.wav"}


def test_a_text_is_spoken(call: Call, data_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "hello.wav"
    ended = call("say", "Hello there.", "--voice", "kathleen", "-o", target)
    assert (ended.status, ended.out) == (0, f"{target}\n")
    assert seconds_of(target) > 0
    assert no_jobs_left(data_dir)
    refused = call("say", "Hello.", "--voice", "kathleen", "-o", tmp_path / "2.wav", "--language", "tlh")
    assert (refused.status, "tlh" in refused.sentence) == (2, True)
    assert no_jobs_left(data_dir)


def test_a_song_in_two_files_is_covered_and_others_are_refused(
    call: Call, data_dir: Path, tmp_path: Path
) -> None:
    files = [tmp_path / "vocals.wav", tmp_path / "backing.wav"]
    for number, path in enumerate(files):
        write(path, "wav16", tone(2.0, 44_100 + number), 44_100)
    target = tmp_path / "cover.flac"
    ended = call("cover", *files, "--voice", "kathleen", "-o", target, "--backing-gain-db", "-3")
    assert (ended.status, ended.out) == (0, f"{target}\n")
    assert seconds_of(target) > 0
    assert no_jobs_left(data_dir)
    nameless = [path.rename(tmp_path / f"{number}.wav") for number, path in enumerate(files)]
    refused = call("cover", *nameless, "--voice", "kathleen", "-o", tmp_path / "2.wav")
    assert (refused.status, "vocals" in refused.sentence) == (2, True)
    assert no_jobs_left(data_dir)


CONVERT = ("convert", "me.wav", "--voice", "kathleen")
TRAIN = ("train", "me.wav", "--name", "Anna", "--consent")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("convert", "me.wav", "--voice", "nobody", "-o", "out.wav"), "no voice 'nobody'; choose one of"),
        (
            ("convert", "me.wav", "--voice", "builtin", "-o", "out.wav"),
            "may be 2 voices; give an id",
        ),
        (("convert", "none.wav", "--voice", "kathleen", "-o", "out.wav"), "no file none.wav"),
        (("convert", "empty", "--voice", "kathleen", "-o", "out"), "no recordings in the folder empty"),
        (("convert", "me.txt", "--voice", "kathleen", "-o", "out.wav"), "me.txt is not a recording"),
        ((*CONVERT, "-o", "me.txt"), "write to one of: wav, flac"),
        ((*CONVERT, "-o", "there.wav"), "there.wav exists already"),
        ((*CONVERT, "-o", "me.wav", "--overwrite"), "is the recording itself"),
        ((*CONVERT, "-o", "out.wav", "--format", "mp3"), "out.wav is not called .mp3"),
        ((*CONVERT, "-o", "me.txt/out.wav"), "is no folder to write in"),
        ((*CONVERT, "-o", "-", "--json"), "leave out one of them"),
        (("train", "empty", "--name", "Anna", "--consent"), "no recordings in the folder empty"),
        (("train", "me.wav", "--name", "Anna"), "needs its owner's permission; give --consent"),
        (("train", "--name", "Anna", "--consent"), "Give recordings to train on"),
        (TRAIN, "a voice needs at least 10 seconds"),
        ((*TRAIN, "--language", "klingon"), "'language' is \"klingon\"; give a tag"),
        ((*TRAIN, "--version", "v1"), "for the engine 'rvc' alone"),
        (("train", "--resume", "0" * 32), "no job"),
        (("import", "me.txt"), "is not a zip of a voice"),
        (("export", "nobody", "-o", "out.zip"), "no voice 'nobody'"),
        (("export", "kathleen", "-o", "there.wav"), "exists already"),
        (("export", "kathleen", "-o", "out.zip", "--format", "rvc"), "export it in the format 'bundle'"),
        (("voices", "--server", "127.0.0.1"), "is no address of a server"),
        (("voices", "--server", "http://127.0.0.1:1"), "No server answers at http://127.0.0.1:1"),
        (("train", "me.wav", "--name", "A", "--consent", "--server", "http://127.0.0.1:1"), "give --token"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(  # noqa: PLR0913 -- fixtures
    call: Call,
    recording: Path,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "me.txt").write_text("no sound")
    shutil.copyfile(recording, tmp_path / "there.wav")
    before = everything_in(tmp_path)
    ended = call(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert said in ended.sentence
    assert {path for path in everything_in(tmp_path) - before if not path.startswith("data")} == set()
    if (data_dir / "jobs").exists():
        assert no_jobs_left(data_dir)
        assert not list((data_dir / "models").glob("*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dance",), "No such command 'dance'"),
        ((*CONVERT, "-o", "out.wav", "--transpose", "100"), "'--transpose'"),
        ((*CONVERT, "-o", "out.wav", "--format", "doc"), "'--format'"),
        (CONVERT, "'--output'"),
        (("voices", "--data-dir", "~nobody-of-this-name/x"), "leads nowhere"),
    ],
)
def test_a_wrong_use_says_which_option_is_wrong(call: Call, arguments: tuple[str, ...], said: str) -> None:
    ended = call(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert said in ended.err.splitlines()[-1]


def test_a_voice_is_trained_exported_and_imported(call: Call, tmp_path: Path) -> None:
    ended = call("train", VOICE_FILES[0], "--name", "Anna", "--consent", "--language", "en", "--json")
    assert ended.status == 0
    (anna,) = ended.rows
    assert (anna["model_name"], anna["user_id"]) == ("Anna", "command-line")
    assert "permission" in anna["consent"]["statement"]
    archive = tmp_path / "anna.zip"
    assert call("export", anna["id"][:6], "-o", archive).out == f"{archive}\n"
    (copy,) = call("import", archive, "--name", "ANNA", "--json").rows
    assert "may be 2 voices" in call("export", "anna", "-o", tmp_path / "2.zip").sentence
    assert copy["id"] in {row["id"] for row in call("voices", "--json").rows}


def test_a_report_comes_before_a_training_that_takes_its_recordings(call: Call, data_dir: Path) -> None:
    ended = call("prepare", *VOICE_FILES[:2], "--json")
    assert ended.status == 0
    (report,) = ended.rows
    assert [file["name"] for file in report["files"]] == ["wren-1.ogg", "wren-2.ogg"]
    assert f"train --prepared {report['job_id']}" in ended.err
    told = call("prepare", VOICE_FILES[0]).out
    assert told.startswith("usable: 0.8 minutes of speech")
    assert "You have 50 seconds of speech" in told
    assert call("train", "--prepared", report["job_id"], "--name", "Wren", "--consent").status == 0


def test_recordings_of_a_voice_that_cannot_be_used_are_named(call: Call, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    ended = call("train", VOICE_FILES[0], bad, "--name", "Anna", "--consent")
    assert ended.status == 0
    assert "Not used: bad.wav" in ended.err


def test_a_command_waits_for_the_folder_and_starts_nothing_that_others_left(
    call: Call, recording: Path, data_dir: Path, tmp_path: Path
) -> None:
    settings = Settings(data_dir=data_dir)
    holder = Jobs(settings, worker_command=TOY_WORKER)  # it is not started: its jobs wait
    upload = holder.upload(Caller("somebody"), [(recording, "me.wav")], "target")
    waiting = holder.submit(Caller("somebody"), "conversion", upload["id"], model_id="builtin-kathleen")
    assert call("voices").status == 0  # which are only read
    threading.Timer(2.0, holder.close).start()
    ended = call("convert", recording, "--voice", "kathleen", "-o", tmp_path / "out.wav")
    assert ended.status == 0
    assert "uses" in ended.err.splitlines()[0]
    assert "--server URL" in ended.err.splitlines()[0]
    (left,) = Registry(data_dir, read_only=True).list("jobs", type="conversion", status="pending")
    assert left["id"] == waiting["id"]


def test_ctrl_c_saves_a_training_and_says_how_it_goes_on(
    call: Call, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "tests.ui.command_line.toy_program", "train", str(VOICE_FILES[0])]
    slow = os.environ | {"TOY_STEPS": "100000", "TOY_STEP_S": "0.02"}
    process = subprocess.Popen(
        [*command, "--name", "Slow", "--consent"], cwd=ROOT, env=slow, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        wait_for(lambda: any(data_dir.glob("jobs/*/work")), "the training")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 3
    (way,) = [line for line in told.splitlines() if "--resume" in line]
    monkeypatch.setenv("TOY_STEPS", "3")
    ended = call(*way.split("app.py ")[1].split(), "--json")
    assert ended.status == 0
    assert ended.rows[0]["model_name"] == "Slow"


def test_a_fault_of_the_program_is_another_status_and_keeps_its_log(
    call: Call, recording: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEP_S", "no number")
    ended = call("convert", recording, "--voice", "kathleen", "-o", tmp_path / "out.wav")
    assert ended.status == 1
    assert "through a fault of the program" in ended.err
    assert not (tmp_path / "out.wav").exists()
    assert len(Registry(data_dir, read_only=True).list("jobs", dead_letter=True)) == 1
