"""Several processes that train one voice together, each on its own GPU, on equal parts of every batch.

Every process puts the whole batch together and draws its noise, and computes only its own items: the result
is that of one process, but for the order in which floating-point numbers are added.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

from rvc.errors import ConfigError
from rvc.training.settings import require_gpus, share_of_batch

T = TypeVar("T")

# One process may extract the features of hours of recordings while the others wait for it.
PATIENCE = timedelta(hours=24)


@dataclass(frozen=True)
class Group:
    """The processes that train together; number 0 alone writes and reports."""

    rank: int
    size: int
    device: torch.device

    @staticmethod
    def single() -> Group:
        """Train by oneself, on the GPU if there is one."""
        return Group(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @staticmethod
    def init() -> Group:
        """Join the group that the environment describes, as torchrun does: by nccl on GPUs, else by gloo."""
        if not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"} <= set(os.environ):
            raise ConfigError(
                "Several processes train together by the setting gpus, or are started by torchrun: "
                "torchrun --nproc-per-node NUMBER -m pipelines.training.distributed ..."
            )
        local, size = int(os.environ["LOCAL_RANK"]), int(os.environ["WORLD_SIZE"])
        cards = torch.cuda.device_count()
        require_gpus(max(local + 1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))), cards)
        device = torch.device("cuda", local) if cards else torch.device("cpu")
        if cards:
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if cards else "gloo", timeout=PATIENCE)
        return Group(int(os.environ["RANK"]), size, device)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def leave(self) -> None:
        """End the group; every process calls it."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def shard(self, items: int) -> slice:
        """Say which items of a whole batch are this process's; ConfigError if they cannot be divided."""
        each = share_of_batch(items, self.size)
        return slice(self.rank * each, (self.rank + 1) * each)

    def average_gradients(self, parameters: Iterable[Parameter]) -> None:
        """Replace each gradient by its mean over all processes."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # One message instead of hundreds.
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def average(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Average numbers over all processes, so that all of them decide alike."""
        if self.size == 1:
            return dict(numbers)
        whole = torch.tensor(list(numbers.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(whole)
        return dict(zip(numbers, (whole / self.size).tolist(), strict=True))

    def from_first(self, value: T) -> T:
        """Give every process the plain data that the first one has; the others wait for it."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, device=self.device)
        return box[0]

    def share_files(self, names: Iterable[str], folder: Path) -> None:
        """Give every process, in a folder of its own, the files that the first one has in its folder.

        Those of one machine have the same folder, and nothing is sent.
        """
        if self.size == 1:
            return
        sizes = {name: (folder / name).stat().st_size for name in names} if self.is_first else {}
        sizes = self.from_first(sizes)
        lacking = {name for name, size in sizes.items() if not _is_there(folder / name, size)}
        of_all: list[set[str]] = [set()] * self.size
        dist.all_gather_object(of_all, lacking)
        for name in sorted(set().union(*of_all)):
            content = self.from_first((folder / name).read_bytes() if self.is_first else b"")
            if name in lacking:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                # Of each its own: a shared folder may not yet show all of them what is in it.
                part = path.with_name(f".{path.name}.{self.rank}.part")
                part.write_bytes(content)
                part.replace(path)

    def share_noise(self, noise: Tensor) -> Tensor:
        """Cut this process's items out of what was drawn for the whole batch."""
        return noise[self.shard(len(noise))]


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
