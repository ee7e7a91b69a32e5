"""The calibration set: sequences of tokens, where each came from, and the recipe that made them; a folder on disk."""

import hashlib
import json
import os
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import yaml
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor

from calprune.base.checks import check, checked
from calprune.base.progress import current
from calprune.base.store import DamagedError, once, read_json, replaced, whole_folder, write_json
from calprune.base.values import UserError, identity, read
from calprune.calibration.card import hub_names, set_card
from calprune.calibration.provenance import Drawn, Piece, sources_table
from calprune.layers.readable import check_ids, check_length
from calprune.pages.page import HasPage, Page, Section
from calprune.text.encode import tokenizer_hash

MADE_AGAIN = (
    "recipe.yaml makes it again: calprune calib build recipe.yaml. pieces.jsonl names the document of each token. "
    "counts.json has what was read, dropped and why."
)


FILES = ("recipe.yaml", "tokens.safetensors", "pieces.jsonl", "README.md", "counts.json")  # in the order of writing


@dataclass(frozen=True, eq=False, repr=False)
class CalibrationSet(HasPage):
    """Sequences to collect statistics from. Make one with `from_tokens`, `calibration.build.build` or `load`."""

    tokens: Int[Tensor, "n T"]  # int64
    lengths: Int[Tensor, "n"]  # tokens[i, lengths[i]:] is padding and is never counted
    weights: Float[Tensor, "n T"] | None = None  # a token's weight in the statistics; None: 1 for each
    masked: Int[Tensor, "n"] | None = None  # tokens[i, :masked[i]] is padding that counts and no token attends to
    pieces: tuple[tuple[Piece, ...], ...] = ()  # for each sequence, the documents in it
    recipe: Mapping[str, Any] | None = None  # plain data, as recipe.yaml holds it; None: made from_tokens
    counts: Mapping[str, int] = field(default_factory=dict)  # documents read, dropped for each reason, tokens, padding
    drawn: tuple[Drawn, ...] = ()  # what each source gave, out of what
    notes: tuple[str, ...] = ()  # warnings of the making, for whoever reads the set's figures
    tokenizer: str | None = None  # `tokenizer_hash` of the one that made the tokens; None: not known
    made_for: str = ""  # the model whose tokenizer that is, as it was named: a label
    id: str = ""  # the hash of what made it; "": of its tokens

    def __post_init__(self) -> None:
        for name in ("tokens", "lengths", "weights"):
            check(name, getattr(self, name), Tensor | None if name == "weights" else Tensor)
        if self.tokens.ndim != 2:
            raise UserError(f"tokens: expected (sequences, tokens); got {tuple(self.tokens.shape)}")
        n, width = self.tokens.shape
        if n == 0 or width == 0:
            raise UserError(f"a calibration set needs at least one token; got {n} sequences of {width}")
        if self.lengths.shape != (n,) or int(self.lengths.min()) < 1 or int(self.lengths.max()) > width:
            raise UserError(f"lengths: expected {n} of them, each from 1 to {width}; got {_some(self.lengths)}")
        if int(self.tokens.min()) < 0:
            raise UserError(f"tokens: expected ids from 0; got {int(self.tokens.min())} (padding is told by lengths)")
        if self.weights is not None:
            if self.weights.shape != self.tokens.shape:
                raise UserError(f"weights: expected one a token {(n, width)}; got {tuple(self.weights.shape)}")
            if not (torch.isfinite(self.weights).all() and (self.weights >= 0).all()):
                raise UserError("weights: expected finite numbers, none negative")
            if not (self.weights * self.real).any():
                raise UserError("weights: every token weighs 0, so there is nothing to count")
        if self.masked is not None:
            left = self.masked
            if left.shape != (n,) or int(left.min()) < 0 or bool((left >= self.lengths).any()):
                raise UserError(f"masked: expected {n} of them, each from 0 and below the sequence's length; "
                                f"got {_some(left)}")  # fmt: skip
        if not self.id:
            object.__setattr__(self, "id", identity({"contents": _contents(self)}))

    @classmethod
    @checked
    def from_tokens(
        cls,
        tokens: Tensor | np.ndarray | Sequence[Sequence[int] | Tensor | np.ndarray],
        lengths: Tensor | Sequence[int] | None = None,
        weights: Tensor | None = None,
    ) -> "CalibrationSet":
        """A set of tokens that one already has: a tensor (n, T), or lists of ids, which may be of several lengths.

        `lengths` says how many tokens of each row are real (the rest is padding on the right); None: all of them.
        """
        tokens = torch.from_numpy(tokens) if isinstance(tokens, np.ndarray) else tokens
        if not isinstance(tokens, Tensor):
            try:
                rows = [torch.as_tensor(row) for row in tokens]
            except (ValueError, TypeError, RuntimeError, OverflowError) as e:
                raise UserError(f"tokens: expected lists of ids, whole numbers of at most 63 bits; {e}") from None
            if any(row.ndim != 1 for row in rows):
                raise UserError(
                    "tokens: expected a list of ids for each sequence; got one that holds lists, or an id alone"
                )
            if any(row.is_floating_point() for row in rows if len(row)):
                raise UserError("tokens: expected integers; got fractions")
            rows = [row.to(torch.int64) for row in rows]
            lengths = [len(row) for row in rows] if lengths is None else lengths
            if not rows:
                raise UserError("a calibration set needs at least one sequence; got none")
            tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        if tokens.ndim != 2 or tokens.is_floating_point():
            raise UserError(f"tokens: expected integers (sequences, tokens); got {tokens.dtype} {tuple(tokens.shape)}")
        counted = torch.full((len(tokens),), tokens.shape[1]) if lengths is None else torch.as_tensor(lengths)
        if counted.is_floating_point():
            raise UserError(f"lengths: expected integers; got {_some(counted)}")
        if counted.shape != (len(tokens),):
            raise UserError(f"lengths: expected {len(tokens)} of them, one a sequence; got {_some(counted)}")
        return cls(tokens.to("cpu", torch.int64), counted.to("cpu", torch.int64),
                   None if weights is None else weights.to("cpu", torch.float32))  # fmt: skip

    @property
    def real(self) -> Tensor:
        """(n, T) boolean: True where a token is not padding."""
        return torch.arange(self.tokens.shape[1]) < self.lengths[:, None]

    def page(self) -> Page:
        """Its sources and sizes; `calprune calib show` says more of it."""
        tokens = int(self.lengths.sum())
        size = f"{len(self.tokens):,} sequences of up to {self.tokens.shape[1]:,} tokens, {tokens:,} in all"
        sources = Section("sources", tables=(sources_table(self.drawn, tokens),), notes=self.notes)
        return Page(f"calibration set {self.id}", (sources,), summary=size)

    @property
    def licences(self) -> dict[str, str]:
        """The licence of each source, by its name."""
        return {part.source: part.licence for part in self.drawn}

    def about(self, spec: str) -> dict[str, Any]:
        """What calprune.json says of the set that a model was pruned with. `spec`: as it was asked for."""
        return {"asked": spec, "id": self.id, "recipe": self.recipe, "counts": dict(self.counts),
                "licences": sorted(set(self.licences.values())),
                "datasets": hub_names([part.source for part in self.drawn])}  # fmt: skip

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Raise UserError unless `tokenizer` reads these tokens as the one that made them."""
        if self.tokenizer is not None and (other := tokenizer_hash(tokenizer)) != self.tokenizer:
            raise UserError(
                f"calibration set {self.id} was built with another tokenizer ({self.tokenizer}) than the model's "
                f"({other}), so its ids are other words there; build it again with --model set to this model"
            )

    def check_model(self, model: Any) -> None:
        """Raise UserError where a `models.Model` cannot read these sequences: it has no such token, or no position."""
        check_ids(model.model, self.tokens, f"calibration set {self.id}")
        check_length(model.model, int(self.lengths.max()))

    @checked
    def save(self, folder: str | Path) -> None:
        """Write the set's folder, whole or not at all. A folder that holds this very set already is left as it is; one
        in which it is damaged is replaced.

        Raises UserError when `folder` holds something else or the disk is full.
        """
        folder = Path(folder)
        if is_set(folder):
            try:
                if CalibrationSet.load(folder).id == self.id:
                    return
            except DamagedError:
                if _head(folder).get("id") == self.id:
                    with replaced(folder):
                        self._write(folder)
                    return
        self._write(folder)

    def _write(self, folder: Path) -> None:
        with whole_folder(folder) as beside:
            tensors = {"tokens": self.tokens.int(), "lengths": self.lengths.int()}
            if self.weights is not None:
                tensors["weights"] = self.weights
            if self.masked is not None:
                tensors["masked"] = self.masked.int()
            pieces = "".join(_line([vars(piece) for piece in row]) for row in self.pieces)
            recipe = yaml.safe_dump(self.recipe, sort_keys=False, allow_unicode=True)
            (beside / "recipe.yaml").write_text(recipe, encoding="utf-8")
            (beside / "tokens.safetensors").write_bytes(safetensors.torch.save(tensors))
            (beside / "pieces.jsonl").write_text(pieces, encoding="utf-8")
            (beside / "README.md").write_text(self.card(), encoding="utf-8")
            write_json(beside / "counts.json", self._head(beside), sort=False)

    def card(self) -> str:
        """The README.md of the folder: what the set is, of what, and under which licences."""
        n, width = self.tokens.shape
        tokens = int(self.lengths.sum())
        about = (f"{n:,} sequences of up to {width:,} tokens, {tokens:,} tokens in all, made by calprune to prune or "
                 "quantise a language model with.")  # fmt: skip
        table = sources_table(self.drawn, tokens)
        lead = () if self.drawn else ("Made of tokens that were given; their sources and licences are not stated.",)
        citations = tuple((part.source, part.citation) for part in self.drawn if part.citation)
        sources = Section("sources", "Sources", lead, tables=(table,), facts=citations, notes=(*self.notes, MADE_AGAIN))
        body = Page(f"Calibration set {self.id}", (sources,), summary=about).markdown()
        return set_card(body, f"Calibration set {self.id}", n, self.drawn)

    def _head(self, folder: Path) -> dict[str, Any]:
        return {
            "format": 1,
            "id": self.id,
            "tokenizer": self.tokenizer,
            "made_for": self.made_for,
            "counts": dict(self.counts),
            "drawn": [vars(part) for part in self.drawn],
            "notes": list(self.notes),
            "sha256": {name: _sha256(folder / name) for name in FILES[:3]},
        }

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> "CalibrationSet":
        """Read a set's folder. Raises UserError when it is absent, incomplete, damaged or of a newer calprune."""
        folder = Path(folder)
        head = _head(folder)
        try:
            for name in FILES[:3]:
                if _sha256(folder / name) != head["sha256"][name]:
                    raise DamagedError(f"calibration set {folder}: {name} is damaged or was edited; build it again")
            tensors = safetensors.torch.load_file(folder / "tokens.safetensors")
            rows = (folder / "pieces.jsonl").read_text(encoding="utf-8").split("\n")[:-1]  # a name may hold U+2028
            return cls(
                tokens=tensors["tokens"].long(),
                lengths=tensors["lengths"].long(),
                weights=tensors.get("weights"),
                masked=tensors["masked"].long() if "masked" in tensors else None,
                pieces=tuple(tuple(Piece(**piece) for piece in json.loads(row)) for row in rows),
                recipe=yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8")),
                counts=head["counts"],
                drawn=tuple(read(Drawn, part, f"{folder}/counts.json: drawn") for part in head["drawn"]),
                notes=tuple(head["notes"]),
                tokenizer=head["tokenizer"],
                made_for=head["made_for"],
                id=head["id"],
            )
        except UserError:
            raise
        except (OSError, KeyError, TypeError, SafetensorError, yaml.YAMLError, ValueError) as e:
            raise DamagedError(f"calibration set {folder}: incomplete or damaged ({e}); build the set again") from e


def kept_set(folder: Path, make: Callable[[], CalibrationSet]) -> CalibrationSet:
    """The set of a folder; made and written where it is absent or damaged."""
    return once(folder, make, CalibrationSet.load, lambda folder, made: made.save(folder), current().say)


def is_set(folder: str | Path) -> bool:
    """Whether a folder is a calibration set's."""
    return os.path.isfile(Path(folder) / "counts.json")


def refuse_texts(folder: str | Path) -> None:
    """Raise UserError for a folder that is absent, or is no set and holds texts, with how they become one file."""
    if not Path(folder).is_dir():
        raise UserError(
            f"calibration set {folder}: there is no such folder, and no source is called so; make a set "
            "with: calprune calib build"
        )
    endings = [] if is_set(folder) else [one.suffix for one in Path(folder).iterdir() if one.name not in FILES]
    kinds = Counter(one for one in endings if one in (".txt", ".md", ".jsonl"))
    for ending, _ in kinds.most_common(1):
        texts, made = f"{shlex.quote(str(folder))}/*{ending}", shlex.quote(f"{Path(folder).resolve().name}{ending}")
        raise UserError(f"{folder} is a folder of {ending} files, not a calibration set; text is read from one file, "
                        f"which this makes: cat {texts} > {made}")  # fmt: skip


def _head(folder: Path) -> dict[str, Any]:
    refuse_texts(folder)
    if not is_set(folder):
        raise UserError(f"calibration set {folder}: it has no counts.json, so it is not a set or not whole; build it")
    try:
        return read_json(folder / "counts.json", "a calibration set")
    except DamagedError as e:
        raise DamagedError(
            f"calibration set {folder}: counts.json is damaged or was edited; build the set again"
        ) from e


def _contents(given: CalibrationSet) -> str:
    digest = hashlib.sha256(repr(tuple(given.tokens.shape)).encode())
    for tensor in (given.tokens, given.lengths, given.weights, given.masked):
        if tensor is not None:
            digest.update(str(tensor.dtype).encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _some(tensor: Tensor) -> str:
    return f"{tensor.flatten()[:8].tolist()}{' ...' if tensor.numel() > 8 else ''}"
