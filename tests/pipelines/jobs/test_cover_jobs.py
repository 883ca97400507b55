"""A song as a job: it lets others through, goes on where it was stopped, and keeps its parts to itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile as sf

from pipelines.jobs.estimates import FIGURES, plan_of
from pipelines.jobs.service import Jobs
from rvc.errors import ConfigError, NotAllowedError, UnknownNameError
from tests.pipelines.jobs.toy_jobs import ME, OTHER, Row, add_voice, end_of, submit, turns, until, upload
from tests.tiny_separator import RATE, band, vocals


@pytest.fixture
def covers(jobs: Jobs, data_dir: Path) -> Jobs:
    """Jobs with a voice for everybody."""
    add_voice(jobs, data_dir)
    jobs.library.offer_to_all("voice")
    return jobs


def song(jobs: Jobs, folder: Path, *parts: str) -> Row:
    """The row of a song that was sent in, in one file or in these parts."""
    sounds = {"vocals": vocals(1.0), "backing": band(1.0), "song": band(1.0) + vocals(1.0)}
    files = []
    for name in parts or ("song",):
        sf.write(folder / f"{name}.wav", sounds[name], RATE)
        files.append((folder / f"{name}.wav", f"{name}.wav"))
    return jobs.upload(ME, files, "song")


def cover(jobs: Jobs, source: Row, **settings: object) -> str:
    return str(jobs.submit(ME, "cover", source["id"], model_id="voice", settings=settings)["id"])


def test_a_short_conversion_gets_through_in_the_middle_of_a_song(
    covers: Jobs, tmp_path: Path, data_dir: Path
) -> None:
    long = cover(covers, song(covers, tmp_path), steps=100, step_s=0.05)
    until(lambda: covers.get(ME, long)["progress"] > 0)
    short = submit(covers, "conversion", upload(covers, tmp_path, OTHER), OTHER, steps=3, step_s=0.05)
    end_of(covers, short)
    assert covers.get(ME, long)["status"] == "converting"
    end_of(covers, long)
    assert turns(data_dir) == [long, short, long]


def test_a_stopped_song_goes_on_where_it_was(covers: Jobs, tmp_path: Path) -> None:
    job = cover(covers, song(covers, tmp_path), steps=30, step_s=0.05)
    until(lambda: covers.get(ME, job)["progress"] > 0.2)
    covers.cancel(ME, job)
    end_of(covers, job, "cancelled")
    covers.resume(ME, job)
    row = end_of(covers, job)
    assert row["result"]["start"] > 0
    assert covers.library.stats(ME, "voice")["uses"] == 1


def test_its_parts_are_the_uploads_of_two_files_and_else_its_own(covers: Jobs, tmp_path: Path) -> None:
    two, one = song(covers, tmp_path, "backing", "vocals"), song(covers, tmp_path)
    of_two, of_one = cover(covers, two), cover(covers, one)
    for job in (of_two, of_one):
        end_of(covers, job)
    stems = ("vocals", "backing", "voice")
    folders = {
        (job, stem): covers.files.stem_path(ME, job, stem).parent.parent.name
        for job in (of_two, of_one)
        for stem in stems
    }
    assert [folders[of_two, stem] for stem in stems] == [
        two["id"],
        two["id"],
        of_two,
    ]
    assert {folders[of_one, stem] for stem in stems} == {of_one}
    with pytest.raises(UnknownNameError, match="There is no job"):
        covers.files.stem_path(OTHER, of_one, "vocals")
    with pytest.raises(UnknownNameError, match=r"has no stem '\.\./vocals'"):
        covers.files.stem_path(ME, of_one, "../vocals")


def test_a_part_that_is_not_there_yet_is_said_to_be(covers: Jobs, tmp_path: Path) -> None:
    job = cover(covers, song(covers, tmp_path), steps=200, step_s=0.05)
    until(lambda: covers.get(ME, job)["progress"] > 0)
    with pytest.raises(NotAllowedError, match=r"^The file of the vocals is not there \(converting\);"):
        covers.files.stem_path(ME, job, "vocals")
    assert covers.use_of("voice") == "1 cover"
    covers.cancel(ME, job)
    end_of(covers, job, "cancelled")


def test_songs_and_other_recordings_are_kept_apart(covers: Jobs, tmp_path: Path) -> None:
    sent = song(covers, tmp_path, "vocals", "backing")["id"]
    for kind in ("conversion", "training", "preprocessing"):
        with pytest.raises(ConfigError, match="were sent in for a cover"):
            submit(covers, kind, sent)
    with pytest.raises(ConfigError, match="were sent in for a training"):
        cover(covers, {"id": upload(covers, tmp_path)})


def test_how_long_it_takes_is_told_by_what_there_is_to_do() -> None:
    whole, apart = (plan_of("cover", 100.0, {}, engine="lite", prepared=ready) for ready in (False, True))
    assert whole == apart | {"separate": 100.0}
    assert list(whole) == ["start", "load", "separate", "convert"]
    half = plan_of("cover", 100.0, {}, engine="lite", done=0.4)
    assert half["separate"] == pytest.approx(50.0)
    assert plan_of("cover", 100.0, {}, engine="lite", done=0.9) == apart
    assert "separate" in FIGURES
