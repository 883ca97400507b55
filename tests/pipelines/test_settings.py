from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.settings import Settings, get_settings
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
