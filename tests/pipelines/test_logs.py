"""Log records: in both forms, and with the job that they are about, in the server and in its children."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.jobs.service import Jobs
from pipelines.logs import about_job, enter_job, start_logging
from pipelines.settings import Settings
from rvc.files import ROOT
from tests.pipelines.jobs.toy_jobs import ME, Open, add_voice, end_of, submit, upload
from tests.toy_worker import TOY_WORKER


@pytest.fixture
def kept_logging() -> Iterator[None]:
    """Puts back what a test sets up; what else writes to stderr in this process is silent meanwhile."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    root.handlers[:] = [handler for handler in before[0] if type(handler) is not logging.StreamHandler]
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    enter_job("")
    logging.captureWarnings(False)


def objects(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


def logged(capsys: pytest.CaptureFixture[str], *loggers: str) -> list[dict[str, str]]:
    """What these loggers wrote; a page that other tests share may serve in this process and write too."""
    lines = [line for line in capsys.readouterr().err.splitlines() if '"logger":"' in line]
    return [record for record in map(json.loads, lines) if record["logger"] in loggers]


@pytest.mark.usefixtures("kept_logging")
def test_a_record_names_the_job_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("json", "INFO")
    log = logging.getLogger("pipelines.something")
    log.info("before")
    with about_job("one"):
        log.info("during %s", "one")
        with about_job("two"):
            log.warning("within")
        log.info("again")
    log.info("after")
    log.debug("too small")
    logging.getLogger("somebody.else").info("not ours")
    records = logged(capsys, "pipelines.something", "somebody.else")
    assert [record.get("job") for record in records] == [None, "one", "two", "one", None]
    assert records[1]["message"] == "during one"
    assert records[2]["level"] == "WARNING"
    assert all(record["time"].endswith("+00:00") for record in records)


@pytest.mark.usefixtures("kept_logging")
def test_whatever_is_logged_is_one_json_object_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("json", "INFO")
    log = logging.getLogger("ui.something")
    log.info('a "quoted"\nsecond line \udcff \x00')
    try:
        json.loads("a\nb")
    except json.JSONDecodeError:
        log.exception("it failed")
    first, second = logged(capsys, "ui.something")
    assert first["message"].startswith('a "quoted"\nsecond line')
    assert "JSONDecodeError" in second["exception"]
    assert "\n" in second["exception"]


@pytest.mark.usefixtures("kept_logging")
def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("text", "INFO")
    logging.getLogger("timbre").info("ready")
    with about_job("one"):
        logging.getLogger("pipelines.x").info("working")
    lines = capsys.readouterr().err.splitlines()
    first, second = [line for line in lines if " timbre: " in line or " pipelines.x " in line]
    assert re.fullmatch(r"[-0-9]{10} [:0-9]{8} INFO timbre: ready", first)
    assert second.endswith("INFO pipelines.x [one]: working")


@pytest.mark.usefixtures("kept_logging")
def test_every_thread_of_a_child_names_its_job(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("json", "INFO")
    enter_job("mine")
    thread = threading.Thread(target=logging.getLogger("rvc.loader").info, args=("loading",))
    thread.start()
    thread.join()
    (record,) = logged(capsys, "rvc.loader")
    assert record["job"] == "mine"


def test_a_child_s_log_names_the_job_in_every_record(tmp_path: Path, data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir, log_format="json")
    jobs = Jobs(settings, worker_command=TOY_WORKER, retry_pauses_s=())
    try:
        jobs.start()
        add_voice(jobs, data_dir)
        source = upload(jobs, tmp_path)
        target = upload(jobs, tmp_path, purpose="target")
        ids = [submit(jobs, "preprocessing", source, steps=1)]
        ids += [submit(jobs, "conversion", target, steps=1) for _ in range(2)]
        for job_id in ids:
            end_of(jobs, job_id)
        for job_id in ids:
            records = objects(jobs.files.log(ME, job_id))
            assert records
            assert {record["job"] for record in records} == {job_id}
    finally:
        jobs.close()


def test_the_server_s_records_about_a_job_name_it(
    open_jobs: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from pipelines.logs import _name_the_job

    caplog.handler.addFilter(_name_the_job)
    caplog.set_level("INFO", "pipelines")
    jobs = open_jobs()
    jobs.start()
    job = submit(jobs, "preprocessing", upload(jobs, tmp_path), steps=1)
    end_of(jobs, job)
    about = {record.getMessage(): getattr(record, "job", "") for record in caplog.records}
    assert about["preprocessing is completed"] == job
    (began,) = [message for message in about if message.startswith("preprocessing: try 1 in process")]
    assert about[began] == job


def test_a_misspelt_name_in_the_settings_file_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_FILESIZE_MB=3\nPATH_OF_SOMEBODY=1\nLOG_FORMAT=json\nCLEANUP_DAYS=3\n")
    program = (
        "from pipelines.settings import get_settings, warn_of_misspelt_names\n"
        "from pipelines.logs import start_logging\n"
        "settings = get_settings()\nstart_logging(settings.log_format, settings.log_level)\n"
        "warn_of_misspelt_names()\nprint(settings.cleanup_days)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    (warning,) = objects(done.stderr)
    assert "MAX_FILESIZE_MB" in warning["message"]
    assert "MAX_FILE_SIZE_MB" in warning["message"]
    assert done.stdout == "3.0\n"


@pytest.mark.usefixtures("kept_logging")
def test_set_up_twice_says_everything_once_and_others_still_hear(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    start_logging("text", "INFO")
    start_logging("json", "INFO")
    logging.getLogger("timbre").warning("once")
    assert [record["message"] for record in logged(capsys, "timbre")] == ["once"]
    assert [record.message for record in caplog.records if record.name == "timbre"] == ["once"]
