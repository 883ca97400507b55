"""In which precision the networks of RVC train: what is asked for, what the device has.

float32    everything
tf32       float32, multiplied by the GPU's tensor cores with 10 bits of mantissa
bfloat16   the networks by autocast; weights, losses, spectrograms and optimizers in float32
float16    the same, with losses scaled so that small gradients are not lost
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.amp.grad_scaler import GradScaler

from rvc.half_precision import halves

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """How the networks compute on a device.

    Attributes:
        name: "float32", "tf32", "bfloat16" or "float16".
        device: Where.
    """

    name: str
    device: torch.device

    @staticmethod
    def best(asked: str | None, device: torch.device) -> Precision:
        """Choose.

        Args:
            asked: A name; None is the fastest that is known to train well: float32 on a CPU and on GPUs whose
                half precision is of no use.
            device: Where it will be.
        """
        if asked is None and halves(device):
            asked = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
        return Precision(asked or "float32", device)

    def networks(self) -> torch.autocast:
        """Make the context in which networks are run; losses are computed outside of it."""
        dtype = _AUTOCAST.get(self.name)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def scaler(self) -> GradScaler:
        """Make what scales losses; it does nothing where nothing is lost."""
        return GradScaler(self.device.type, enabled=self.name == "float16")

    @contextmanager
    def multiplication(self) -> Iterator[None]:
        """Hold the GPU to how float32 is multiplied; what was set before comes back."""
        if self.device.type != "cuda":
            yield
            return
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32
        matmul.allow_tf32 = cudnn.allow_tf32 = self.name == "tf32"
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before
