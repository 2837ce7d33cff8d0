"""The training loop: batches in, averaged weights out; a killed run ends with the weights of one that was not."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lungsight.errors import CorruptFileError
from lungsight.train.networks import Learner
from lungsight.train.precision import computing
from lungsight.train.recipe import FitConfig

__all__ = ["CHECKPOINT", "Batch", "FitConfig", "Stateful", "Told", "fit"]

CHECKPOINT = "checkpoint.pt"
Batch = tuple[Tensor, ...]
"""What a network is given, and then what its :meth:`~lungsight.train.networks.Learner.losses` takes beside it."""
Network = TypeVar("Network", bound=Learner)


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a run from time to time.

    Attributes
    ----------
    batch, batches
        Done, and in all.
    loss, measured
        Mean over the batches since this was told last.
    measure
        Name of what is measured beside the loss, see :class:`~lungsight.train.networks.Learner`.
    left_s
        About how long it will still take.
    validation
        Both of the averaged network on the patients kept aside, where they were scored.
    checkpoint
        Whether a checkpoint follows.
    """

    batch: int
    batches: int
    loss: float
    measured: float
    measure: str
    left_s: float
    validation: tuple[float, float] | None = None
    checkpoint: bool = False


class Stateful(Protocol):
    """Whatever goes into the checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """All of it, as tensors, numbers, text and containers of these."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object:
        """Go on from there."""


def fit(
    network: Network,
    next_batch: Callable[[int, Network], Batch],
    config: FitConfig,
    run: Path,
    tell: Callable[[Told], None],
    *,
    keep: Mapping[str, Stateful] | None = None,
    validation: Callable[[], Iterable[Batch]] = tuple,
) -> Network:
    """Fit a network.

    Parameters
    ----------
    network
        Its weights are changed.
    next_batch
        Takes the batch's number and the averaged network (to mine hard cases with). The same number and the same state
        (see `keep`) must give the same batch.
    config
        How.
    run
        Folder of ``checkpoint.pt``, from which an interrupted run goes on, and of the weights that are kept
        (``weights-000400.pt``). A finished run is not run again.
    tell
        Told of the progress.
    keep
        What else must be as it was when the run goes on: the false alarms that `next_batch` draws from.
    validation
        Gives the batches that are scored at each checkpoint; none by default.

    Returns
    -------
    Learner
        The averaged network, ready for use.

    Raises
    ------
    CorruptFileError
        If the checkpoint is damaged or of another network.

    Notes
    -----
    On the same machine with as many threads, an interrupted run ends with exactly the weights of an unbroken one.
    """
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = AveragedModel(network, avg_fn=_running_mean(config.averaging), use_buffers=True)
    optimizer = _optimizer(network, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, config))
    state = {"network": network, "averaged": averaged, "optimizer": optimizer, "schedule": schedule, **(keep or {})}
    first = _resume(run / CHECKPOINT, state)
    rates = {layer: layer.p for layer in network.modules() if isinstance(layer, nn.Dropout | nn.Dropout2d)}
    sums, since = [], time.monotonic()
    for step in range(first, config.batches):
        for layer, rate in rates.items():
            layer.p = rate * (min(1.0, step / config.dropout_ramp) if config.dropout_ramp else 1.0)
        shown = cast(Network, averaged.module).eval()
        sums.append(_step(network.train(), next_batch(step, shown), optimizer, config))
        schedule.step()
        averaged.update_parameters(network)
        done = step + 1
        last = done == config.batches
        at_checkpoint = last or done % config.checkpoint_every == 0
        if at_checkpoint or done % config.tell_every == 0:
            scored = _validate(shown, validation(), config) if at_checkpoint else None
            left_s = (time.monotonic() - since) / (done - first) * (config.batches - done)
            loss, measured = torch.stack(sums).mean(0).tolist()
            tell(Told(done, config.batches, loss, measured, network.measured, left_s, scored, at_checkpoint))
            sums = []
        if at_checkpoint:
            if done // config.checkpoint_every % config.keep_every == 0 and not last:
                _write(run / f"weights-{done:06}.pt", shown.state_dict())
            _save(run / CHECKPOINT, state, done, config)
    return cast(Network, averaged.module).eval()


def _running_mean(kept: float) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """A mean that keeps less of the first weights, which know nothing: of the n-th ones at most 1 of 1 + 10 / n."""

    def average(mean: Tensor, now: Tensor, done: Any) -> Tensor:
        return mean + (1 - min(kept, (1 + int(done)) / (10 + int(done)))) * (now - mean)

    return average


def _optimizer(network: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)


def _step(network: Learner, batch: Batch, optimizer: torch.optim.Optimizer, config: FitConfig) -> Tensor:
    loss, right, seen = _loss(network, batch, config)
    seen = seen.clamp(min=1)
    optimizer.zero_grad()
    (loss / seen).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return torch.stack([loss.detach() / seen, right / seen])


def _loss(network: Learner, batch: Batch, config: FitConfig) -> tuple[Tensor, Tensor, Tensor]:
    field, *known = batch
    if field.ndim == 4:
        field = field.contiguous(memory_format=torch.channels_last)
    with computing(config.bfloat16):
        return network.losses(field, *known)


def _validate(network: Learner, batches: Iterable[Batch], config: FitConfig) -> tuple[float, float] | None:
    with torch.inference_mode():
        sums = [torch.stack(_loss(network, batch, config)) for batch in batches]
    loss, right, seen = torch.stack(sums).sum(0).tolist() if sums else (0.0, 0.0, 0.0)
    return (loss / seen, right / seen) if seen else None


def _rate(step: int, config: FitConfig) -> float:
    warm = min(1.0, (step + 1) / max(1, config.warm_up))
    return warm * (0.5 * (1 + math.cos(math.pi * step / config.batches)) if config.schedule == "cosine" else 1.0)


def _save(path: Path, state: Mapping[str, Any], done: int, config: FitConfig) -> None:
    parts = {name: part.state_dict() for name, part in state.items()}
    _write(path, {"done": done, "config": asdict(config), "random": torch.get_rng_state(), **parts})


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".part")
    torch.save(content, temporary)
    temporary.replace(path)


def _resume(path: Path, state: Mapping[str, Any]) -> int:
    if not path.exists():
        return 0
    try:
        saved = torch.load(path, weights_only=True)
        for name, part in state.items():
            part.load_state_dict(saved[name])
        torch.set_rng_state(saved["random"])
    except (RuntimeError, ValueError, KeyError, EOFError, OSError) as error:
        raise CorruptFileError(
            f"{path}: {error}", "a checkpoint of this network", "Delete it and the stage begins anew."
        ) from error
    return int(saved["done"])
