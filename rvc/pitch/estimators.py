"""Who can find the F0 of a recording, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rvc.errors import ConfigError, UnknownNameError
from rvc.pitch.f0 import F0Estimator
from rvc.pitch.praat import PraatF0


def _rmvpe(weights: Path | None = None, device: str = "cpu") -> F0Estimator:
    if weights is None:
        raise ConfigError(
            "The F0 estimator rmvpe needs its weights, rmvpe.pt; download them or choose praat."
        )
    from rvc.pitch.rmvpe import RmvpeF0  # loads torch

    return RmvpeF0.load(weights, device)


def _swift() -> F0Estimator:
    from rvc.pitch.swift import SwiftF0  # loads onnxruntime

    return SwiftF0()


F0_ESTIMATORS: dict[str, Callable[..., F0Estimator]] = {"swift": _swift, "praat": PraatF0, "rmvpe": _rmvpe}


def f0_estimator(name: str, **settings: Any) -> F0Estimator:  # noqa: ANN401 -- each has its own
    """Make the estimator called `name`: "swift", "praat", or "rmvpe" with `weights` and `device`."""
    if name not in F0_ESTIMATORS:
        raise UnknownNameError.among("F0 estimator", name, F0_ESTIMATORS)
    return F0_ESTIMATORS[name](**settings)
