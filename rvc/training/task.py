"""What an engine must offer to be trained: the Task protocol.

Shapes:  N = samples at the task's rate, T = frames (100 per second), C = content channels.
Units:   audio in -1..1, F0 in Hz with 0 where unvoiced.
Not here: order, time, checkpoints, scores and when to stop; those are the loop's, the same for
          every engine.

What a task owes the loop, so that a resumed training equals an uninterrupted one bit for bit:

* `batch` draws all its randomness from the generator that it is given. `step` may also draw from
  torch's global generators (dropout does): the loop seeds them anew before every step.
  Python's and NumPy's global generators are never used.
* Nothing that influences a later step lives outside `state_dict`; the step number is an argument,
  so a schedule needs no counter of its own.
* `render`, `reference`, `f0`, `content` and `export` change nothing: they leave the networks in the
  mode (train or eval) and with the weights that they had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Features = Mapping[str, Tensor]
"""What an engine knows of one slice: named tensors on the CPU, as its `extract` made them."""


class Task(Protocol):
    """One engine's networks, optimizers and losses, ready to be trained on one voice.

    A task is built by a function without arguments. New weights are drawn from torch's global
    generator, which the caller seeds before.

    Attributes:
        sample_rate_hz: Rate of what `render` and `reference` give.
        features_key: Changes whenever `extract` would give something else for the same slice (its
            version, its encoder's checksum); part of the name of each cached file.
        device: Where the networks are.
        epoch: How many times everything was heard; the loop says it before each step, as it follows from
            the step's number.
    """

    sample_rate_hz: int
    features_key: str
    device: torch.device
    epoch: int

    def default_steps(self, seconds_of_audio: float) -> int:
        """Say how many steps suit this many seconds of training audio.

        Args:
            seconds_of_audio: All slices together, the held-out ones included.

        Returns:
            At least 1; the same for the same argument.
        """
        ...

    def extract(self, wav: NDArray[np.float32], rate_hz: int, seed: int) -> dict[str, Tensor]:
        """Compute the features of one slice; the loop keeps them in a file.

        Args:
            wav: One slice, shape (samples,), mono at its own rate.
            rate_hz: Its rate.
            seed: Seed of everything random here; the same for the same slice and training seed.

        Returns:
            Tensors by name, of any dtype, on the CPU or the device.
        """
        ...

    def batch(self, items: Sequence[Features], generator: torch.Generator) -> dict[str, Tensor]:
        """Put together one batch: crops, choices, padding.

        Args:
            items: Features of the slices whose turn it is; a slice may occur more than once.
            generator: A CPU generator, the only source of randomness.

        Returns:
            Tensors by name, as `step` wants them.
        """
        ...

    def step(
        self, batch: dict[str, Tensor], step: int, total_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        """Take one optimizer step of every network.

        Args:
            batch: What `batch` gave.
            step: Number of this step, 0..total_steps - 1; rates and ramps follow from it.
            total_steps: How many the whole training has.
            generator: A generator on `device`, for noise and phases.

        Returns:
            Losses by name. One that is not finite ends the training.
        """
        ...

    def render(self, item: Features) -> NDArray[np.float32]:
        """Speak one slice in the voice as it is now; the same weights give the same samples.

        Args:
            item: Features of a slice.

        Returns:
            Audio, shape (N,).
        """
        ...

    def reference(self, item: Features) -> NDArray[np.float32]:
        """Give the recording that `render` should come close to, at the level that it trains on.

        Args:
            item: Features of a slice.

        Returns:
            Audio, shape (N,); lengths may differ from `render` by up to a frame.
        """
        ...

    def f0(self, item: Features) -> NDArray[np.float64]:
        """Give the melody of a slice.

        Args:
            item: Features of a slice.

        Returns:
            F0 in Hz, shape (T,), 0 where unvoiced, frame i centred at 10 ms times i.
        """
        ...

    def content(self, item: Features) -> NDArray[np.float32]:
        """Give the content vectors of a slice, for the retrieval index.

        Args:
            item: Features of a slice.

        Returns:
            Rows, shape (T, C); T >= 1.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Give all that training changes: networks and optimizers.

        Returns:
            Nested dicts and lists of tensors, numbers, strings and None only, so that it can be
            read with `weights_only=True`.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state_dict` gave.

        Args:
            state: As read from disk, tensors on the CPU.
        """
        ...

    def export(self, folder: Path) -> dict[str, Any]:
        """Write the voice as it is now for use: `model.safetensors` in `folder`.

        Args:
            folder: An existing folder.

        Returns:
            The card's fields that only the engine knows: at least `engine`, `sample_rate_hz`,
            `content_encoder` and `content_dim`. JSON-able.
        """
        ...


@runtime_checkable
class DescribesVoice(Protocol):
    """A task that learns something of the voice from all slices together, for its card."""

    def describe(self, items: Iterable[Features]) -> dict[str, Any]:
        """Measure the voice.

        Args:
            items: Features of all slices.

        Returns:
            Further fields of the card. JSON-able.
        """
        ...


@runtime_checkable
class WritesCheckpoints(Protocol):
    """A task from whose training other programs can go on."""

    def write_checkpoints(self, folder: Path) -> list[Path]:
        """Write the networks and optimizers as they are now.

        Args:
            folder: An existing folder; files of an earlier writing are removed from it.

        Returns:
            The files.

        Raises:
            OSError: The disk refuses.
        """
        ...


TaskBuilder = Callable[[], Task]
