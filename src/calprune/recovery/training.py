"""The training loop of recovery: batches of the set, AdamW, the best weights kept, and all of it resumable.

The learning rate rises over the first part of the run and falls by a cosine to 0 at its end. How far the run is, is the
share of its steps or of its minutes, whichever is more. Ten times in a run the watched texts are judged; the weights
are kept that were best on them (the mean of both), and the run ends when neither text improved for a while. Its size
does not say which rate a model bears: where the user gives none and the texts are worse than before the run, it begins
again from the pruned weights at a quarter of the rate, with the minutes that are left. Several processes share the
sequences of each step and add their gradients up, so all of them make the same step.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from calprune.base.checks import Count, options
from calprune.base.progress import Steps, current
from calprune.base.values import ConfigError, identity, plain, rng
from calprune.calibration.set import CalibrationSet
from calprune.layers.together.processes import Processes
from calprune.models.head import Head
from calprune.recovery.kept import KeptTraining
from calprune.recovery.targets import TOP, Dense, computes_in_bfloat16, divergence, joined, products
from calprune.recovery.trained import Trained, What
from calprune.recovery.watched import Watched

LOOKS = 10  # at the watched texts, in a run
APART = 6.0  # times that a look takes, between two, where the run is limited by its minutes
PATIENCE = 4  # looks without an improvement on either text
LOWER = 4.0  # what the learning rate is divided by, where the watched texts got worse
LOWERED = 4  # times, at most
KEEP = 60.0  # seconds between two times that the state is kept, and 20 times what keeping it takes
T = TypeVar("T")
TOKENS = {"cpu": 1024, "cuda": 8192}  # of sequences that go through the model together
STEP = {"cpu": 512, "cuda": 8192}  # tokens of a step, where the user does not say: in few minutes many steps come first
RATES: dict[What, float] = {"weights": 4e-4, "lora": 1e-3, "norms": 2e-3}  # the highest learning rate


@options
class Recovering:
    """How a pruned model is trained."""

    tag: ClassVar[str] = "Recovering"
    version: ClassVar[int] = 2

    what: What = "weights"
    epochs: float = 3.0  # passes over the set
    minutes: float | None = None  # the run ends by then, whatever it has done
    learning_rate: float | None = None  # the highest; None: by what is trained, and lowered where it is too high
    warmup: float = 0.05  # share of the run in which the learning rate rises
    weight_decay: float = 0.0
    batch: Count | None = None  # sequences of a step; None: as many as have some tokens together (`settled`)
    clip: float = 1.0  # the largest norm of a step's gradient
    top: Count | None = TOP  # tokens of each dense distribution that are kept; None: all, worked out each time
    rank: Count = 16  # of lora
    keep_adapter: bool = False  # of lora: the change is no part of the weights
    seed: int = 0  # of the order of sequences

    def __post_init__(self) -> None:
        for name in ("epochs", "minutes", "learning_rate", "clip"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name}: expected a number above 0; got {value:g}")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup: expected a share of the run, 0 to below 1; got {self.warmup:g}")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight_decay: expected a number from 0 on; got {self.weight_decay:g}")
        if self.keep_adapter and self.what != "lora":
            raise ConfigError(f"keep_adapter goes with what 'lora'; got {self.what!r}")

    def settled(self, data: CalibrationSet, device: torch.device) -> "Recovering":
        """With the number of sequences of a step, by their mean length where none was given."""
        if self.batch is not None:
            return self
        tokens = STEP.get(device.type, STEP["cuda"])
        return replace(self, batch=max(1, round(tokens / data.lengths.float().mean().item())))

    @property
    def highest(self) -> float:
        """The highest learning rate."""
        return self.learning_rate or RATES[self.what]

    def rate(self, share: float, begun: float = 0.0) -> float:
        """The learning rate at this share of the run, before it is lowered. begun: at which share training began."""
        risen = min(1.0, (share - begun) / self.warmup) if self.warmup else 1.0
        return self.highest * risen * 0.5 * (1 + math.cos(math.pi * max(0.0, share - self.warmup) / (1 - self.warmup)))


@dataclass(frozen=True)
class RunPoint:
    """What the watched texts showed at a moment of the run."""

    step: int
    seconds: float  # since the run began, in all its parts
    tokens: int  # trained on so far
    loss: float | None  # of the steps since the look before; None: there were none
    kl: dict[str, float]  # nats a token, by the text's name

    @property
    def mean(self) -> float:
        """Of the texts."""
        return math.fsum(self.kl.values()) / len(self.kl)


@dataclass
class TrainingRun:
    """How far a run is: plain data."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    looks: list[RunPoint] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # since the last look
    best: int = 0  # of the looks
    ended: str = ""  # why, where it is before its end
    lowered: int = 0  # how often the learning rate was
    begun: float = 0.0  # at which share of the run training began at this rate
    since: int = 0  # after which look

    @classmethod
    def read(cls, about: dict[str, Any]) -> "TrainingRun":
        """From plain data."""
        return cls(**about | {"looks": [RunPoint(**one) for one in about["looks"]]})

    def highest(self, how: Recovering) -> float:
        """The highest learning rate, as it was lowered."""
        return how.highest / LOWER**self.lowered

    def stale(self) -> int:
        """Looks at this rate since either text was better than ever before."""
        if not self.looks:
            return 0
        last = max(min(range(len(self.looks)), key=lambda i: self.looks[i].kl[name]) for name in self.looks[0].kl)
        return len(self.looks) - 1 - max(last, self.since)


class Trainer:
    """A run: the model, what is trained of it, the dense model's targets, the watched texts."""

    def __init__(
        self,
        how: Recovering,
        model: PreTrainedModel,
        data: CalibrationSet,
        sequences: list[int],
        processes: Processes | None = None,
    ) -> None:
        self.how, self.model, self.data, self.sequences, self.processes = how, model, data, sequences, processes
        self.head = Head(model)
        assert how.batch is not None, "it was settled"
        self.batch = how.batch
        self.per_epoch = len(sequences) / self.batch
        self.steps = max(1, round(how.epochs * self.per_epoch))
        self.narrow = computes_in_bfloat16(self.head)
        self.look_takes = 0.0  # seconds

    def run(self, trained: Trained, dense: Dense, watched: list[Watched], kept: KeptTraining | None) -> TrainingRun:
        """Train; the model ends with the best weights. A run that was kept goes on where it was."""
        self.trained, self.dense, self.watched = trained, dense, watched
        groups = [
            {"params": [leaf for leaf in trained.leaves.values() if (leaf.dim() > 1) is decays],
             "weight_decay": self.how.weight_decay if decays else 0.0}
            for decays in (True, False)
        ]  # fmt: skip
        self.groups = [group for group in groups if group["params"]]
        self.optimiser = self._new_optimiser()
        self.state, self.best = TrainingRun(), self._copy()
        if kept and (found := kept.read(trained.leaves, self.optimiser)):
            about, self.best = found
            self.state = TrainingRun.read(about)
            trained.write()
        with _trainable(self.model, trained.parameters), current().steps("recovering", 100) as shown:
            self._train(kept, shown)
        self._put_back()
        return self.state

    def _train(self, kept: KeptTraining | None, shown: Steps) -> None:
        state, how = self.state, self.how
        began, keep_at = time.monotonic() - state.seconds, time.monotonic() + KEEP
        if not state.looks:
            self._look()
        while not state.ended:
            state.seconds = self._agreed(time.monotonic() - began)
            if (share := self._share()) >= 1:
                break
            loss = self._step(share)
            state.step += 1
            state.losses.append(loss)
            state.seconds = self._agreed(time.monotonic() - began)
            while shown.done < int(100 * min(1.0, self._share())):
                shown.advance(found=False)
            if not math.isfinite(loss) and self._may_lower():
                self._begin_again("the loss or its gradients were no numbers")
            elif not math.isfinite(loss):
                state.ended = (f"the loss or its gradients were no numbers at step {state.step}, at a learning rate of "
                               f"{state.highest(how):g}")  # fmt: skip
            elif self._looks_now():
                self._look()
                if state.stale() >= PATIENCE:
                    mend = "" if state.best else ": try a lower learning rate"
                    state.ended = f"neither text improved in {PATIENCE} looks{mend}"
                elif not state.looks[-1].mean <= state.looks[0].mean and self._may_lower():
                    self._begin_again("the watched texts got worse")
            if kept and time.monotonic() >= keep_at and not state.ended:
                at = time.monotonic()
                state.seconds = at - began
                kept.write(self.trained.leaves, self.optimiser, self.best, asdict(state))
                keep_at = at + max(KEEP, 20 * (time.monotonic() - at))
        state.seconds = time.monotonic() - began

    def _new_optimiser(self) -> torch.optim.AdamW:
        return torch.optim.AdamW(self.groups, lr=self.how.highest, betas=(0.9, 0.95), eps=1e-8, fused=True)

    def _may_lower(self) -> bool:
        """Whether nobody gave a rate, nothing was gained by it, and there is time for a lower one."""
        state = self.state
        return self.how.learning_rate is None and not state.best and state.lowered < LOWERED and self._share() < 1

    def _begin_again(self, why: str) -> None:
        """From the pruned weights, at a lower rate."""
        state = self.state
        state.lowered, state.begun, state.since = state.lowered + 1, self._share(), len(state.looks) - 1
        state.losses = []  # the last one may be no number
        self._put_back()
        self.optimiser = self._new_optimiser()
        current().say(f"{why}: training begins again at a learning rate of {state.highest(self.how):g}")

    def _put_back(self) -> None:
        """The best weights stand in the model."""
        for name, leaf in self.trained.leaves.items():
            leaf.copy_(self.best[name])
        self.trained.write()

    def _share(self) -> float:
        """How far the run is, 0 to 1."""
        done = self.state.step / self.steps
        return max(done, self.state.seconds / (60 * self.how.minutes)) if self.how.minutes else done

    def _looks_now(self) -> bool:
        """Whether it is time to judge: ten times in a run, fewer where that would take much of its minutes."""
        share, last = self._share(), self.state.looks[-1]
        soon = self.how.minutes and self.state.seconds - last.seconds < APART * self.look_takes
        return share >= 1 or (share >= len(self.state.looks) / LOOKS and not soon)

    def _look(self) -> None:
        """Judge the model as it now is; the best weights are kept."""
        state, losses = self.state, self.state.losses
        state.losses = []
        mean = math.fsum(losses) / len(losses) if losses else None
        began = time.monotonic()
        kl = self._agreed({text.name: text.kl(self.model) for text in self.watched})
        self.look_takes = self._agreed(time.monotonic() - began)
        state.looks.append(RunPoint(state.step, state.seconds, state.tokens, mean, kl))
        if state.looks[-1].mean < state.looks[state.best].mean:
            state.best, self.best = len(state.looks) - 1, self._copy()

    def _agreed(self, value: T) -> T:
        """Of several processes what the first has, so that all of them decide alike."""
        return value if self.processes is None else self.processes.each(value)[0]

    def _in_all(self, value: float) -> float:
        """The sum of the processes' values."""
        return value if self.processes is None else math.fsum(self.processes.each(value))

    def _copy(self) -> dict[str, Tensor]:
        return {name: leaf.detach().clone() for name, leaf in self.trained.leaves.items()}

    def _step(self, share: float) -> float:
        """One step of the optimiser; its loss, nats a token."""
        parts = list(self._parts(self.state.step))
        whole = self._in_all(math.fsum(weight.sum().item() for _, weight in parts))
        own = math.fsum(self._backward(sequences, weight / whole) for sequences, weight in parts) if whole else 0.0
        loss = self._in_all(own)
        self.state.tokens += round(
            self._in_all(math.fsum(self.data.lengths[sequences].sum().item() for sequences, _ in parts))
        )
        self._add_gradients()
        for group in self.optimiser.param_groups:
            group["lr"] = self.how.rate(share, self.state.begun) / LOWER**self.state.lowered
        norm = torch.nn.utils.clip_grad_norm_(list(self.trained.leaves.values()), self.how.clip)
        loss = loss if math.isfinite(norm) else math.nan  # a step of such gradients would leave weights that are none
        if math.isfinite(loss):
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.trained.write()
        return loss

    def _add_gradients(self) -> None:
        """Of several processes the sum of their gradients, in each of them."""
        if self.processes is None:
            return
        leaves = self.trained.leaves
        own = {name: (leaf.grad,) for name, leaf in leaves.items() if leaf.grad is not None}
        for name, (gradient,) in self.processes.added(own).items():
            leaves[name].grad = gradient

    def _parts(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The sequences of a step, this process's share of them, by as many as go through the model together, and how
        much each position counts."""
        first, apart = (self.processes.rank, self.processes.size) if self.processes else (0, 1)
        picked = [self._at(step * self.batch + i) for i in range(first, self.batch, apart)]
        order = sorted(picked, key=lambda i: -int(self.data.lengths[i]))
        while order:
            longest = int(self.data.lengths[order[0]])
            size = max(1, TOKENS.get(self.head.device.type, 8192) // longest)
            sequences, order = torch.tensor(order[:size]), order[size:]
            counts = (torch.arange(longest) < self.data.lengths[sequences, None]).float()
            if self.data.weights is not None:
                counts = counts * self.data.weights[sequences, :longest]
            yield sequences, counts[:, 1:]  # a position counts as the token does that it predicts

    def _at(self, place: int) -> int:
        """The sequence at a place of the stream of epochs, each in an order of its own."""
        epoch, place = divmod(place, len(self.sequences))
        order = list(self.sequences)
        rng(self.how.seed, f"recovery/{epoch}").shuffle(order)
        return order[place]

    def _backward(self, sequences: Tensor, weight: Tensor) -> float:
        """Gradients of the mean divergence; of the logits only a piece is ever held."""
        longest = weight.shape[1] + 1
        lengths = self.data.lengths[sequences].tolist()
        with products(self.head, self.narrow):
            hidden = self.head.followed(self.data.tokens[sequences, :longest])
        real = torch.cat([row[: n - 1] for row, n in zip(hidden, lengths, strict=True)])
        counts = torch.cat([row[: n - 1] for row, n in zip(weight, lengths, strict=True)]).to(real.device)
        targets = joined([self.dense.of(i) for i in sequences.tolist()])
        leaf, loss = real.detach().to(self.head.weight.dtype).requires_grad_(), 0.0
        for piece in self.head.pieces(len(leaf)):
            each = divergence(self.head.followed_logits(leaf[piece]), targets.part(piece))
            part = (each * counts[piece]).sum()
            part.backward()
            loss += part.item()
        assert leaf.grad is not None, "a sequence has a position at least"
        real.backward(leaf.grad.to(real.dtype))
        self.trained.gather()
        return loss


class _trainable:
    """Inside the block gradients reach these parameters of the model, and no others."""

    def __init__(self, model: PreTrainedModel, parameters: list[torch.nn.Parameter]) -> None:
        self.model, self.parameters = model, parameters

    def __enter__(self) -> None:
        self.before = [(p, p.requires_grad) for p in self.model.parameters()]
        for p, _ in self.before:
            p.requires_grad_(False)
        for p in self.parameters:
            p.requires_grad_(True)

    def __exit__(self, *ignored: object) -> None:
        for p, before in self.before:
            p.requires_grad_(before)
            p.grad = None


def named(how: Recovering, ids: dict[str, str]) -> str:
    """16 characters for all that a run's numbers depend on."""
    return identity({"recovering": plain(how), "of": ids})
