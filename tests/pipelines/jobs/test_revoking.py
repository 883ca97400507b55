"""A permission that is taken back takes the voice with it, and says what it cannot reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.jobs.revoking import revoke_consent
from rvc.errors import NotAllowedError, UnknownNameError
from tests.pipelines.jobs.toy_jobs import ME, OTHER, Open, add_voice, end_of, submit, upload


def test_voice_training_recordings_and_exports_are_gone(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    jobs.start()
    sent = upload(jobs, tmp_path)
    trained = end_of(jobs, submit(jobs, "training", sent))
    voice = trained["model_id"]
    archive = jobs.library.export_bundle(ME, voice)
    jobs.library.record_use(voice, [3.0, 4.0])
    with pytest.raises(UnknownNameError):
        revoke_consent(jobs, OTHER, voice)
    assert archive.is_file()
    gone = revoke_consent(jobs, ME, voice)
    assert (gone["model_id"], gone["removed"]) == (voice, ["voice", "exports", "training"])
    with pytest.raises(UnknownNameError):
        jobs.library.get(ME, voice)
    assert jobs.library.list(ME, deleted=True) == []
    assert not archive.exists()
    assert not (data_dir / "models" / voice).exists()
    assert not (data_dir / "jobs" / sent).exists()
    assert not (data_dir / "jobs" / trained["id"]).exists()
    with pytest.raises(UnknownNameError):
        jobs.get(ME, trained["id"])
    said = " ".join(gone["remains"])
    assert "exported or downloaded before" in said
    assert "2 times" in said


def test_while_its_recordings_are_at_work_nothing_is_removed(open_jobs: Open, tmp_path: Path) -> None:
    """A training that went on would make the voice again."""
    jobs = open_jobs()
    jobs.start()
    sent = upload(jobs, tmp_path)
    voice = end_of(jobs, submit(jobs, "training", sent))["model_id"]
    other = submit(jobs, "training", sent, steps=10_000, step_s=0.02)
    with pytest.raises(NotAllowedError, match="stop it first"):
        revoke_consent(jobs, ME, voice)
    assert jobs.library.get(ME, voice)["id"] == voice
    jobs.cancel(ME, other)
    end_of(jobs, other, "cancelled")
    assert revoke_consent(jobs, ME, voice)["removed"] == ["voice", "exports", "training"]
    assert jobs.registry.list("jobs") == []


def test_jobs_that_use_it_fail_and_a_shipped_voice_stays(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    add_voice(jobs, data_dir)
    job = submit(jobs, "conversion", upload(jobs, tmp_path, purpose="target"))
    gone = revoke_consent(jobs, ME, "voice")
    assert gone["removed"] == ["voice", "exports"]
    assert "deleted" in jobs.get(ME, job)["error_message"]
    shipped = next(row["id"] for row in jobs.library.list(ME) if row["builtin"])
    with pytest.raises(NotAllowedError, match="comes with Timbre"):
        revoke_consent(jobs, ME, shipped)


def test_who_states_a_permission_is_kept_with_the_time(open_jobs: Open) -> None:
    from pipelines.jobs.intake import Intake

    jobs = open_jobs()
    intake = Intake(settings=jobs._settings, jobs=jobs)
    settings = intake._checked(ME, "training", {"consent": True, "stated_by": "  Ada   Lovelace "})
    assert settings.keys() == {"consent"}
    assert settings["consent"]["stated_by"] == "Ada Lovelace"
    assert settings["consent"]["given_at"].startswith("20")
    assert "stated_by" not in intake._checked(ME, "training", {"consent": True})["consent"]
