"""Settings of every kind as they come from outside: what their fields say is taken, the rest refused."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

from pipelines.job_spec import PrepareSettings
from rvc.checked import read_settings
from rvc.engine.options import ConvertOptions
from rvc.errors import ConfigError
from rvc.training.settings import TrainSettings

KINDS: tuple[Any, ...] = (PrepareSettings, TrainSettings, ConvertOptions)
FIELDS = [(kind, field.name) for kind in KINDS for field in fields(kind)]
OF_NO_FIELD: tuple[object, ...] = (
    [],
    [1],
    {},
    {"a": 1},
    math.nan,
    math.inf,
    -math.inf,
    "\0",
    "much",
    10**400,
)


def shown(value: object) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return repr(value) if isinstance(value, str) else json.dumps(value)


def hint(kind: Any, name: str) -> str:  # noqa: ANN401
    return str(get_type_hints(kind)[name])


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_a_value_of_another_kind_is_refused_with_name_value_and_what_is_possible(
    kind: Any,  # noqa: ANN401
    name: str,
) -> None:
    wrong: list[object] = list(OF_NO_FIELD)
    allowed = hint(kind, name)
    if "None" not in allowed:
        wrong.append(None)
    if "bool" not in allowed:
        wrong.append(True)
    if "bool" in allowed or "str" in allowed:
        wrong += [0, 1, 2.5]
    if name == "engine":
        wrong = [value for value in wrong if not isinstance(value, str)]
    for value in wrong:
        with pytest.raises(ConfigError, match=rf"^The setting '{name}' is .+; give .+\.$") as refused:
            kind(**{name: value})
        sentence = str(refused.value)
        assert len(sentence) < 250
        assert "\n" not in sentence
        assert shown(value)[:40] in sentence


@pytest.mark.parametrize(
    ("text", "number"), [("3", 3.0), ("-2.5", -2.5), ("+7", 7.0), (" 4 ", 4.0), ("0.5", 0.5), (".5", 0.5)]
)
def test_a_number_may_be_written_out(text: str, number: float) -> None:
    assert read_settings(ConvertOptions, {"transpose_semitones": text}).transpose_semitones == number
    assert ConvertOptions(transpose_semitones=text).transpose_semitones == number  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", " ", "1e3", "0x1", "1_0", "NaN", "inf", "٣", "3 4", "9" * 500, "--3"])
def test_what_is_no_plain_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="'transpose_semitones' is"):
        ConvertOptions(transpose_semitones=text)  # type: ignore[arg-type]


def test_one_and_the_same_number_is_one_and_the_same_setting() -> None:
    assert PrepareSettings(highpass_hz=50) == PrepareSettings(highpass_hz="50") == PrepareSettings()  # type: ignore[arg-type]
    assert isinstance(PrepareSettings(highpass_hz=50).highpass_hz, float)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_is_refused_with_the_known_ones(kind: Any) -> None:  # noqa: ANN401
    with pytest.raises(ConfigError, match=r"no setting 'mood'; choose from: .+, .+\.$"):
        read_settings(kind, {"mood": 1})
    with pytest.raises(ConfigError) as refused:
        read_settings(kind, {"x" * 60_000: 1})
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_are_in_order_stay_as_they_are(kind: Any) -> None:  # noqa: ANN401
    made = kind()
    assert read_settings(kind, {field.name: getattr(made, field.name) for field in fields(kind)}) == made
