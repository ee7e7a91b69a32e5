"""A toy tokenizer whose tokens are bytes, so that a text's tokens can be counted by eye."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from calprune.models.load import quiet_transformers

SPECIAL = ["<s>", "<|endoftext|>", "<|end|>"]  # begin-of-text, what separates documents, what ends a turn
CHAT_TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}<|end|>\n{% endfor %}"


def toy_tokenizer(adds_begin: bool = True, chat: bool = True) -> PreTrainedTokenizerFast:
    """One token a byte of UTF-8, and three special ones. `adds_begin`: it puts <s> before a text, as Llama's does."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: i for i, text in enumerate(SPECIAL + alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    if adds_begin:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="<|end|>")
    made.add_special_tokens({"additional_special_tokens": SPECIAL})
    made.chat_template = CHAT_TEMPLATE if chat else None
    return made


def save(model, tokenizer, folder) -> None:
    """An ordinary checkpoint, as transformers writes it."""
    with quiet_transformers():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
