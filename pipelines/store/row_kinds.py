"""What the rows of the registry hold, field by field; a file that says something else was damaged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pipelines.store.records import ID, JOB_TYPES, STATUSES, Row

Kind = Callable[[object], bool]
OF_SCHEMA = 1  # of the registry, up to which its rows are like this


def _text(value: object) -> bool:
    return isinstance(value, str)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _row(value: object) -> bool:
    return isinstance(value, dict)


def _rows(value: object) -> bool:
    return isinstance(value, list) and all(map(_row, value))


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _moment(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _maybe(kind: Kind) -> Kind:
    return lambda value: value is None or kind(value)


_MAYBE_TEXT, _MAYBE_NUMBER = _maybe(_text), _maybe(_number)
_MAYBE_ROW, _MAYBE_MOMENT = _maybe(_row), _maybe(_moment)


def _fields(kind: Kind, names: str) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


# By table, what every row has.
REQUIRED: dict[str, dict[str, Kind]] = {
    "jobs": {
        "type": lambda value: value in JOB_TYPES,
        "status": lambda value: value in STATUSES,
        **_fields(_text, "user_id message stage"),
        **_fields(
            _MAYBE_TEXT,
            "input_job_id upload_id input_audio_path output_audio_path model_id model_name error_message",
        ),
        **_fields(_number, "progress not_before"),
        **_fields(_MAYBE_NUMBER, "eta_s quality_snr"),
        **_fields(_whole, "seq attempts"),
        **_fields(_moment, "created_at updated_at"),
        **_fields(_MAYBE_MOMENT, "completed_at"),
        "dead_letter": _flag,
        "settings": _row,
        "files": _rows,
    },
    "models": {
        **_fields(_maybe(_text), "user_id training_job_id"),
        **_fields(_text, "model_name engine"),
        "builtin": _flag,
    },
    "usage": {"uses": _whole, "seconds_converted": _number},
    "tokens": {
        **_fields(_text, "user_id kind name digest stamp"),
        "created_at": _moment,
        "last_used_at": _maybe(_moment),
    },
    "presets": {**_fields(_text, "user_id name"), "created_at": _moment, "settings": _row},
}
# What rows of earlier versions lack.
OPTIONAL: dict[str, dict[str, Kind]] = {
    "jobs": {
        "upload_ids": _texts,
        "refused": _rows,
        "result": _MAYBE_ROW,
        "deleted_at": _MAYBE_MOMENT,
    },
    "models": {
        **_fields(_text, "model_path created_at"),
        **_fields(_maybe(_moment), "deleted_at imported_at"),
        **_fields(_maybe(_number), "training_duration_seconds quality_snr"),
        **_fields(_number, "size_bytes sample_rate_hz"),
        "f0": lambda value: not value or _row(value),
        "told": _row,
        "language": _maybe(_text),
        **_fields(_rows, "presets parents"),
        "tone_db": lambda value: not value or isinstance(value, list),
    },
    "usage": {"last_used_at": _maybe(_moment)},
    "presets": {"seen_at": _moment},
}


# By kind, the types of values that are of that kind whatever they are: looked up faster than asked.
_SURE: dict[Kind, frozenset[type]] = {
    _text: frozenset({str}),
    _number: frozenset({int, float}),
    _whole: frozenset({int}),
    _flag: frozenset({bool}),
    _row: frozenset({dict}),
    _MAYBE_TEXT: frozenset({str, type(None)}),
    _MAYBE_NUMBER: frozenset({int, float, type(None)}),
    _MAYBE_ROW: frozenset({dict, type(None)}),
    _MAYBE_MOMENT: frozenset({type(None)}),
}


def _checks(kinds: dict[str, Kind]) -> list[tuple[str, frozenset[type], Kind]]:
    return [(name, _SURE.get(kind, frozenset()), kind) for name, kind in kinds.items()]


_CHECKS = {table: _checks(kinds) for table, kinds in REQUIRED.items()}
_MORE = {table: _checks(kinds) for table, kinds in OPTIONAL.items()}


def wrong_in(table: str, row_id: str, row: Row) -> str:
    """Say what a row lacks, or has of another kind; "" for nothing."""
    if table not in REQUIRED:
        return ""
    if row.get("id") != row_id or not ID.fullmatch(row_id):
        return "no usable id"
    name = ""
    try:
        for name, sure, kind in _CHECKS[table]:
            if type(value := row[name]) not in sure and not kind(value):
                return f"a wrong {name}"
        for name, sure, kind in _MORE.get(table, ()):
            if name in row and type(value := row[name]) not in sure and not kind(value):
                return f"a wrong {name}"
    except KeyError:
        return f"no {name}"
    except TypeError:  # a list where a name is looked up
        return f"a wrong {name}"
    return ""
