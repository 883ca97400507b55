"""Signed manifests: whole in every format that has them, and broken by whoever changes the file."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipelines.job_spec import Signing
from pipelines.marks.inspection import inspect, source_marks
from pipelines.marks.manifest import SIGNABLE, holds_manifest, read_manifest
from pipelines.marks.provenance import Provenance
from pipelines.marks.writing import ResultWriter
from rvc.audio.reader import load_mono
from rvc.audio.writer import WRITABLE
from rvc.errors import ConfigError
from tests.sounds import tone

pytest.importorskip("c2pa", reason="needs requirements-c2pa.txt")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

RATE_HZ = 24_000
SOUND = tone(2.0, RATE_HZ)[:, 0]


def record(signing: Signing | None) -> Provenance:
    return Provenance(voice_name="Anna", voice_id="0123", signing=signing)


def signed(path: Path, signing: Signing | None) -> Path:
    with ResultWriter(path, RATE_HZ, path.suffix[1:], record(signing)) as out:
        out.write(SOUND)
    return path


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Signing:
    return Signing(home=tmp_path_factory.mktemp("data") / "signing")


@pytest.mark.parametrize("format", SIGNABLE)
def test_it_says_that_the_file_is_synthetic_and_holds(format: str, signing: Signing, tmp_path: Path) -> None:
    path = signed(tmp_path / f"made.{format}", signing)
    found = read_manifest(path, format)
    assert (found["found"], found["read"], found["state"]) == (True, True, "Valid")
    assert (found["generator"], found["synthetic"]) == ("Timbre", True)
    assert found["problems"] == ["signingCredential.untrusted"]  # nobody vouches for this installation
    assert inspect(path, path.name)["manifest"] == found
    assert {one.name for one in tmp_path.iterdir()} == {path.name}


@pytest.mark.parametrize("format", SIGNABLE)
def test_the_sound_and_the_tags_are_those_of_a_file_without_it(
    format: str, signing: Signing, tmp_path: Path
) -> None:
    with_it = signed(tmp_path / f"with.{format}", signing)
    without = signed(tmp_path / f"without.{format}", None)
    assert holds_manifest(with_it)
    assert not holds_manifest(without)
    np.testing.assert_array_equal(load_mono(with_it)[0], load_mono(without)[0])
    assert sf.info(with_it).frames == len(SOUND)
    told = [inspect(path, "x")["tags"]["record"]["voice_name"] for path in (with_it, without)]
    assert told == ["Anna", "Anna"]


def test_it_does_not_hold_for_a_file_that_was_changed(signing: Signing, tmp_path: Path) -> None:
    path = signed(tmp_path / "made.wav", signing)
    content = bytearray(path.read_bytes())
    content[3_000] ^= 1
    path.write_bytes(content)
    found = read_manifest(path, "wav")
    assert found["state"] == "Invalid"
    assert "assertion.dataHash.mismatch" in found["problems"]


def test_formats_that_have_none_are_written_without(signing: Signing, tmp_path: Path) -> None:
    for format in set(WRITABLE) - SIGNABLE.keys():
        path = signed(tmp_path / f"made.{format}", signing)
        assert inspect(path, "x")["manifest"]["found"] is False


def test_a_key_of_the_installation_is_made_once_and_private(tmp_path: Path) -> None:
    signing = Signing(home=tmp_path / "signing")
    signed(tmp_path / "one.wav", signing)
    key = signing.home / "key.pem"
    first = key.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    signed(tmp_path / "two.wav", signing)
    assert key.read_bytes() == first
    assert first not in (tmp_path / "one.wav").read_bytes()


def test_the_operator_s_own_key_signs(signing: Signing, tmp_path: Path) -> None:
    signed(tmp_path / "made.wav", signing)  # makes a key that serves as the operator's
    own = Signing(
        home=tmp_path / "unused", key=signing.home / "key.pem", certificate=signing.home / "chain.pem"
    )
    assert read_manifest(signed(tmp_path / "own.wav", own), "wav")["state"] == "Valid"
    assert not (tmp_path / "unused").exists()


def test_a_key_that_cannot_be_used_is_one_sentence_and_leaves_nothing(
    signing: Signing, tmp_path: Path
) -> None:
    signed(tmp_path / "made.wav", signing)
    other = rsa.generate_private_key(65_537, 2_048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "made.wav").unlink()
    keys = {"nonsense": b"no key", "another's": other}
    for name, content in keys.items():
        key = tmp_path / "key.pem"
        key.write_bytes(content)
        wrong = Signing(home=tmp_path, key=key, certificate=signing.home / "chain.pem")
        with pytest.raises(ConfigError, match="SIGN_OUTPUT=0"):
            signed(tmp_path / "made.wav", wrong)
        assert {one.name for one in tmp_path.iterdir()} == {"key.pem"}, name
    missing = Signing(home=tmp_path, key=tmp_path / "none.pem", certificate=tmp_path / "none.pem")
    with pytest.raises(ConfigError, match="cannot be read"):
        signed(tmp_path / "made.wav", missing)


def test_what_is_made_of_a_signed_recording_names_who_made_that(signing: Signing, tmp_path: Path) -> None:
    path = signed(tmp_path / "made.mp3", signing)
    assert "C2PA manifest of Timbre" in source_marks(path, "sent.mp3")
