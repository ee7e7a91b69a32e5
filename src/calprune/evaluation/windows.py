"""Text as windows of tokens, for perplexity and divergence: the one way in which calprune cuts a text."""

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calprune.base.progress import current
from calprune.base.values import UserError
from calprune.text.chat import rendered
from calprune.text.document import Document
from calprune.text.encode import encode_text, find_marks

PROTOCOL = (
    "documents that hold text, in their order, each tokenised by itself with a blank line after it; their tokens one "
    "after another; no special tokens are added, except that every window begins with the "
    "begin-of-text token where the tokenizer begins a text with it (one that a chat template writes is left out) and "
    "with the token of begin=; "
    "windows do not overlap and the rest is left out; "
    "each token of a window after its first is predicted from those before it in the window; natural logarithms; "
    "the mean over windows; all tokens count alike, prompts as responses"
)


def windows_of(
    documents: Iterable[Document],
    tokenizer: PreTrainedTokenizerBase,
    length: int = 512,
    limit_tokens: int | None = None,
    skip_tokens: int = 0,
    begin_with: str = "",
) -> Int[Tensor, "n T"]:
    """Windows of `length` tokens from the documents in their order, `limit_tokens` tokens in all at most; what is left
    out is the text of the windows that fit into the first `skip_tokens` and begin with nothing of one's own. So two
    parts of a text share no token whatever either begins with, where their windows are of one length.

    Each document is tokenised by itself, with a blank line after it and without special tokens, so that no token spans
    two; one that holds nothing but white space gives none, and one that was made as tokens is taken as it is. Windows
    do not overlap, and what is left at the end is left out. Where the tokenizer begins every text with a token
    (begin-of-text), so does every window: a model trained with it needs it, and it is never predicted. `begin_with`
    stands next, in every window. Raises UserError when the documents do not fill one window.
    """
    if length < 2:
        raise UserError(f"windows of {length} tokens predict nothing; expected a length of 2 or more")
    if limit_tokens is not None and limit_tokens < length:
        raise UserError(
            f"{limit_tokens} tokens do not fill one window of {length}; ask for more tokens or less a window"
        )
    begin = find_marks(tokenizer).begin
    marks = [] if begin is None else [begin]
    start = marks + first_token(tokenizer, begin_with)
    if (take := length - len(start)) < 1:
        raise UserError(f"windows of {length} tokens hold no text after what they begin with; expected a length of "
                        f"{len(start) + 1} or more")  # fmt: skip
    left_out = skip_tokens // length * (length - len(marks))
    wanted = None if limit_tokens is None else left_out + limit_tokens // length * take
    stream = list(islice(_tokens(documents, tokenizer, begin), left_out, wanted))
    if len(stream) < take:
        beyond = f" beyond the {skip_tokens:,} that are skipped" if skip_tokens else ""
        raise UserError(
            f"the text is too short: {len(stream)} tokens{beyond} do not fill one window of {length} tokens"
        )
    rows = torch.tensor(stream[: len(stream) // take * take]).view(-1, take)
    return torch.cat([torch.tensor(start, dtype=torch.long).expand(len(rows), -1), rows], dim=1)


def first_token(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The token that every window is to begin with; none for "". Raises UserError where the text is more than one."""
    if len(found := encode_text(tokenizer, text) if text else []) > 1:
        raise UserError(f"begin: expected one token of this model, for it is judged as others are; {text!r} has "
                        f"{len(found)}")  # fmt: skip
    return found


def begins_itself(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template writes the begin-of-text that every window has already. Such windows were of other
    tokens in earlier versions, so their evaluations have another name."""
    begin = find_marks(tokenizer).begin
    if begin is None or not tokenizer.chat_template:
        return False
    try:
        text = rendered([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], tokenizer)
    except Exception:  # templates raise what they like; of this one no conversation is known
        return False
    return encode_text(tokenizer, text)[:1] == [begin]


def _tokens(documents: Iterable[Document], tokenizer: PreTrainedTokenizerBase, begin: int | None) -> Iterator[int]:
    for document in documents:
        if document.spans or document.token_weights is not None:
            current().note("a text is judged on all its tokens alike, where pruning would count some more than others "
                           "(responses more than prompts)")  # fmt: skip
        if document.tokens is not None:
            yield from document.tokens
        elif document.text.strip():
            ids = encode_text(tokenizer, document.text + "\n\n")
            yield from ids[1:] if begin is not None and ids[:1] == [begin] else ids
