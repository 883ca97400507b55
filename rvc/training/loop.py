"""The training loop, the same for every engine: a generator of reports.

Not calling `next` pauses it; closing it saves a checkpoint of exactly the step that was reached; running it
again in the same folder goes on from there. On the CPU with the same number of threads the result equals
that of an uninterrupted run bit for bit: random numbers, the order of slices and the schedule follow from
(seed, step), and the state holds the rest. The best-scored state is handed on.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from rvc.audio.writer import save
from rvc.errors import CheckpointError, ConfigError
from rvc.memory import is_out_of_memory
from rvc.pitch.praat import PraatF0
from rvc.training.checkpoints import CheckpointStore, Found
from rvc.training.dataset import Order, Slice, TrainingSet, fixed_arithmetic, generator_of, seed_of
from rvc.training.group import Group
from rvc.training.scoring import WORST, Melody, Score, mean_score, melody_of, score_slice
from rvc.training.settings import TrainSettings
from rvc.training.task import EndReason, LoopState, Outcome, Report, Task

logger = logging.getLogger(__name__)
AUTOMATIC = 8  # what a batch has if memory holds it: more makes a small set of recordings no better
REPORT_INTERVAL_S = 0.1
# However many steps: a large network's may take a minute, which is longer than a stopped process is given.
CHECKPOINT_S = 600.0
REFERENCE = "samples/reference.wav"
RATE_STEPS = 100  # over which the speed is measured


def fitting_batch_size(attempt: Callable[[int], None], first: int = AUTOMATIC) -> int:
    """Halve `first` until `attempt`, a step that leaves no trace, finds memory for so many items."""
    items = first
    while True:
        try:
            attempt(items)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if items == 1:
                raise ConfigError(
                    "Memory does not hold a single slice of these recordings; close what else uses it, "
                    "prepare shorter slices, or set gradient_checkpointing."
                ) from error
            logger.info("a batch of %d does not fit", items)
            items //= 2
        else:
            return items
        torch.cuda.empty_cache()  # here, where the failed step's tensors are gone


def on_cpu(state: Any) -> Any:  # noqa: ANN401 -- nested as states are
    """Copy a state, tensors into the CPU's memory, of which there is more."""
    return tree_map_only(Tensor, lambda tensor: tensor.detach().to("cpu", copy=True), state)


def sample_name(step: int) -> str:
    """Return the path, in a training's folder, of what its held-out sentence sounded like at a scoring."""
    return f"samples/{step:06d}.wav"


class Training:
    """One training in one folder: `checkpoints/`, `samples/reference.wav` and what was spoken at each score.

    A group takes every step together; the first alone writes, scores and reports, and decides.
    """

    def __init__(  # noqa: PLR0913 -- two of them are for tests and groups
        self, task: Task, data: TrainingSet, settings: TrainSettings, work_dir: Path, *,
        report_interval_s: float = REPORT_INTERVAL_S, group: Group | None = None,
        tries_batch: bool | None = None,
    ) -> None:  # fmt: skip
        self.task, self.data, self.settings, self.work_dir = task, data, settings, work_dir
        asked = settings.total_steps
        self.total_steps = task.default_steps(data.seconds) if asked is None else asked
        self._interval_s = report_interval_s
        self._group = group or Group.single()
        size = self._group.size
        self.batch_size = settings.batch_size or max(AUTOMATIC // size, 1) * size
        if tries_batch is None:
            # In a group, the others would wait for ever for the one whose memory is full.
            tries_batch = task.device.type == "cuda" and size == 1
        self._tries_batch = tries_batch and settings.batch_size is None
        self._order = Order([piece.seconds for piece in data.train], settings.seed)
        # The longest says most about a voice; the key decides between equals.
        self._sentence = max(data.held_out, key=lambda piece: (piece.seconds, piece.key))
        self._store = CheckpointStore(work_dir / "checkpoints")
        self._state = LoopState()
        self._saved: tuple[int, int] | None = None
        self._saved_at = time.perf_counter()
        self._step_s: deque[float] = deque(maxlen=RATE_STEPS)
        self._scoring_s = 0.0
        self._reported_at = 0.0
        self._recorded: dict[str, Melody] = {}  # by held-out slice, when it was first scored

    @property
    def scores(self) -> list[dict[str, float | None]]:
        return list(self._state.scores)

    @property
    def best_step(self) -> int | None:
        return self._state.best_step

    def run(self) -> Generator[Report, None, Outcome]:
        """Train until the end.

        Yields:
            A report after a step or a scored slice, at most one per `report_interval_s`, and one with the
            score at each scoring. Closing at any of them saves a checkpoint.

        Raises:
            CheckpointError: There are checkpoints, but all are damaged.
            ConfigError: The folder holds a training of other recordings or settings; it diverged before
                the first scoring; or memory does not suffice.
        """
        with fixed_arithmetic(self.settings.thread_count, self.task.device):
            said = self._resume()
            if self._is_untouched and self._tries_batch:
                self.batch_size = fitting_batch_size(self._try_batch)
                said = f"{said} A batch has {self.batch_size} slices.".strip()
            yield self._report("Training", said)
            if self._is_untouched and self.total_steps == 0:
                yield from self._fit()
            try:
                reason = yield from self._train()
            except GeneratorExit:
                self._save()
                raise
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise ConfigError(
                    f"Memory does not hold a batch of {self.batch_size}; close what else uses it, or "
                    "start a new training with a smaller batch_size."
                ) from error
            best_step, message = self._take_best()
            state = self._state
            outcome = Outcome(steps=state.step, best_step=best_step, reason=reason, scores=state.scores)
            logger.info("training ended at step %d (%s), best step %d", outcome.steps, reason, best_step)
            yield self._report("Training", message or _ending(outcome))
            return outcome

    @property
    def _is_untouched(self) -> bool:
        return not self._state.step and not self._state.scores

    def _fit(self) -> Generator[Report, None, None]:
        """Begin nearer to the voice than the first weights are, which is all where there are no steps."""
        features = [piece.features for piece in self.data.train]
        for share in self.task.fit(features, seed_of(self.settings.seed, "fit")):
            if self._is_time_to_report():
                yield replace(self._report("Fitting", "It comes near to the voice."), share=share)

    def _train(self) -> Generator[Report, None, EndReason]:
        """Steps and scorings until there is a reason to end; consistent at every yield."""
        state = self._state
        while True:
            if self._scoring_is_due():
                yield from self._score()
            if state.step >= self.total_steps:
                return "budget"
            if self._scorings_in_vain() >= self.settings.patience:
                return "patience"
            losses = self._step()
            known = {name: loss for name, loss in losses.items() if math.isfinite(loss)}
            if len(known) < len(losses):
                bad = ", ".join(name for name in losses if name not in known)
                if not self.task.skipped_step():
                    return self._diverged(bad)
                logger.warning("step %d is left out: %s overflowed", state.step, bad)
            state.add_losses(known)
            at_its_time = state.step % self.settings.checkpoint_every == 0
            is_overdue = time.perf_counter() - self._saved_at >= CHECKPOINT_S
            if (at_its_time or is_overdue) and not self._scoring_is_due():
                self._save()
            if self._is_time_to_report():
                yield self._report("Training")

    def _scorings_in_vain(self) -> int:
        """Count the scorings in a row without a better one, since somebody wanted the training to go on."""
        since = self.settings.patience_from
        later = sum((score["step"] or 0) > since for score in self._state.scores)
        return min(self._state.scorings_without_better, later)

    def _step(self) -> dict[str, float]:
        """Take one step; all that is random in it follows from the seed and its number."""
        seed, step, task = self.settings.seed, self._state.step, self.task
        began = time.perf_counter()
        chosen = self._order.items(step, self.batch_size)
        task.epoch = self._order.epoch(step, self.batch_size)
        # For layers that ask torch's global generators, such as dropout.
        torch.manual_seed(seed_of(seed, "global", step))
        features = [self.data.train[item].features for item in chosen]
        batch = task.batch(features, generator_of("cpu", seed, "batch", step))
        losses = task.step(batch, step, self.total_steps, generator_of(task.device, seed, "step", step))
        self._step_s.append(time.perf_counter() - began)
        return self._group.average(losses)

    def _try_batch(self, items: int) -> None:
        """Take a step with the longest slices, and go back."""
        task, seed = self.task, self.settings.seed
        before = on_cpu(task.state_dict())
        longest = sorted(self.data.train, key=lambda piece: piece.seconds, reverse=True)
        features = [longest[number % len(longest)].features for number in range(items)]
        batch = task.batch(features, generator_of("cpu", seed, "trial"))
        try:
            task.step(batch, 0, max(self.total_steps, 1), generator_of(task.device, seed, "trial"))
        finally:
            task.load_state_dict(before)

    def _diverged(self, bad: str) -> EndReason:
        state = self._state
        logger.warning("training diverged at step %d: %s is not finite", state.step, bad)
        if state.best_step is None:
            raise ConfigError(
                f"The training diverged at step {state.step} (the loss {bad} is no number) before there "
                "was anything to keep; start a new training with another seed or batch size."
            )
        return "diverged"

    def _scoring_is_due(self) -> bool:
        step = self._state.step
        at_its_time = step % self.settings.score_every == 0 or step >= self.total_steps
        never = self.total_steps == 0 and not self._state.scores
        return never or (step > self._state.scored_step and at_its_time)

    def _score(self) -> Generator[Report, None, None]:
        """Score the held-out slices, keep the state, and report; a scoring cut off leaves no trace."""
        state, pieces = self._state, self.data.held_out
        scores: list[Score] = []
        sample, spent_s = None, 0.0
        for number, piece in enumerate(pieces if self._group.is_first else (), start=1):
            began = time.perf_counter()
            score, spoken = self._score_slice(piece)
            scores.append(score)
            sample = spoken or sample
            spent_s += time.perf_counter() - began
            if self._is_time_to_report():
                yield self._report("Scoring", f"Listening to held-out slice {number} of {len(pieces)}.")
        self._scoring_s = spent_s
        is_best = state.add_score(self._group.from_first(mean_score(scores) if scores else None) or WORST)
        self._save()
        best = ", the best so far" if is_best else ""
        logger.info("step %d scored %s%s", state.step, state.scores[-1], best)
        verdict = "The best so far." if is_best else f"Step {state.best_step} was better."
        if state.best_step is None:
            verdict = "What it speaks cannot be scored yet."
        report = self._report("Scoring", verdict)
        report = replace(report, score=dict(state.scores[-1]), is_best=is_best)
        yield replace(report, sample=sample, reference=sample and REFERENCE)

    def _score_slice(self, piece: Slice) -> tuple[Score, str | None]:
        """Score one slice; if it is the sentence to listen to, write it and return its path."""
        task = self.task
        torch.manual_seed(seed_of(self.settings.seed, "render", piece.key))
        with torch.no_grad():
            rendered = task.render(piece.features)
            reference = task.reference(piece.features)
        # By one and the same estimator, whichever the task has: two of them never quite agree.
        estimate_f0, rate_hz = PraatF0(), task.sample_rate_hz
        if piece.key not in self._recorded:
            self._recorded[piece.key] = melody_of(reference, rate_hz, estimate_f0)
        score = score_slice(rendered, reference, self._recorded[piece.key], rate_hz, estimate_f0)
        if piece is not self._sentence or not rendered.size or not np.isfinite(rendered).all():
            return score, None
        sample = sample_name(self._state.step)
        (self.work_dir / "samples").mkdir(parents=True, exist_ok=True)
        save(self.work_dir / sample, rendered, rate_hz, bits=16)
        if not (self.work_dir / REFERENCE).exists():
            save(self.work_dir / REFERENCE, reference, rate_hz, bits=16)
        return score, sample

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be resumed."""
        return {
            "engine": self.settings.engine,
            "engine version": self.task.features_key,
            "set of recordings": self.data.digest,
            "seed": self.settings.seed,
            "batch size": self.batch_size,
        }

    def _resume(self) -> str:
        """Load the newest good checkpoint, if there is any; return what to say about it."""
        found = self._newest()
        if found is None:
            return ""
        identity = found.state["identity"]
        if self.settings.batch_size is None:
            self.batch_size = identity["batch size"]
        other = [name for name, value in self._identity().items() if identity.get(name) != value]
        if other:
            raise ConfigError(
                f"This training was started with another {' and another '.join(other)} and cannot go on "
                "with the present one; start a new training."
            )
        self.task.load_state_dict(found.state["task"])
        self._state = LoopState(**found.state["loop"])
        self._saved = (self._state.step, self._state.scored_step)
        message = found.message or f"Resumed from step {found.step}."
        logger.info("%s", message)
        return message

    def _newest(self) -> Found | None:
        """Find the newest good checkpoint; only the first process sets damaged ones aside."""
        group = self._group
        found = self._store.newest() if group.is_first else None
        step, message = group.from_first((found.step, found.message) if found else (None, ""))
        if found is None and step is not None:
            found = Found(step=step, state=self._store.read(step), message=message)
        return found

    def _save(self) -> None:
        state = self._state
        now = (state.step, state.scored_step)
        if now == self._saved or self._is_untouched or not self._group.is_first:
            return
        whole = {"identity": self._identity(), "loop": asdict(state), "task": self.task.state_dict()}
        self._store.save(state.step, state.best_step, whole)
        self._saved, self._saved_at = now, time.perf_counter()

    def _take_best(self) -> tuple[int, str]:
        """Load the best state, or the newest good one if it is damaged; return its step and a message."""
        best_step = self._state.best_step
        if best_step is None:
            raise ConfigError(
                "The training never gave audio that could be scored; start a new training with another "
                "seed or batch size."
            )
        if not self._group.is_first:
            # The file may be deleted by the first by now, and nobody asks this one for the voice.
            return best_step, ""
        try:
            self.task.load_state_dict(self._store.read(best_step)["task"])
        except CheckpointError as error:
            logger.warning("%s", error)
            found = self._store.newest()
            if found is None:
                raise
            self.task.load_state_dict(found.state["task"])
            message = f"The best state, of step {best_step}, is damaged; step {found.step} is used instead."
            return found.step, message
        return best_step, ""

    def _is_time_to_report(self) -> bool:
        return time.perf_counter() - self._reported_at >= self._interval_s

    def _report(self, stage: str, message: str = "") -> Report:
        self._reported_at = time.perf_counter()
        state, steps_per_s, seconds_left = self._state, None, None
        if self._step_s:
            steps_per_s = len(self._step_s) / max(sum(self._step_s), 1e-9)
            to_do = max(self.total_steps - state.step, 0)
            scorings = math.ceil(to_do / self.settings.score_every)
            seconds_left = to_do / steps_per_s + scorings * self._scoring_s
        return Report(
            stage=stage,
            step=state.step,
            total_steps=self.total_steps,
            losses=dict(state.smoothed),
            steps_per_s=steps_per_s,
            seconds_left=seconds_left,
            share=min(state.step / self.total_steps, 1.0) if self.total_steps else 0.0,
            message=message,
        )


def _ending(outcome: Outcome) -> str:
    if not outcome.steps:
        return "The voice is made, without training."
    best = f"the voice of step {outcome.best_step} is kept"
    return {
        "budget": f"All {outcome.steps} steps are done; {best}.",
        "patience": f"It no longer gets better; {best}.",
        "diverged": f"The training diverged after step {outcome.steps}; {best}.",
    }[outcome.reason]
