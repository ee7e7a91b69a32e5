"""Load a model with its tokenizer, and say which model it is. transformers' loading lives here.

Its model classes are imported where a model is loaded: who needs only a tokenizer does not pay 130 MB and seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from calprune.base.progress import waiting
from calprune.base.store import cache_folder, write_whole
from calprune.base.values import UserError, did_you_mean, first_line
from calprune.layers.agreement import remember
from calprune.layers.readable import name_tokens
from calprune.models.checkpoint import TORCH, WEIGHT_FILES, Checkpoint, open_checkpoint
from calprune.models.gguf import find_gguf, gguf_folder
from calprune.models.origin import Origin
from calprune.models.plain import plain_checkpoint

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}

EXPECTED = ("expected `demo`, a folder with config.json and *.safetensors, a .gguf file, or a hub name like "
            "owner/name@revision")  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A causal language model in evaluation mode with its tokenizer."""

    model: transformers.PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str  # as asked for: a label
    id: str  # the hash of its config and weights: the same for a copy under another name
    origin: Origin | None = None  # where its parameters are stored; None: it was not loaded from a checkpoint
    notes: tuple[str, ...] = ()  # what is to be said where its weights come from something that was not plain
    dtype: str | None = None  # that was asked for, where its weights are stored in another

    @property
    def computing(self) -> str:
        """Names what it computes, and so what it writes: `id`, with the dtype where that is not the stored one."""
        return f"{self.id}-{self.dtype}" if self.dtype else self.id

    def prove_origin(self) -> None:
        """Before the work: raise ModelError where a changed model could not be written back to its checkpoint."""
        if self.origin:
            with waiting(f"comparing {self.name} with its checkpoint"):
                self.origin.prove()

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.model.parameters())
        return f"<Model {self.name}: {type(self.model).__name__}, {parameters / 1e6:,.1f} M parameters, id {self.id}>"


def load(name: str, *, dtype: str | None = None, device: str | None = None, dequantize: bool = False) -> Model:
    """Load `name`: `demo`, a folder, a GGUF file, or a hub name with an optional @revision.

    Weights keep the dtype they are stored in unless `dtype` ("float32", "bfloat16", "float16") asks for another; they
    stay on the CPU unless `device` ("cuda", ...; "auto" is cuda where there is one) says otherwise. No code that comes
    with a checkpoint is run. A quantised checkpoint is refused; with `dequantize`, block FP8, FP8 and MXFP4 are made
    bfloat16. Raises UserError when there is no such model, it has no safetensors weights or not all of them, or it is
    not decoder-only.
    """
    given = open_checkpoint(find_folder(name), name)
    classes = _class_for(given.folder, name)
    plain = plain_checkpoint(given, name, dequantize)
    with waiting(f"loading {name}"):
        return _loaded(name, plain.checkpoint, classes, plain.notes, dtype, device)


def stored_bytes(name: str) -> int:
    """Bytes of all tensors of the model as it was given, also where `load` takes them from a plain copy in the cache;
    of a GGUF file its size. Raises UserError where there is no such model."""
    path = Path(name).expanduser()
    if name != "demo" and path.exists() and (file := find_gguf(path, name)):
        return file.stat().st_size
    return open_checkpoint(find_folder(name), name).size


def _loaded(
    name: str, checkpoint: Checkpoint, classes: Any, notes: tuple[str, ...], dtype: str | None, device: str | None
) -> Model:
    _check_sizes(checkpoint, name)
    other = _other_dtype(dtype, checkpoint)
    tokenizer = load_tokenizer(name)
    kind = DTYPES[other] if other else stored_dtype(checkpoint)
    with quiet_transformers():
        try:
            model, report = classes.from_pretrained(checkpoint.folder, dtype=kind, output_loading_info=True,
                                                    use_safetensors=True, trust_remote_code=False)  # fmt: skip
        except torch.OutOfMemoryError:
            raise
        except Exception as e:  # of as many kinds as there are families
            raise UserError(f"model {name}: its weights cannot be loaded: {_why(e)}") from e
    if missing := sorted(set(report["missing_keys"]) - _mark_missing_head(model, report["missing_keys"])):
        raise UserError(f"model {name}: its weights lack {len(missing)} tensors of its config ({missing[0]})")
    name_tokens(model, tokenizer)
    model = model.eval().to(find_device(device))
    named = _identity(checkpoint)
    remember(model, named)
    return Model(model, tokenizer, name, named, Origin(model, checkpoint), notes, other)


def _mark_missing_head(model: transformers.PreTrainedModel, missing: Iterable[str]) -> set[str]:
    """Those of the missing parameters that are the output embeddings': such a model can be pruned; `Head` refuses it,
    and what is read past `Head` is NaN."""
    embeddings: Any = model.get_output_embeddings()
    own = {} if embeddings is None else {id(p): p for p in embeddings.parameters()}
    found = {name for name, p in model.named_parameters() if id(p) in own} & set(missing)
    if found:
        embeddings.is_missing = True
        for p in own.values():
            p.data.fill_(float("nan"))
    return found


def outline(name: str, dtype: str | None = None) -> Model:
    """The model without its weights: enough to name it, and to open what it would calibrate on. A quantised one is
    refused as in `load`."""
    checkpoint = open_checkpoint(find_folder(name), name)
    classes = _class_for(checkpoint.folder, name)
    plain = plain_checkpoint(checkpoint, name)
    _check_sizes(plain.checkpoint, name)
    notes = plain.notes
    tokenizer = load_tokenizer(name)
    with quiet_transformers(), torch.device("meta"):
        try:
            model = classes.from_config(read_config(checkpoint.folder, name), trust_remote_code=False).eval()
            if (checkpoint.folder / "generation_config.json").is_file():
                model.generation_config = transformers.GenerationConfig.from_pretrained(checkpoint.folder)
        except UserError:
            raise
        except Exception as e:  # of as many kinds as there are families
            raise UserError(f"model {name}: no model can be made of its config.json: {_why(e)}") from e
    other = _other_dtype(dtype, plain.checkpoint)
    return Model(model, tokenizer, name, _identity(checkpoint), notes=notes, dtype=other)


def _check_sizes(checkpoint: Checkpoint, name: str) -> None:
    """Raise UserError where config.json speaks of more blocks or wider ones than are stored: the model of it would be
    made before that is noticed, and may take all memory."""
    widest = max((max(one.shape, default=0) for one in checkpoint.tensors.values()), default=0)
    most = {"num_hidden_layers": len(checkpoint.tensors), "hidden_size": widest, "vocab_size": widest}
    configs = [one for one in (checkpoint.config, checkpoint.config.get("text_config")) if isinstance(one, Mapping)]
    for config in configs:
        for field, stored in most.items():
            value = config.get(field)
            if isinstance(value, (int, float)) and value > stored:
                raise UserError(f"model {name}: its config.json has {field} {value:,}, and its weights have at most "
                                f"{stored:,}: they do not belong together")  # fmt: skip


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of `demo`, a folder or a hub name, without its weights being read."""
    folder = find_folder(name)
    if not any((folder / file).exists() for file in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        raise UserError(f"model {name}: it has no tokenizer (tokenizer.json); copy its tokenizer's files beside it")
    with quiet_transformers():
        try:
            return AutoTokenizer.from_pretrained(folder, config=_plain_config(folder), trust_remote_code=False)
        except Exception as e:  # the tokenizers' library raises bare Exceptions
            raise UserError(f"model {name}: its tokenizer cannot be loaded: {_why(e)}") from e


def _plain_config(folder: Path) -> PreTrainedConfig | None:
    """A model's config without the class of its kind, whose import costs seconds and 90 MB, where that is all that its
    tokenizer is found by: where tokenizer_config.json names the tokenizer's class. Else None: transformers finds it."""
    with contextlib.suppress(
        Exception
    ):  # a kind's own fields may be wanted (rotary ones of gpt-oss): then by its class
        if dict(json.loads((folder / "tokenizer_config.json").read_bytes())).get("tokenizer_class"):
            return PreTrainedConfig.from_pretrained(folder, name_or_path=str(folder))
    return None


def identity(name: str) -> str:
    """The 16-character hash of a model's config and weights, without loading them. Cached beside size and time.

    Raises UserError where there is no such model or it is quantised.
    """
    return _identity(plain_checkpoint(open_checkpoint(find_folder(name), name), name).checkpoint)


def find_device(device: str | None) -> torch.device:
    """None is the CPU; "auto" is cuda where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device or "cpu")
    except RuntimeError:
        raise UserError(f"unknown device {device!r}; write auto, cpu, cuda or cuda:1") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {device}: this machine has {torch.cuda.device_count()} of them; write auto or cpu")
    return found


def find_folder(name: str) -> Path:
    """The folder that `name` stands for; a hub name's files are fetched where they are not already."""
    if name == "demo":
        from calprune.models.demo import demo_folder

        return demo_folder()
    try:
        folder = Path(name).expanduser()
        folder.exists()
    except (OSError, ValueError, RuntimeError) as e:  # a name too long, a zero byte, no such user
        raise UserError(f"model {name!r}: no folder is called so ({getattr(e, 'strerror', None) or e}); {EXPECTED}"
                        ) from None  # fmt: skip
    if folder.exists() and (file := find_gguf(folder, name)):
        return gguf_folder(file, name)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(f"model {name}: it is a file; {EXPECTED}")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?", name) or name.startswith("."):
        raise UserError(f"model {name}: there is no such folder; {EXPECTED}")
    return _fetch(name)


def _fetch(name: str) -> Path:
    from huggingface_hub import constants as hub
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    with quiet_transformers(), waiting(f"fetching {name} from the hub"):
        try:
            others = [kind for kind in WEIGHT_FILES if kind != "*.safetensors"]
            return Path(snapshot_download(repository, revision=revision or None,
                                          ignore_patterns=[*others, "*/*.safetensors", "original/*"]))  # fmt: skip
        except Exception as e:  # the hub's client raises its own, the network's and the disk's errors
            if hub.HF_HUB_OFFLINE:
                raise UserError(f"model {name}: there is no such folder, and it is not in the hub's cache; the hub is "
                                "not asked offline (--offline, HF_HUB_OFFLINE)") from e  # fmt: skip
            reason = "the hub cannot be reached or has no such model"
            raise UserError(f"model {name}: there is no such folder, and {reason}{_near_folder(name)}; {EXPECTED}"
                            ) from e  # fmt: skip


def _near_folder(name: str) -> str:
    """ "; did you mean my-model?" where a folder of a model beside it is called almost so."""
    beside = [file.parent.name for file in Path(name).parent.glob("*/config.json")]
    return "".join(
        f" (did you mean {Path(name).parent / one}?)" for one in get_close_matches(Path(name).name, beside, n=1)
    )


def read_config(folder: Path, name: str) -> PreTrainedConfig:
    """A folder's config.json, by the class of its kind. Raises UserError where it cannot be read or is of none."""
    try:
        if json.loads((folder / "config.json").read_bytes()).get("model_type") == "openlm":
            import calprune.models.openlm  # noqa: F401 (importing it makes the kind known to transformers)
        with quiet_transformers():
            return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except UserError:
        raise
    except Exception as e:  # a config's class looks at its values as it likes
        raise UserError(f"model {name}: its config.json cannot be read: {_why(e)}") from e


def _class_for(folder: Path, name: str) -> Any:
    """The Auto class that opens the model. Raises UserError unless it is a decoder-only language model, or one with
    such a decoder inside (of text and images)."""
    config = read_config(folder, name)
    kind = config.model_type
    if config.is_encoder_decoder:
        raise UserError(f"model {name}: {kind} is an encoder-decoder; expected a decoder-only language model")
    if type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        raise UserError(f"model {name}: {kind} is an encoder; expected a decoder-only language model")
    if type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM
    if type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return transformers.AutoModelForImageTextToText
    raise UserError(f"model {name}: transformers has no causal language model of type {kind}")


def stored_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """The floating dtype that most of the stored bytes have; a config may say another, or none."""
    sizes: Counter[torch.dtype] = Counter()
    for tensor in checkpoint.tensors.values():
        if tensor.dtype in ("F32", "BF16", "F16"):
            sizes[TORCH[tensor.dtype]] += tensor.size
    return max(sizes, key=lambda kind: sizes[kind], default=torch.float32)


def _other_dtype(dtype: str | None, checkpoint: Checkpoint) -> str | None:
    """The dtype that is asked for, where the weights are stored in another. Raises UserError for an unknown one."""
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"unknown dtype {dtype!r}{did_you_mean(dtype, DTYPES)}")
    return dtype if dtype and DTYPES[dtype] != stored_dtype(checkpoint) else None


def _identity(checkpoint: Checkpoint) -> str:
    folder, files = checkpoint.folder, sorted(checkpoint.files)
    parts = [folder / "config.json", *files]
    seen = [[part.name, part.stat().st_size, part.stat().st_mtime_ns] for part in parts]
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    cache = cache_folder() / "identity" / f"{place}.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads(cache.read_text())
        if known["format"] == 1 and known["files"] == seen:
            return known["id"]
    config = json.loads(parts[0].read_text())
    config = {k: v for k, v in config.items() if k not in ("transformers_version", "_name_or_path")}  # say who wrote it
    whole = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for file in files:
        with file.open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    found = whole.hexdigest()[:16]
    with contextlib.suppress(UserError):  # a cache that cannot be written costs time, nothing else
        write_whole(cache, json.dumps({"format": 1, "files": seen, "id": found}))
    return found


def _why(error: BaseException) -> str:
    if "trust_remote_code" in str(error):
        return ("it comes with code of its own (auto_map), which is not run; expected a kind of model that "
                "transformers has itself")  # fmt: skip
    known = isinstance(error, (OSError, ValueError, RuntimeError)) and not isinstance(error, UnicodeError)
    said, kind = first_line(error), type(error).__name__
    return said if known or said == kind else f"{kind}: {said}"


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no advice of transformers and the hub's client inside the block; as before after it."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of names in config.json that older versions wrote
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
