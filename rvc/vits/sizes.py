"""Which network a file of RVC describes: by its list of 18 sizes, or by the shapes of its weights alone.

A stranger wrote it, with any of many programs: numbers come as texts, whole ones as fractions, and what the
weights tell as well may be missing. What leaves no doubt is taken; anything else is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any, cast

import torch
from torch import Tensor

from rvc.audio.level import FRAMES_PER_S
from rvc.errors import CheckpointError, ConfigError
from rvc.torch_file import published_state
from rvc.vits.config import CONTENT_DIMS, PUBLISHED_RATES_HZ, SynthesizerConfig, Version, published_config
from rvc.vits.synthesizer import VitsSynthesizer

POSTERIOR = "enc_q"
LEGACY_FIELDS = (
    "spectrogram_bins", "segment_frames", "latent_channels", "hidden_channels", "ffn_channels",
    "attention_heads", "encoder_layers", "ffn_kernel", "dropout", "resblock_type", "resblock_kernels",
    "resblock_dilations", "upsample_rates", "upsample_channels", "upsample_kernels", "speakers",
    "speaker_channels", "sample_rate_hz",
)  # fmt: skip
SPEAKERS, CONTENT, PITCH = "emb_g.weight", "enc_p.emb_phone.weight", "enc_p.emb_pitch.weight"
_SEGMENT_FRAMES = 32  # written as such in every published file, and used by none
_RATE = re.compile(r"(\d{1,6})(?:\.0+)?\s*(k?)(?:hz)?")
_WORDS = {"1": True, "true": True, "0": False, "false": False}


@lru_cache(maxsize=8)
def synthesizer_shapes(config: SynthesizerConfig, *, with_posterior: bool) -> Mapping[str, torch.Size]:
    """Give the shape of every weight of a synthesizer, by published name; nothing is allocated."""
    with torch.device("meta"):
        synthesizer = VitsSynthesizer(config, with_posterior=with_posterior)
    return {name: tensor.shape for name, tensor in published_state(synthesizer).items()}


def legacy_list(config: SynthesizerConfig) -> list[Any]:
    """Give the 18 sizes as files have them."""
    sizes = {name: _plain(getattr(config, name, None)) for name in LEGACY_FIELDS}
    sizes["segment_frames"] = _SEGMENT_FRAMES
    sizes["dropout"] = config.dropout or 0
    return list(sizes.values())


def config_of(document: Mapping[str, Any], weights: Mapping[str, Tensor], name: str) -> SynthesizerConfig:
    """Read what a file says of its network (config, sr, f0, version), and complete it from its weights.

    The rate is that of the list, else that of sr, else a hundred times the product of the upsample rates.
    """
    version, f0 = _version(document, weights), _uses_f0(document, weights)
    if version is None or f0 is None:
        raise CheckpointError(
            f"{name} says version {shown(document.get('version'))} and f0 {shown(document.get('f0'))}, "
            "where v1 or v2 and 0 or 1 belong; export it again."
        )
    try:
        values = document.get("config")
        if values is None:
            return _published_like(document, weights, version, uses_f0=f0, name=name)
        if not isinstance(values, list | tuple) or len(values) < len(LEGACY_FIELDS) - 1:
            raise CheckpointError(
                f"{name} does not have the {len(LEGACY_FIELDS)} sizes of an RVC voice model; export it again."
            )
        # The last may be missing, and what follows it is nobody's.
        fields: dict[str, Any] = dict(zip(LEGACY_FIELDS, map(_frozen, values), strict=False))
        del fields["segment_frames"]
        fields["speakers"] = _speakers(weights) or fields["speakers"]
        fields["resblock_type"] = str(fields["resblock_type"])
        said_hz = _rate_hz(fields.get("sample_rate_hz")) or _rate_hz(document.get("sr"))
        fields["sample_rate_hz"] = said_hz or prod(fields["upsample_rates"]) * FRAMES_PER_S
        return SynthesizerConfig(version=version, uses_f0=f0, **fields)
    except ConfigError as error:
        raise CheckpointError(
            f"{name} describes a network that cannot be built ({str(error).rstrip('.')}); export it again."
        ) from error
    except (TypeError, RecursionError) as error:  # a list may even hold itself
        raise CheckpointError(
            f"{name} has something else than numbers for its sizes; export it again."
        ) from error


def contradictions(weights: Mapping[str, Tensor], config: SynthesizerConfig) -> list[str]:
    """Name weights that belong to another network than this: a further layer, a melody, a second copy.

    Other weights that no such network has, and the posterior encoder, change nothing.
    """
    shapes = synthesizer_shapes(config, with_posterior=False)
    further = [name for name in weights if name not in shapes and POSTERIOR not in name]
    if not further:
        return []
    other = synthesizer_shapes(replace(config, uses_f0=not config.uses_f0), with_posterior=False)
    parts = {_numberless(name) for name in (*shapes, *other)}
    return [
        name for name in further if _numberless(name) in parts or any(tail in shapes for tail in _tails(name))
    ]


def shown(value: object) -> str:
    return repr(value)[:40]


def _version(document: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Version | None:
    """Read v1, V2, 2, "2"; what is missing is told by the content that the weights take, else it is v1."""
    given = document.get("version")
    if given is None:
        content = weights.get(CONTENT)
        dim = content.shape[1] if content is not None and content.ndim == 2 else 0
        return cast(Version, next((version for version, has in CONTENT_DIMS.items() if has == dim), "v1"))
    version = f"v{_word(given).removeprefix('v')}"
    return cast(Version, version) if version in CONTENT_DIMS else None


def _uses_f0(document: Mapping[str, Any], weights: Mapping[str, Tensor]) -> bool | None:
    given = document.get("f0")
    return PITCH in weights if given is None else _WORDS.get(_word(given))


def _word(given: object) -> str:
    """Give a text or a number in one form: "1" for 1, 1.0, "1" and " 1.0"."""
    if not isinstance(given, str | int | float):
        return ""
    return str(given)[:40].strip().lower().removesuffix(".0")


def _rate_hz(given: object) -> int | None:
    """Read 40000, 40000.0, "40000", "40k" or "40 kHz"; None for anything else."""
    found = _RATE.fullmatch(_word(given))
    return int(found[1]) * (1_000 if found[2] else 1) if found else None


def _speakers(weights: Mapping[str, Tensor]) -> int:
    """Give the rows of the speaker table, 0 if there is none: files say 109 whatever it has."""
    table = weights.get(SPEAKERS)
    return table.shape[0] if table is not None and table.ndim == 2 else 0


def _published_like(
    document: Mapping[str, Any], weights: Mapping[str, Tensor], version: Version, *, uses_f0: bool, name: str
) -> SynthesizerConfig:
    """Find the published sizes that weights without any have."""
    if any("discriminators." in weight for weight in weights):
        raise CheckpointError(
            f"{name} holds the discriminators of a training (a D file), which are no voice; "
            "give the small .pth of the voice, or else the G file."
        )
    said_hz, posterior = _rate_hz(document.get("sr")), weights.get("enc_q.pre.weight")
    bins = posterior.shape[1] if posterior is not None and posterior.ndim == 3 else None
    speakers = max(_speakers(weights), 1)
    fits = []
    for rate_hz in PUBLISHED_RATES_HZ:
        config = published_config(version, rate_hz, uses_f0=uses_f0, speakers=speakers)
        shapes = synthesizer_shapes(config, with_posterior=False)
        fit = all(weight in weights and weights[weight].shape == shape for weight, shape in shapes.items())
        if fit and said_hz in (None, rate_hz) and bins in (None, config.spectrogram_bins):
            fits.append(config)
    if len(fits) == 1:
        return fits[0]
    if fits:
        rates = " and ".join(f"{config.sample_rate_hz} Hz" for config in fits)
        raise CheckpointError(
            f"{name} does not say its sample rate (sr), and its weights fit {rates}; export it again with it."
        )
    raise CheckpointError(
        f"{name} is a training checkpoint, or another file that does not say its sizes (config), and no "
        "published RVC voice has its weights; "
        "choose the small .pth that is made for conversion."
    )


def _numberless(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _tails(name: str) -> list[str]:
    """Give what follows each dot of a name."""
    return [name[dot.end() :] for dot in re.finditer(r"\.", name[:1_000])]


def _frozen(value: object) -> object:
    """Make lists tuples, and fractions that are whole numbers such numbers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return tuple(_frozen(part) for part in value) if isinstance(value, list | tuple) else value


def _plain(value: object) -> object:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
