"""What a look at this machine or at the settings has found."""

from __future__ import annotations

from dataclasses import dataclass

WIDTH = 11  # of the longest name


@dataclass(frozen=True, kw_only=True)
class Finding:
    name: str
    missing: bool  # whether one cannot do without it
    said: str  # what there is, and what follows from it or is to be done

    @property
    def line(self) -> str:
        return f"{'MISSING' if self.missing else 'ok':7}  {self.name:{WIDTH}}  {self.said}"
