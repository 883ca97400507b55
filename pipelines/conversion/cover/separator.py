"""HTDemucs as the package demucs-infer has it: vocals out of a window of a song.

Shapes:  W = samples of a window, as long as those that the network was trained on; sound is float32, (2, W).
Source:  Rouard et al. 2023, "Hybrid Transformers for Music Source Separation"; Meta's weights.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demucs_infer.htdemucs import HTDemucs
from numpy.typing import NDArray

from rvc.errors import CheckpointError
from rvc.torch_file import MOST_BYTES, fill, read_document

INSTEAD = "use the published file"
# A published file names its class, and holds fractions; of all other things it may hold none.
_NAMED: list[Any] = [
    (HTDemucs, "demucs.htdemucs.HTDemucs"),
    (HTDemucs, "demucs_infer.htdemucs.HTDemucs"),
    Fraction,
]


class Separator:
    """A loaded network; `rate_hz` is that of the song it hears, `window` is W."""

    def __init__(self, network: HTDemucs, device: str = "cpu") -> None:
        self._network = network.to(device).eval()
        self._device = device
        self._vocals = network.sources.index("vocals")
        self.rate_hz = int(network.samplerate)
        self.window = int(network.segment * network.samplerate)

    @staticmethod
    def load(path: Path, device: str = "cpu") -> Separator:
        """Load weights in the layout of the published file; a CheckpointError if they are others."""
        with torch.serialization.safe_globals(_NAMED):
            document = read_document(path, MOST_BYTES)
        try:
            network = HTDemucs(*document["args"], **document["kwargs"])
            state = dict(document["state"])
            network.sources.index("vocals")
        except (LookupError, TypeError, ValueError, AssertionError) as error:
            raise CheckpointError(f"{path.name} holds no network that finds vocals; {INSTEAD}.") from error
        fill(network, state, path, INSTEAD)
        return Separator(network, device)

    @torch.inference_mode()
    def vocals(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vocals of a window of a song at unit deviation, (2, W) -> (2, W)."""
        heard = torch.from_numpy(window)[None].to(self._device)
        found: NDArray[np.float32] = self._network(heard)[0, self._vocals].float().cpu().numpy()
        return found
