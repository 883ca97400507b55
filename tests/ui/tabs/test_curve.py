"""A training's history as the page keeps it: complete in shape, bounded in size."""

from __future__ import annotations

from typing import Any

from ui.tabs.training_view import MOST_POINTS, TrainingState


def event(n: int, step: int, **data: object) -> dict[str, Any]:
    return {"n": n, "data": {"step": step, "losses": {"spectrum": 1 / (step + 1), "realism": 2.0}, **data}}


def test_long_trainings_are_thinned_and_keep_their_ends() -> None:
    history = TrainingState(job_id="x")
    for n in range(1, 20_001):
        history.read([event(n, n)])
    frame = history.loss_frame()
    assert len(frame) <= 2 * 2 * MOST_POINTS
    assert frame["step"].max() >= 19_000
    assert frame["step"].min() <= 1_000
    assert set(frame["part"]) == {"spectrum", "realism"}
    assert history.seen == 20_000


def test_events_without_steps_are_no_news_but_are_counted() -> None:
    history = TrainingState(job_id="x")
    assert not history.read([{"n": 1, "data": {}}])
    assert history.seen == 1


def test_a_resumed_training_overwrites_what_it_tells_again() -> None:
    history = TrainingState(job_id="x")
    history.read([event(n, 10 * n, score={"total": 5.0 - n}, sample=f"samples/{n}.wav") for n in (1, 2, 3)])
    history.read([event(4, 20, score={"total": 1.0}, sample="samples/again.wav")])
    assert history.scores == [(10, 4.0), (20, 1.0)]
    assert history.samples == [(10, "samples/1.wav"), (20, "samples/again.wav")]
    assert history.loss_frame()["step"].is_monotonic_increasing
    assert history.best_step == 20


def test_the_samples_are_offered_newest_first_with_the_recording_last() -> None:
    history = TrainingState(job_id="x")
    totals = {10: 4.0, 20: 2.0, 30: 3.0}
    history.read([event(s, s, score={"total": t}, sample=f"samples/{s}.wav") for s, t in totals.items()])
    labels = [label for label, _ in history.sample_choices()]
    assert labels[0] == "Step 30 (newest)"
    assert labels[1] == "Step 20 (best so far)"
    assert history.sample_choices()[-1][1] == "samples/reference.wav"
    assert TrainingState(job_id="x").sample_choices() == []
