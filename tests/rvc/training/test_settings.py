"""Training settings: what is taken, what is refused, and what it costs to look."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rvc.errors import ConfigError
from rvc.training.settings import RANGES, TrainSettings, require_gpus


def test_every_setting_may_be_left_out() -> None:
    assert TrainSettings.from_json({}) == TrainSettings()


def test_settings_are_taken_by_name() -> None:
    settings = TrainSettings.from_json({"total_steps": 300, "seed": 7})
    assert (settings.total_steps, settings.seed) == (300, 7)


@pytest.mark.parametrize("name", sorted(RANGES))
def test_the_ends_of_a_range_are_taken_and_what_lies_beyond_is_refused(name: str) -> None:
    low, high = RANGES[name]
    engine = {"engine": "rvc"} if name == "gpus" else {}
    TrainSettings.from_json({name: low, **engine})
    TrainSettings.from_json({name: high, **engine})
    for wrong in (low - 1, high + 1):
        with pytest.raises(
            ConfigError, match=f"'{name}' is {wrong}; give a whole number from {low} to {high}"
        ):
            TrainSettings.from_json({name: wrong, **engine})


@pytest.mark.parametrize("wrong", ["eight", "8.0", "", 8.0, True, [8], float("nan")])
def test_what_is_no_whole_number_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        TrainSettings.from_json({"batch_size": wrong})


def test_a_whole_number_may_be_written_out() -> None:
    assert TrainSettings.from_json({"batch_size": "8", "total_steps": " 300 "}) == TrainSettings(
        batch_size=8, total_steps=300
    )


def test_only_optional_settings_may_be_none() -> None:
    assert TrainSettings.from_json({"total_steps": None, "threads": None}).total_steps is None
    with pytest.raises(ConfigError, match="patience"):
        TrainSettings.from_json({"patience": None})


def test_an_unknown_setting_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no setting 'epochs'; choose from: .*total_steps"):
        TrainSettings.from_json({"epochs": 3})


def test_an_engine_that_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="engine"):
        TrainSettings.from_json({"engine": 3})


def test_without_a_number_of_threads_all_cores_are_used() -> None:
    assert TrainSettings().thread_count == os.cpu_count()
    assert TrainSettings(threads=3).thread_count == 3


def test_settings_can_be_checked_without_loading_torch() -> None:
    code = "import sys, rvc.training.settings; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_several_gpus_divide_a_batch_evenly() -> None:
    assert TrainSettings.from_json({"engine": "rvc", "gpus": "3", "batch_size": 6}).gpus == 3
    with pytest.raises(
        ConfigError, match="batch of 8 cannot be divided among 3 processes; choose a batch_size"
    ):
        TrainSettings.from_json({"engine": "rvc", "gpus": 3, "batch_size": 8})
    with pytest.raises(ConfigError, match="'gpus' is for the engine 'rvc' alone"):
        TrainSettings.from_json({"gpus": 2})
    require_gpus(4, 0)
    require_gpus(4, 4)
    with pytest.raises(ConfigError, match="A training has 3 GPUs at most here, not 4; ask for no more"):
        require_gpus(4, 3)
