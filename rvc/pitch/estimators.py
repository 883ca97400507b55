"""Who can find the F0 of a recording, by name."""

from __future__ import annotations

from pathlib import Path

from rvc.errors import ConfigError
from rvc.pitch.f0 import F0Estimator
from rvc.pitch.praat import PraatF0
from rvc.registry import Registry

F0_ESTIMATORS: Registry[F0Estimator] = Registry("F0 estimator")


@F0_ESTIMATORS.register("praat")
def build_praat() -> F0Estimator:
    """Make Praat's estimator at its usual setting."""
    return PraatF0()


@F0_ESTIMATORS.register("rmvpe")
def build_rmvpe(weights: Path | None = None, device: str = "cpu") -> F0Estimator:
    """Read RMVPE's published weights; torch is imported only when somebody wants them."""
    if weights is None:
        raise ConfigError(
            "The F0 estimator rmvpe needs its weights, rmvpe.pt; download them or choose praat."
        )
    from rvc.pitch.rmvpe import RmvpeF0

    return RmvpeF0.load(weights, device)
