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
    assert history.loss_frame()["step"].is_monotonic_increasing
    assert history.best_step == 20
