"""Which GPUs compute with 16-bit floats to advantage.

Before tensor cores (compute capability below 7) they are far slower than 32-bit ones; the GTX 16 series has
none either, and its convolutions are known to give NaN. RVC's own programs leave the same devices out.
"""

from __future__ import annotations

import torch

_FIRST_CAPABILITY = 7
_WITHOUT_TENSOR_CORES = "GTX 16"


def halves(device: torch.device) -> bool:
    """Tell whether networks shall compute in half precision on a device; never on a processor."""
    if device.type != "cuda":
        return False
    major, _ = torch.cuda.get_device_capability(device)
    return major >= _FIRST_CAPABILITY and _WITHOUT_TENSOR_CORES not in torch.cuda.get_device_name(device)
