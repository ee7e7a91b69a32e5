"""Which sequences a model can read: how long they may be, and which ids it has an embedding for.

Positions are of two kinds. A table has a row for each (learned, as in GPT-2 and OPT, or made of sines, as in GPT-J):
past its end there is nothing, so longer sequences are refused. Rotary ones and ALiBi go on without end: past those that
the model was made for its numbers are worth less, which is said and not refused.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from calprune.base.progress import current
from calprune.base.values import UserError

OFFSET = 2  # rows that tables of OPT and BART have before that of the first position


@dataclass(frozen=True)
class Positions:
    """How many positions a model was made for."""

    count: int
    is_table: bool  # each has a row, and there is none beyond

    def check(self, length: int, what: str = "sequences", how: str = "") -> None:
        """Raise UserError where sequences of `length` tokens do not fit into the table, and note, once, where they go
        past what the model was made for. `what`: a plural; `how`: how to ask for others, ending before the number."""
        if length <= self.count:
            return
        if self.is_table:
            write = f"; write {how}{self.count}" if how else ""
            raise UserError(f"{what} of {length:,} tokens are longer than the model's table of {self.count:,} "
                            f"positions{write}")  # fmt: skip
        current().note(f"{what} of {length:,} tokens go past the {self.count:,} positions that the model was made for: "
                       "what is measured there is of a model outside its range")  # fmt: skip


def positions_of(model: nn.Module) -> Positions | None:
    """The positions of a causal language model, of which the weights may be absent; None: it states no number.

    A config that speaks of rotary positions (`rope_parameters`) has no table. Otherwise a table is an embedding with a
    row for each position and at most OFFSET more, or a buffer with exactly one: so no family is named here.
    """
    config: Any = getattr(model, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    count = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if not isinstance(count, int) or count < 1:
        return None
    return Positions(count, not getattr(config, "rope_parameters", None) and _has_table(model, count))


def _has_table(model: nn.Module, count: int) -> bool:
    tokens = _embeddings(model)
    learned = (m for m in model.modules() if isinstance(m, nn.Embedding) and m is not tokens)
    return any(0 <= m.num_embeddings - count <= OFFSET for m in learned) or any(
        b.ndim == 2 and len(b) == count for b in model.buffers()
    )


def check_length(model: nn.Module, length: int, what: str = "sequences", how: str = "") -> None:
    """As `Positions.check`, where the model states its positions. To be called before the work: it reads no data."""
    if (found := positions_of(model)) is not None:
        found.check(length, what, how)


@dataclass(frozen=True)
class TokenTexts:
    """What tokens are as text, for errors. Of a model that was loaded with its tokenizer."""

    tokenizer: Any

    def __call__(self, token: int) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(token))


def name_tokens(model: nn.Module, tokenizer: Any) -> None:
    """From now on `check_ids` names a token of this model by its text, too."""
    model.token_texts = TokenTexts(tokenizer)  # type: ignore[assignment]


def check_ids(model: nn.Module, ids: Int[Tensor, "..."], of: str = "the text") -> None:
    """Raise UserError where the model has no embedding for an id. `of`: what holds it.

    A tokenizer may have ids past them that no text needs (Gemma's small models have one, of an image).
    """
    known, largest = embeddings_count(model), int(ids.max()) if ids.numel() else 0
    if largest < known:
        return
    texts = getattr(model, "token_texts", None)
    named = f" ({texts(largest)!r})" if texts else ""
    raise UserError(f"{of} holds token {largest}{named}, but the model has embeddings for {known}: leave such text "
                    "out, or take the tokenizer that belongs to the model")  # fmt: skip


def check_rows(model: nn.Module, rows: Any, of: str) -> None:
    """`check_ids` of lists of ids."""
    check_ids(model, torch.tensor([max(row, default=0) for row in rows], dtype=torch.int64), of)


def embeddings_count(model: nn.Module) -> int:
    """For how many ids a model has an embedding."""
    return len(_embeddings(model).weight)


def _embeddings(model: Any) -> Any:
    return model.get_input_embeddings()
