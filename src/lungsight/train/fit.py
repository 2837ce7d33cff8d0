"""The training loop: batches in, averaged weights out; a killed run goes on where its last checkpoint stands."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lungsight.train.networks import PatchCNN

__all__ = ["FitConfig", "fit"]

Batch = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How a network is fitted.

    Attributes
    ----------
    batches
        Number of batches.
    learning_rate
        Greatest rate of AdamW; it rises over `warm_up` batches and falls to zero along a cosine.
    warm_up
        Batches until the greatest rate is reached.
    weight_decay
        Of AdamW.
    averaging
        The weights used in the end are a running mean of the weights at each batch; the share that is kept a batch.
    dropout_ramp
        Batches over which the dropout rises from nothing to the network's rates: with all of it from the start, the
        loss takes twice as long to leave that of guessing.
    bfloat16
        Compute convolutions and products in bfloat16 (weights stay float32).
    checkpoint_every
        Batches between two checkpoints.
    seed
        Of the first weights and the dropout.
    """

    batches: int = 1600
    learning_rate: float = 4e-4
    warm_up: int = 40
    weight_decay: float = 1e-4
    averaging: float = 0.995
    dropout_ramp: int = 500
    bfloat16: bool = True
    checkpoint_every: int = 100
    seed: int = 1


def fit(
    network: PatchCNN,
    next_batch: Callable[[int, PatchCNN], Batch],
    config: FitConfig,
    run: Path,
    say: Callable[[str], None],
) -> PatchCNN:
    """Fit a window network to soft targets with cross-entropy.

    Parameters
    ----------
    network
        Its weights are changed.
    next_batch
        Takes the batch's number and the averaged network (to mine hard cases with); gives fields ``(n, 1, h, w)``,
        targets ``(n, 3, rows, columns)`` and weights ``(n, rows, columns)``. The same number must give the same batch.
    config
        How.
    run
        Folder of the checkpoint and of the log, one JSON line every 20 batches.
    say
        Told of the progress.

    Returns
    -------
    PatchCNN
        The averaged network, ready for use.
    """
    run.mkdir(parents=True, exist_ok=True)
    checkpoint = run / "checkpoint.pt"
    torch.manual_seed(config.seed)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.averaging))  # type: ignore[no-untyped-call]
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, config))
    state = {"network": network, "averaged": averaged, "optimizer": optimizer, "schedule": schedule}
    first = _resume(checkpoint, state)
    sums, summed, since = torch.zeros(2), 0, time.monotonic()
    rates = {layer: layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)}
    for step in range(first, config.batches):
        for layer, rate in rates.items():
            layer.p = rate * min(1.0, step / config.dropout_ramp)
        sums += _step(network.train(), next_batch(step, cast(PatchCNN, averaged.module)), optimizer, config)
        summed += 1
        schedule.step()
        averaged.update_parameters(network)
        done = step + 1
        if done % 20 == 0:
            loss, accuracy = (sums / summed).tolist()
            left_s = (time.monotonic() - since) / (done - first) * (config.batches - done)
            say(f"{run.name}: batch {done}/{config.batches}, loss {loss:.3f}, accuracy {accuracy:.3f}, {left_s:.0f} s")
            with (run / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps({"batch": done, "loss": loss, "accuracy": accuracy}) + "\n")
            sums, summed = torch.zeros(2), 0
        if done % config.checkpoint_every == 0 or done == config.batches:
            _save(checkpoint, state, done, config)
    return cast(PatchCNN, averaged.module).eval()


def _step(network: PatchCNN, batch: Batch, optimizer: torch.optim.Optimizer, config: FitConfig) -> Tensor:
    field, target, weight = batch
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
        logits = network.windows(field.contiguous(memory_format=torch.channels_last)).float()
    each = -(target * functional.log_softmax(logits, 1)).sum(1)
    loss = (each * weight).sum() / weight.sum().clamp(min=1)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    right = ((logits.argmax(1) == target.argmax(1)) * weight).sum() / weight.sum().clamp(min=1)
    return torch.stack([loss.detach(), right])


def _rate(step: int, config: FitConfig) -> float:
    warm = min(1.0, (step + 1) / config.warm_up)
    return warm * 0.5 * (1 + math.cos(math.pi * step / config.batches))


def _save(path: Path, state: dict[str, object], done: int, config: FitConfig) -> None:
    temporary = path.with_suffix(".part")
    parts = {name: part.state_dict() for name, part in state.items()}  # type: ignore[attr-defined]
    torch.save({"done": done, "config": asdict(config), "random": torch.get_rng_state(), **parts}, temporary)
    temporary.replace(path)


def _resume(path: Path, state: dict[str, object]) -> int:
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    for name, part in state.items():
        part.load_state_dict(saved[name])  # type: ignore[attr-defined]
    torch.set_rng_state(saved["random"])
    return int(saved["done"])
