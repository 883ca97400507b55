"""The mix of loudness envelopes as upstream has it."""

from __future__ import annotations

import numpy as np

from rvc.audio.level import frame_rms
from rvc.audio.loudness import EnvelopeMix, measure_frames, slow_envelope
from tests.golden_files import golden

HOP = 400


def test_envelopes_are_mixed_as_upstream_mixes_them() -> None:
    data = golden("rms_mix.npz")
    source, target = data["source_16k"], data["target_40k"]
    whole = np.pad(target, (0, -target.size % HOP))
    envelope = slow_envelope(frame_rms(source), source.size / 160)
    names = [name for name in data if name.startswith("mix_") and data[name].size == target.size]
    assert names
    for name in names:
        follow = 1 - float(name.removeprefix("mix_").replace("_", "."))
        mix = EnvelopeMix.of(envelope, measure_frames(whole, HOP), follow, HOP, target.size)
        made = mix.apply(whole, 0)[: target.size] / mix.overall
        np.testing.assert_allclose(made, data[name], atol=1e-5, rtol=1e-5)


def test_what_is_not_to_follow_stays_as_it_is() -> None:
    target = golden("rms_mix.npz")["target_40k"][: 100 * HOP]
    mix = EnvelopeMix.of(np.ones(3), measure_frames(target, HOP), 0.0, HOP, target.size)
    np.testing.assert_array_equal(mix.apply(target, 0), target * np.float32(mix.overall))
