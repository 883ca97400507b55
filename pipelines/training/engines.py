"""The engines that can be trained, and what each fetches before it begins.

    TASKS.build("rvc")(settings, group)  ->  Progress, Progress, ..., and at last a Start

Published weights are found or downloaded here, with progress; a download that fails and can be done without
becomes a note that goes with the training.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from pipelines.conversion.load_voice import fetched_estimator, fitted
from pipelines.events import Progress
from pipelines.weights import WeightStore, pretrained, weight_store
from rvc.engine.options import RVC_DEFAULTS
from rvc.errors import ConfigError, DownloadError
from rvc.registry import Registry
from rvc.training.group import Group
from rvc.training.settings import TrainSettings
from rvc.training.task import TaskBuilder

if TYPE_CHECKING:
    from pathlib import Path

    from rvc.vits.task import RvcSizes

ENCODER = "contentvec"
FROM_NOTHING = "Without {name}.pth it starts from random weights and takes far longer."


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a training begins.

    Attributes:
        build: Makes the task.
        note: One sentence for the person who waits, if there is something to say.
    """

    build: TaskBuilder
    note: str = ""


TaskSource: TypeAlias = "Callable[[TrainSettings, Group], Generator[Progress, None, Start]]"
"""Gets everything ready that a task needs."""

TASKS: Registry[TaskSource] = Registry("engine")


@TASKS.register("lite")
def lite_source() -> TaskSource:
    """Import the built-in engine only when it is to be trained."""
    from rvc.lite.task import build_task

    return at_once(build_task)


@TASKS.register("rvc")
def rvc_source() -> TaskSource:
    """Import RVC's engine only when it is to be trained."""
    from rvc.vits.task import published_sizes

    return RvcSource(published_sizes)


def at_once(build: TaskBuilder) -> TaskSource:
    """Make a source of a task that needs nothing and trains in one process."""

    def source(settings: TrainSettings, group: Group) -> Generator[Progress, None, Start]:
        if group.size > 1:
            raise ConfigError(
                f"The engine {settings.engine!r} trains in one process; start it without torchrun, "
                "or set the engine 'rvc'."
            )
        yield from ()
        return Start(build=build)

    return source


class RvcSource:
    """Gets the content encoder, who finds the melody, and pretrained weights.

    Args:
        sizes: Gives the sizes of the networks, as `published_sizes`.
        store: Gives where published weights are.
    """

    def __init__(
        self, sizes: Callable[..., RvcSizes], store: Callable[[], WeightStore] = weight_store
    ) -> None:
        self._sizes, self._store = sizes, store

    def __call__(self, settings: TrainSettings, group: Group) -> Generator[Progress, None, Start]:
        """Get everything ready.

        Args:
            settings: Of the training.
            group: The processes that train together.

        Yields:
            Progress of the downloads, all at fraction 0.

        Returns:
            How it begins.

        Raises:
            ConfigError: The settings contradict each other.
            DownloadError: The content encoder cannot be had, or an estimator that was asked for by name.
        """
        from rvc.vits.task import RvcFiles, RvcTask

        if settings.batch_size is not None:
            group.own(settings.batch_size)
        store = self._store()
        encoder = yield from fitted(store.fetch(ENCODER), 0.0, 0, 1)
        asked = settings.f0_estimator
        candidates = (asked,) if asked else RVC_DEFAULTS.f0_estimators
        name, estimator = yield from fetched_estimator(candidates, store, 0.0)
        files = RvcFiles(encoder=encoder, estimator_name=name or "praat", estimator=estimator)
        names = pretrained(settings.version, settings.sample_rate_hz, uses_f0=settings.f0)
        note = ""
        try:
            first: list[Path] = []
            for weights in names:
                found = yield from fitted(store.fetch(weights), 0.0, 0, 1)
                first.append(found)
            files = replace(files, generator=first[0], discriminators=first[1])
        except DownloadError:
            note = FROM_NOTHING.format(name=names[len(first)])
        sizes = self._sizes(settings.version, settings.sample_rate_hz, uses_f0=settings.f0)
        build = partial(RvcTask, precision=settings.precision, recomputes=settings.gradient_checkpointing)
        return Start(build=partial(build, sizes, files, group), note=note)
