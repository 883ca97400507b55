"""The Jobs tab's listeners: a list that is drawn when it has changed, and what can be done with each job."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from pipelines.store.records import new_job, public_row
from tests.ui.launched import RECORDING, VOICE_FILES
from tests.ui.visitor import SOMEBODY_ELSE, drawn, request
from ui.look.html import NO_JOBS, job_card, permission, voice_card
from ui.server.services import Services
from ui.tabs.jobs import JobsState, JobsTab, details_of, line_of, title_of

BUILT_IN = "builtin-kathleen"


def jobs(services: Services) -> JobsTab:
    with gr.Blocks():
        return JobsTab(services)


def choose(tab: JobsTab, state: JobsState, job: object, **asked: str) -> Any:  # noqa: ANN401
    return tab.choose(state, gr.EventData(None, {"job": job}), request(**asked))


def chosen_in(listed: gr.HTML) -> str:
    """The job that the list shows as the chosen one."""
    (found,) = re.findall(r'data-job="(\w+)" aria-current="true"', str(listed.value))
    return str(found)


def conversion(services: Services) -> str:
    """A conversion of the visitor's that is done."""
    caller = services.caller(request())
    row = services.send_and_submit(caller, [(RECORDING, "song.flac")], "conversion", {}, model_id=BUILT_IN)
    assert list(services.jobs.follow(caller, row["id"]))[-1]["status"] == "completed"
    return str(row["id"])


def test_the_list_is_drawn_once_and_again_when_something_has_changed(services: Services) -> None:
    tab, state = jobs(services), JobsState()
    assert NO_JOBS in drawn(tab.open(state, request()))
    assert tab.tick(state, request()) == gr.skip()
    done = conversion(services)
    shown = tab.tick(state, request())
    assert chosen_in(shown[tab.list]) == state.job_id == done
    assert "Convert song.flac into Kathleen" in shown[tab.details]
    assert [shown[one].visible for one in tab.buttons] == [False] * 3
    assert [shown[one].visible for one in (tab.download, tab.listening, tab.log)] == [True, True, False]
    assert Path(shown[tab.result]).name == "song as Kathleen.wav"
    assert tab.tick(state, request()) == gr.skip()
    assert NO_JOBS in drawn(tab.open(JobsState(), request(SOMEBODY_ELSE)))
    assert NO_JOBS in drawn(tab.open(JobsState(), request("short")))


def test_the_choice_stays_while_one_looks_and_coming_back_shows_what_was_started_last(
    services: Services,
) -> None:
    tab, state, caller = jobs(services), JobsState(), services.caller(request())

    def add(seq: int) -> str:
        done = new_job(caller.user_id, "preprocessing", status="completed", seq=seq)
        return str(services.jobs.registry.insert("jobs", done)["id"])

    first = add(1)
    assert chosen_in(tab.open(state, request())[tab.list]) == first
    second = add(2)
    assert chosen_in(tab.tick(state, request())[tab.list]) == first
    assert chosen_in(tab.open(state, request())[tab.list]) == second
    assert chosen_in(choose(tab, state, first)[tab.list]) == first


def test_a_result_that_was_cleaned_up_is_not_offered(services: Services) -> None:
    done = conversion(services)
    for path in (services.settings.data_dir / "jobs" / done).glob("result/*"):
        path.unlink()
    tab = jobs(services)
    shown = tab.open(JobsState(), request())
    assert not shown[tab.download].visible
    assert shown[tab.result] is None


def test_what_rvc_programs_train_on_from_is_handed_to_its_owner_alone(services: Services) -> None:
    tab, state, caller = jobs(services), JobsState(), services.caller(request())

    def add(seq: int, *names: str) -> str:
        done = new_job(caller.user_id, "training", status="completed", seq=seq, model_name="W")
        work = services.settings.data_dir / "jobs" / done["id"] / "work"
        work.mkdir(parents=True)
        for name in names:
            (work / name).write_bytes(name.encode())
        return str(services.jobs.registry.insert("jobs", done)["id"])

    of_rvc, built_in = add(1, "G_200.pth", "D_200.pth"), add(2)
    assert not tab.open(state, request())[tab.checkpoints].visible
    assert choose(tab, state, of_rvc)[tab.checkpoints].visible
    handed = tab.publish_checkpoints(state, request())[tab.checkpoint_files].value
    assert [Path(file["path"]).name for file in handed] == ["G_200.pth", "D_200.pth"]
    assert [Path(file["path"]).read_bytes() for file in handed] == [b"G_200.pth", b"D_200.pth"]
    services.jobs.registry.update("jobs", built_in, updated_at="2030-01-01T00:00:00.000+00:00")
    assert tab.checkpoint_files not in tab.tick(state, request()), "what is handed out stays while one looks"
    with pytest.raises(gr.Error, match="There is no job"):
        tab.publish_checkpoints(state, request(SOMEBODY_ELSE))
    gone = choose(tab, state, built_in)
    assert not gone[tab.checkpoints].visible
    assert not gone[tab.checkpoint_files].visible
    with pytest.raises(gr.Error, match="completed training of the engine rvc"):
        tab.publish_checkpoints(state, request())


def test_a_job_is_stopped_and_started_again_by_the_buttons_that_fit(services: Services) -> None:
    tab, state, caller = jobs(services), JobsState(), services.caller(request())
    with pytest.raises(gr.Error, match="not the id"):
        tab.cancel(state, request())
    upload = services.jobs.upload(caller, [(p, p.name) for p in VOICE_FILES[:2]], "training")["id"]
    row = new_job(caller.user_id, "training", status="interrupted", seq=99, upload_id=upload, model_name="W")
    services.jobs.registry.insert("jobs", row | {"input_job_id": upload})
    (services.settings.data_dir / "jobs" / row["id"]).mkdir()
    shown = choose(tab, state, row["id"])
    assert [shown[one].visible for one in tab.buttons] == [
        False,
        True,
        True,
    ]
    services.jobs.registry.update("jobs", row["id"], status="failed", error_message="No voice was heard.")
    (services.settings.data_dir / "jobs" / row["id"] / "worker.log").write_text("<what happened>")
    shown = choose(tab, state, row["id"])
    assert "No voice was heard." in shown[tab.details]
    assert "&lt;what happened&gt;" in shown[tab.log].value
    elsewhere = choose(tab, state, row["id"], peer="10.0.0.7")
    assert "No voice was heard." in elsewhere[tab.details]
    assert elsewhere[tab.log].visible is False, "the log names folders of the server"
    assert tab.retry(state, request())[tab.buttons[0]].visible
    assert list(services.jobs.follow(caller, row["id"]))[-1]["status"] == "completed"
    for act in (tab.resume, tab.cancel):
        with pytest.raises(gr.Error, match="completed"):
            act(state, request())


def row(kind: str, **fields: object) -> dict[str, Any]:
    return public_row(new_job("me", kind, status=str(fields.pop("status", "training")), seq=1, **fields))


@pytest.mark.parametrize(
    ("kind", "names", "said"),
    [
        ("training", [], "Train Anna"),
        ("conversion", [], "Convert a recording into Anna"),
        ("preprocessing", ["a.wav"], "Check a.wav"),
        ("preprocessing", ["a.wav", "b.wav", "c.wav"], "Check a.wav and 2 more"),
    ],
)
def test_a_job_is_called_by_what_it_does(kind: str, names: list[str], said: str) -> None:
    files = [{"name": name, "seconds": 61.0} for name in names]
    assert title_of(row(kind, model_name="Anna", files=files)) == said


def test_a_running_job_s_line_says_how_far_it_is() -> None:
    assert "42 %" in line_of(row("training", progress=0.42))


def test_many_recordings_are_counted_and_tries_are_told() -> None:
    files = [{"name": f"{n}.wav", "seconds": 60.0} for n in range(6)]
    html = details_of(row("training", files=files, attempts=3))
    assert "0.wav, 1.wav, 2.wav, 3.wav and 2 more (6 min)" in html
    assert "<dt>Attempts</dt><dd>3</dd>" in html


@pytest.mark.parametrize(
    ("kind", "way"), [("training", "Resume"), ("batch", "Resume"), ("conversion", "Start again")]
)
def test_an_interrupted_job_names_the_button_that_is_there(kind: str, way: str) -> None:
    html = job_card(row(kind, status="interrupted", message="The server was stopped"))
    assert f"press {way}" in html or f"Press {way}" in html
    assert ("kept" in html) == (way == "Resume")


def test_a_voice_s_card_tells_what_is_known_of_it() -> None:
    known = {
        "model_name": "Anna",
        "builtin": False,
        "f0": {"median_hz": 200.4, "low_hz": 120.0, "high_hz": 390.0},
        "training_duration_seconds": 300.0,
        "quality_snr": 31.2,
        "sample_rate_hz": 24_000,
        "size_bytes": 3_400_000,
        "created_at": "2020-05-01T00:00:00+00:00",
        "consent": {"statement": "It is mine", "given_at": "2020-05-01T00:00:00+00:00"},
    }
    html = voice_card(known)
    for said in (
        "200 Hz in the middle, 120 to 390 Hz",
        "5 min of speech",
        "31 dB",
        "24 kHz",
        "3.4 MB",
        "2020",
    ):
        assert said in html
    assert "not yet" in html
    assert permission(None) != permission(None, imported=True)


def test_jobs_stand_in_groups_by_when_they_were_and_ids_are_folded(services: Services) -> None:
    tab, caller = jobs(services), services.caller(request())
    for seq, (status, begun) in enumerate(
        [("completed", "2020-01-01T00:00:00.000+00:00"), ("failed", None), ("pending", None)]
    ):
        made = new_job(caller.user_id, "training", status=status, seq=seq, model_name=f"V{seq}<b>")
        services.jobs.registry.insert("jobs", made | ({"created_at": begun} if begun else {}))
    listed = str(tab.open(JobsState(), request())[tab.list].value)
    order = [listed.index(text) for text in (">Running<", "V2", ">Today<", "V1", ">Earlier<", "V0")]
    assert order == sorted(order)
    assert "<b>" not in listed
    html = details_of(row("training"))
    assert html.index("<details>") < html.index("Job id") < html.index("</details>")


def test_a_job_that_has_ended_is_deleted_and_comes_back_and_is_gone_for_good(services: Services) -> None:
    tab, state = jobs(services), JobsState()
    done = conversion(services)
    shown = tab.open(state, request())
    assert shown[tab.delete_button].visible
    with pytest.raises(gr.Error, match="There is no job"):
        tab.delete(state, request(SOMEBODY_ELSE))
    gone = tab.delete(state, request())
    assert NO_JOBS in drawn(gone)
    assert [job_id for _, job_id in gone[tab.trash.choice].choices] == [done]
    with pytest.raises(gr.Error, match="There is no job"):
        tab.restore(state, done, request(SOMEBODY_ELSE))
    back = tab.restore(state, done, request())
    assert back[tab.trash.choice].choices == []
    assert done in str(back[tab.list].value)
    tab.delete(state, request())
    tab.purge(state, done, request())
    assert not (services.settings.data_dir / "jobs" / done).exists()
    for said in ("../x", None, 7, ["a"]):
        with pytest.raises(gr.Error, match="not the id"):
            choose(tab, state, said)
    with pytest.raises(gr.Error, match="not the id"):
        tab.choose(state, gr.EventData(None, "nothing"), request())
