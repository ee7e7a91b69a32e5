"""How many sequences are written at once: as many as the memory holds, and no more than make it faster."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from calprune.base.memory import free_memory

SHARE = 0.6  # of what is free: the rest is for what a pass makes beside the cache, and for others
MOST = {"cpu": 64, "cuda": 512}  # rows past which a step takes as long as it has rows
PROMPT_TOKENS = {"cpu": 2048, "cuda": 16384}  # of prompts that are read in one pass: what fills a device well
LOGITS = 12  # bytes for a row and word: the model's own logits, those in float32, and a copy


@dataclass(frozen=True)
class Room:
    """What one batch may hold."""

    rows: int
    prompt_tokens: int | None = None  # padded, that are read in one pass; None: those of all rows
    columns: int | None = None  # tokens of the longest row when it ends, allocated at once; None: the cache grows

    def halved(self, rows: int) -> "Room":
        """Half of `rows`, and of what is read in one pass."""
        return Room(max(1, rows // 2), self.prompt_tokens and max(1, self.prompt_tokens // 2), self.columns)


def find_room(model: PreTrainedModel, columns: int, bytes_a_token: int, most: int | None = None) -> Room:
    """The room for rows that end at `columns` tokens, by the memory that is free where the model is.

    bytes_a_token: that the model's blocks keep of a token of a row (`PromptReader`). most: rows at most; None: by MOST.
    """
    device = model.device
    fits = most or MOST.get(device.type, MOST["cuda"])
    if (free := free_memory(device)) is not None:
        words = model.config.get_text_config().vocab_size
        fits = min(fits, int(SHARE * free / (columns * bytes_a_token + LOGITS * words)))
    return Room(max(1, fits), PROMPT_TOKENS.get(device.type, PROMPT_TOKENS["cuda"]), columns)
