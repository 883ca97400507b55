from __future__ import annotations

import errno
import os
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.jobs import cleanup
from pipelines.settings import Settings, get_settings
from pipelines.store.registry import Registry
from rvc.errors import ConfigError
from rvc.files import ROOT


def test_a_variable_is_the_upper_case_name_of_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_FILE_SIZE_MB", "12.5")
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    settings = get_settings()
    assert settings.max_file_size_bytes == 12_500_000
    assert settings.log_level == "DEBUG"


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = get_settings()
    monkeypatch.setenv("MAX_FILES", "3")
    assert get_settings() is first


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_FILE_SIZE_MB", "0"),
        ("MAX_FILE_SIZE_MB", "many"),
        ("API_PORT", "70000"),
        ("API_PORT", "0"),
        ("TRAIN_THREADS", "0"),
        ("LOG_LEVEL", "loud"),
        ("SECRET", "short"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, somewhere"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(
        ConfigError, match=rf"^{name}: .*correct it in the environment or in \.env\.$"
    ) as refusal:
        get_settings()
    assert value not in str(refusal.value).replace(name, "") or name != "SECRET"


NUMBERS = sorted(
    "SECRET" if name == "configured_secret" else name.upper()
    for name, field in Settings.model_fields.items()
    if field.annotation in (float, int)
)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999", "1e300", "1e15", "-1", "9" * 5_000])
def test_no_number_may_be_endless_absurd_or_none(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"^{name}: .*correct it") as refusal:
        get_settings()
    assert "\n" not in str(refusal.value)


def test_dates_and_timers_can_be_computed_from_the_largest_of_all_numbers(tmp_path: Path) -> None:
    largest = {}
    for name, field in Settings.model_fields.items():
        bounds = [limit.le for limit in field.metadata if getattr(limit, "le", None) is not None]
        if field.annotation in (float, int):
            assert bounds, f"{name} has no upper bound"
            largest[name] = min(bounds)
    settings = Settings.model_validate({"data_dir": tmp_path / "data", **largest})
    registry = Registry(settings.data_dir)
    try:
        cleanup.find(registry, settings)
    finally:
        registry.close()
    for name in ("job_timeout", "training_timeout", "cancel_grace_s", "converter_idle_s", "max_pause_s"):
        assert getattr(settings, name) < threading.TIMEOUT_MAX
    for moment in (datetime.now(UTC) - timedelta(days=settings.cleanup_days), datetime.now(UTC)):
        assert (moment + timedelta(seconds=settings.upload_expiry_s)).year < 9999


@pytest.mark.parametrize("name", ["DATA_DIR", "AUTH_FILE", "WEIGHTS_DIR"])
def test_a_path_that_leads_nowhere_is_a_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for value in ("~nobody-of-this-name/x", str(tmp_path / "circle")):
        get_settings.cache_clear()
        monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError, match=rf"^{name}: .*leads nowhere"):
            get_settings()


@pytest.mark.parametrize("content", [b"MAX_FILES=\xff\xfe\n", None])
def test_an_env_file_that_cannot_be_read_is_a_sentence(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file = tmp_path / "odd.env"
    if content is None:
        monkeypatch.setenv("SECRET", "\udcff" * 20)
    else:
        env_file.write_bytes(content)
        monkeypatch.setitem(Settings.model_config, "env_file", str(env_file))
    with pytest.raises(ConfigError, match="correct"):
        get_settings()


def test_a_secret_that_is_a_folder_or_unreachable_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data" / "secret").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "data", tmp_path / "file"):
        with pytest.raises(ConfigError, match=r"secret.* cannot be used .*set SECRET"):
            _ = Settings(data_dir=folder).secret


def test_a_secret_that_finds_no_room_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, *_: object, **__: object) -> None:
        os.close(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", full)
        with pytest.raises(ConfigError, match="No space left on device"):
            _ = Settings(data_dir=tmp_path / "data").secret
    assert len(Settings(data_dir=tmp_path / "data").secret) >= 32


def test_an_empty_value_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAIN_THREADS", "")
    assert get_settings().train_threads >= 1


def test_the_data_folder_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", "./somewhere")
    assert get_settings().data_dir == tmp_path.resolve() / "somewhere"


def test_settings_do_not_change(data_dir: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        get_settings().max_files = 1


def test_a_random_secret_is_made_once_and_kept_private(data_dir: Path) -> None:
    first = get_settings().secret
    get_settings.cache_clear()
    assert get_settings().secret == first
    assert len(first) >= 32
    assert (data_dir / "secret").stat().st_mode & 0o077 == 0


def test_a_configured_secret_is_used_and_never_shown(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    monkeypatch.setenv("SECRET", "correct horse battery staple")
    assert get_settings().secret == "correct horse battery staple"
    assert "horse" not in repr(get_settings())
    assert not (data_dir / "secret").exists()


def test_an_emptied_secret_file_is_refused(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "secret").write_text("")
    with pytest.raises(ConfigError, match="holds no usable secret; delete it"):
        _ = get_settings().secret


def test_the_example_file_names_every_setting_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    shown = dict(re.findall(r"^#([A-Z_]+)=(.*)$", "\n".join(lines), flags=re.MULTILINE))
    named = {"configured_secret": "SECRET"}
    assert set(shown) == {named.get(field, field.upper()) for field in Settings.model_fields}
    assert Settings(**{name.lower(): value for name, value in shown.items() if value}) == Settings(
        data_dir=Path("data")
    )
