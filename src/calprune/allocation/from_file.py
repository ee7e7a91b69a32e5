"""A table of sparsities that a user brings: a YAML or JSON mapping of blocks or linears.

    model.layers.0: 0.62
    model.layers.0.mlp.down_proj: 0.50      # the longer name wins

Every linear that is pruned must be covered, and over their weights the table must give the sparsity that the pattern
asks for, within half a percentage point; what is left of the difference is spread over all of them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import yaml

from calprune.allocation.budget import AllocationError, DenseBlock, Share, meet, share_of
from calprune.base.checks import options
from calprune.base.values import ConfigError, did_you_mean
from calprune.layers.inputs import Needs
from calprune.pattern import Pattern

TOLERANCE = 0.005


@options
class FromFile:
    path: str
    digest: str = ""  # the first 16 characters of the SHA-256 that the file must have; "": any

    tag: ClassVar[str] = "FromFile"
    needs: ClassVar[Needs] = "nothing"
    version: ClassVar[int] = 1

    def by_contents(self) -> "FromFile":
        """With the digest of what the file holds: what it says, and not only its path, is its identity.

        Raises ConfigError where the file is no table, or has another digest than the one given.
        """
        return replace(self, digest=self._read()[0])

    def __call__(self, blocks: Iterable[DenseBlock], pattern: Pattern) -> dict[str, Pattern]:
        _, table = self._read()
        wanted: list[Share] = []
        used = set()
        for block in blocks:
            for linear in block.linears:
                key = next((k for k in (linear.name, *_parents(linear.name)) if k in table), None)
                if key is None:
                    raise AllocationError(f"the table {self.path} says nothing of {linear.name}, which is pruned")
                used.add(key)
                wanted.append(share_of(linear, table[key]))
        if unused := [key for key in table if key not in used]:
            near = did_you_mean(unused[0], {s.name for s in wanted} | {p for s in wanted for p in _parents(s.name)})
            raise AllocationError(f"the table {self.path} names {unused[0]!r}, which is nothing that is pruned{near}")
        total = sum(s.weights for s in wanted)
        given = sum(s.value * s.weights for s in wanted) / total
        if abs(given - pattern.sparsity) > TOLERANCE:
            raise AllocationError(
                f"the budget {pattern} cannot be met: the table {self.path} gives {given:.2%} over the {total} weights "
                f"that are pruned, wanted {pattern.sparsity:.2%} within {TOLERANCE:.1%}"
            )
        rest = pattern.sparsity - given
        return meet([Share(s.name, s.shape, _inside(s.value + rest)) for s in wanted], pattern)

    def _read(self) -> tuple[str, dict[str, float]]:
        """The file's digest, and its table."""
        try:
            written = Path(self.path).read_bytes()
            table = yaml.safe_load(written.decode("utf-8"))
        except OSError as e:
            raise ConfigError(f"cannot read the table {self.path}: {e.strerror or e}") from None
        except (UnicodeDecodeError, yaml.YAMLError) as e:
            raise ConfigError(f"cannot read the table {self.path}: {' '.join(str(e).split())}") from None
        found = hashlib.sha256(written).hexdigest()[:16]
        if self.digest not in ("", found):
            raise ConfigError(f"the table {self.path} has changed: its digest is {found}, wanted {self.digest}")
        if not isinstance(table, Mapping) or not table:
            raise ConfigError(f"{self.path}: expected a mapping of blocks or linears to sparsities, got {table!r:.60}")
        for key, value in table.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise ConfigError(f"{self.path}: {key}: a sparsity is at least 0 and below 1, got {value!r}")
        return found, {str(key): float(value) for key, value in table.items()}


def _parents(name: str) -> list[str]:
    """ "a.b.c" -> ["a.b", "a"]: the longest first."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]


def _inside(sparsity: float) -> float:
    """A table's 0 stays 0 where the rest to be spread is negative."""
    return min(max(sparsity, 0.0), 1 - TOLERANCE)
