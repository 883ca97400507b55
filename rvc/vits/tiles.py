"""The generator run in short tiles of time on a CPU: the same samples, in less time and in flat memory.

Why:  a stage's activations take megabytes for each second of audio; a tile's are found in the cache, and with
      a tile to each core no core waits for another. Channels last, as oneDNN computes them fastest.
How:  a second of frames (a passage) goes through the stages, and each stage goes through it in tiles. What a
      tile has to see beyond its ends is computed along with it and cut off, so where they end is not heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc.errors import ConfigError
from rvc.vits.generator import LAST_SLOPE, SLOPE, Generator, PairedResBlock, SingleResBlock

Range = tuple[int, int]
# Any choice gives the same samples, but for the last bits.
PASSAGE_FRAMES = 100  # bounds the memory
TILE_NUMBERS = 2**18  # channels times samples; best where 4 bytes each fill about half of a core's own cache


@dataclass(frozen=True)
class _Segment:
    """Part of a signal that is `whole` samples long and silent beyond."""

    numbers: Tensor  # (1, C, 1, samples), channels last
    first: int
    whole: int

    @property
    def last(self) -> int:
        return self.first + self.numbers.shape[-1]

    def cut(self, first: int, last: int) -> _Segment:
        return _Segment(self.numbers[..., first - self.first : last - self.first], first, self.whole)


class _Layer:
    """A convolution that keeps the length, with its weights as they are computed fastest."""

    def __init__(self, conv: nn.Module) -> None:
        assert isinstance(conv, nn.Conv1d)
        self.weight, self.bias = _channels_last(conv.weight), conv.bias
        self.dilation = conv.dilation[0]
        self.reach = self.dilation * (conv.kernel_size[0] - 1) // 2

    def __call__(self, x: _Segment) -> _Segment:
        """Convolve; an end that is not the whole signal's own is lost as far as the layer reaches."""
        at_start, at_end = x.first == 0, x.last == x.whole
        padding = self.reach if at_start or at_end else 0
        numbers = F.conv2d(
            x.numbers, self.weight, self.bias, padding=(0, padding), dilation=(1, self.dilation)
        )
        made = _Segment(numbers, x.first + self.reach - padding, x.whole)
        return made.cut(x.first + self.reach * (not at_start), x.last - self.reach * (not at_end))


class _Block:
    """A residual block: steps of one or two layers, each added to its input."""

    def __init__(self, block: nn.Module) -> None:
        assert isinstance(block, PairedResBlock | SingleResBlock)
        columns = [block.convs1, block.convs2] if isinstance(block, PairedResBlock) else [block.convs]
        self.steps = [[_Layer(conv) for conv in convs] for convs in zip(*columns, strict=True)]
        self.reach = sum(layer.reach for step in self.steps for layer in step)

    def __call__(self, x: _Segment) -> _Segment:
        """Run the steps; an end that is not the whole signal's own is lost as far as the block reaches."""
        for step in self.steps:
            made = _Segment(F.leaky_relu(x.numbers, SLOPE), x.first, x.whole)
            for position, layer in enumerate(step):
                if position:
                    F.leaky_relu_(made.numbers, SLOPE)
                made = layer(made)
            made.numbers.add_(x.cut(made.first, made.last).numbers)
            x = made
        return x


class _Stage:
    """An upsampling and what follows it, on any range of its output."""

    def __init__(self, generator: Generator, stage: int) -> None:
        upsample = generator.ups[stage]
        assert isinstance(upsample, nn.ConvTranspose1d)
        self.weight, self.bias = _channels_last(upsample.weight), upsample.bias
        self.channels = upsample.out_channels
        self.rate, self.kernel = upsample.stride[0], upsample.kernel_size[0]
        self.padding = (self.kernel - self.rate) // 2
        self.noise_conv = None if generator.noise_convs is None else generator.noise_convs[stage]
        self.blocks = [_Block(block) for block in generator.blocks_of(stage)]
        self.reach = max(block.reach for block in self.blocks)

    def needs(self, first: int, last: int, length: int) -> Range:
        """Range of the stage before, `length` samples long, that a range of this one's output depends on."""
        first, last = _widened(first, last, self.reach, length * self.rate)
        start = -((self.kernel - 1 - self.padding - first) // self.rate)  # rounded up
        return max(start, 0), min((last - 1 + self.padding) // self.rate + 1, length)

    def tile(self, source: _Segment, excitation: Tensor | None, first: int, last: int) -> Tensor:
        """Compute a range of the output, (1, C, 1, last - first), of at least what `needs` says."""
        source = source.cut(*self.needs(first, last, source.whole))
        heard = F.leaky_relu(source.numbers, SLOPE)
        numbers = F.conv_transpose2d(heard, self.weight, self.bias, (1, self.rate), (0, self.padding))
        x = _Segment(numbers, source.first * self.rate, source.whole * self.rate)
        x = x.cut(*_widened(first, last, self.reach, x.whole))
        if excitation is not None:
            x.numbers.add_(self._excited(excitation, x.first, x.last))
        made = [
            block(x.cut(*_widened(first, last, block.reach, x.whole))).cut(first, last).numbers
            for block in self.blocks
        ]
        for other in made[1:]:
            made[0].add_(other)
        return made[0].div_(len(made))

    def _excited(self, excitation: Tensor, first: int, last: int) -> Tensor:
        """Bring a range of the excitation to the stage's rate, (1, C, 1, last - first)."""
        conv = self.noise_conv
        assert isinstance(conv, nn.Conv1d) and conv.bias is not None
        (stride,), (kernel,), padding = conv.stride, conv.kernel_size, int(conv.padding[0])
        start, end = first * stride - padding, (last - 1) * stride - padding + kernel
        heard = F.pad(excitation[max(start, 0) : end], (max(-start, 0), max(end - excitation.shape[0], 0)))
        # As a matrix product, whose rows are samples, it comes out with the channels last.
        made = torch.addmm(conv.bias, heard.unfold(0, kernel, stride), conv.weight[:, 0].t())
        return made.t()[None, :, None]


class TiledGenerator:
    """A generator's layers as tiles take them; later changes of its weights are not heard."""

    @torch.inference_mode()
    def __init__(self, generator: Generator) -> None:
        self._takes_f0 = generator.noise_convs is not None
        self._before, self._after = _Layer(generator.conv_pre), _Layer(generator.conv_post)
        self._condition = generator.cond
        self._stages = [_Stage(generator, stage) for stage in range(len(generator.ups))]

    def passages(
        self, latent: Tensor, speaker: Tensor, excitation: Tensor | None = None, spoken: Range | None = None
    ) -> Iterator[Tensor]:
        """Speak one item, (C, T), (G, 1) and (N,), passage by passage, (samples,) each.

        `spoken` is the first frame that is spoken and the one after the last; the others serve as context.
        """
        frames = latent.shape[-1]
        lengths = list(accumulate((stage.rate for stage in self._stages), mul, initial=frames))
        hop = lengths[-1] // frames
        if (excitation is not None) != self._takes_f0:
            raise ConfigError("A voice model with F0 takes an F0 contour, one without takes none.")
        if excitation is not None and excitation.shape[0] != lengths[-1]:
            raise ConfigError(f"{frames} frames take {lengths[-1]} samples of F0, not {excitation.shape[0]}.")
        start, end = spoken or (0, frames)
        for first in range(start, end, PASSAGE_FRAMES):
            last = min(first + PASSAGE_FRAMES, end)
            ranges = self._ranges(first * hop, last * hop, lengths)
            # Not around the loop: what is done between two passages is the caller's.
            with torch.inference_mode():
                passage = self._passage(latent, self._condition(speaker), excitation, ranges)
            yield passage

    def _ranges(self, first: int, last: int, lengths: list[int]) -> list[Range]:
        """What is needed of the first layer's output, of every stage's, and the range of the audio itself."""
        ranges = [(first, last), _widened(first, last, self._after.reach, lengths[-1])]
        for stage, length in zip(reversed(self._stages), reversed(lengths[:-1]), strict=True):
            ranges.append(stage.needs(*ranges[-1], length))
        return ranges[::-1]

    def _passage(
        self, latent: Tensor, condition: Tensor, excitation: Tensor | None, ranges: list[Range]
    ) -> Tensor:
        """Speak the last of the ranges."""
        frames = latent.shape[-1]
        first, last = _widened(*ranges[0], self._before.reach, frames)
        x = _Segment(_channels_last(latent[None, :, first:last]), first, frames)
        x = self._before(x).cut(*ranges[0])
        x.numbers.add_(condition[None, :, None])
        for stage, (first, last) in zip(self._stages, ranges[1:-1], strict=True):
            x = self._staged(stage, x, excitation, (first, last))
        x = _Segment(F.leaky_relu(x.numbers, LAST_SLOPE), x.first, x.whole)
        return torch.tanh(self._after(x).cut(*ranges[-1]).numbers[0, 0, 0])

    def _staged(self, stage: _Stage, source: _Segment, excitation: Tensor | None, wanted: Range) -> _Segment:
        """Compute a stage's output tile by tile."""
        first, last = wanted
        length = last - first
        # Equally long and as many for each thread, so that none waits for another.
        threads = torch.get_num_threads()
        rounds = -(-length * stage.channels // (TILE_NUMBERS * threads))
        tile = -(-length // (rounds * threads))
        made = source.numbers.new_empty(1, 1, length, stage.channels).permute(0, 3, 1, 2)

        def run(start: int) -> None:
            with torch.inference_mode():  # every thread has its own
                end = min(start + tile, last)
                made[..., start - first : end - first] = stage.tile(source, excitation, start, end)

        # Each tile in one thread: threads that share a convolution wait for the slowest at every layer.
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                list(pool.map(run, range(first, last, tile)))
        finally:
            torch.set_num_threads(threads)  # a worker's setting is also that of threads that begin later
        return _Segment(made, first, source.whole * stage.rate)


def _channels_last(signal: Tensor) -> Tensor:
    """(A, C, L) -> (A, C, 1, L), the numbers of a sample side by side."""
    return signal[:, :, None].contiguous(memory_format=torch.channels_last)


def _widened(first: int, last: int, reach: int, length: int) -> Range:
    return max(first - reach, 0), min(last + reach, length)
