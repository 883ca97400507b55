"""Results are written here, and nowhere else: with their record, their watermark and their manifest."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from pipelines.marks.provenance import Provenance
from rvc.audio.watermark import Marker
from rvc.audio.writer import AudioWriter

Wave = NDArray[np.float32]


class ResultWriter:
    """An `AudioWriter` whose file says what it is, as `record` wants it; without a record it says nothing.

    `marked` says that what is written has its watermark already. `found_out` goes into the record.
    """

    def __init__(  # noqa: PLR0913 -- by name, and most have a default
        self,
        path: Path,
        rate_hz: int,
        format: str,
        record: Provenance | None,
        *,
        channels: int = 1,
        bits: int | None = None,
        marked: bool = False,
        found_out: Mapping[str, object] | None = None,
    ) -> None:
        tags = None if record is None else record.tags(**(found_out or {}))
        signed = None
        if record is not None and record.signing is not None:
            from pipelines.marks.manifest import SIGNABLE, sign

            signed = partial(sign, format=format, record=record) if format in SIGNABLE else None
        wanted = record is not None and record.watermark and not marked
        self._marker = Marker(rate_hz, channels) if wanted else None
        self._out = AudioWriter(
            path, rate_hz, format, bits=bits, tags=tags, channels=channels, on_written=signed
        )

    @property
    def rate_hz(self) -> int:
        return self._out.rate_hz

    @property
    def samples(self) -> int:
        """How many have been written so far."""
        return self._out.samples

    def __enter__(self) -> ResultWriter:
        self._out.__enter__()
        return self

    def write(self, block: Wave) -> None:
        """Append samples, as `AudioWriter.write`."""
        self._out.write(block if self._marker is None else self._marker.push(block))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._marker is not None:
                self._out.write(self._marker.finish())
        except BaseException as failed:
            self._out.__exit__(type(failed), failed, failed.__traceback__)
            raise
        self._out.__exit__(kind, error, trace)
