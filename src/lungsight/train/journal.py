"""What is written of a run while it goes on: a log, TensorBoard's events, curves as a picture, lines for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lungsight.train.fit import Told

__all__ = ["Journal", "duration"]


class Journal:
    """Writes down what :func:`~lungsight.train.fit.fit` tells.

    ``log.jsonl`` has one line each time, ``curves.png`` is drawn anew at each checkpoint, and ``tensorboard/`` is
    written if that library is installed. A resumed run repeats what it did since its last checkpoint; that is
    written once.

    Parameters
    ----------
    run
        Folder, which exists.
    batches
        Of each stage.
    say
        Takes a line for people.
    """

    def __init__(self, run: Path, batches: tuple[int, ...], say: Callable[[str], None]) -> None:
        self._run, self._batches, self._say = run, batches, say
        self._log = run / "log.jsonl"
        self.records: list[dict[str, Any]] = list(_read(self._log))
        _write(self._log, "".join(json.dumps(record) + "\n" for record in self.records).encode())
        self._events = _tensorboard(run / "tensorboard")

    def stage(self, number: int) -> Callable[[Told], None]:
        """What `fit` is to tell in this stage, counted from 0."""
        return lambda told: self._note(number, told)

    def _note(self, number: int, told: Told) -> None:
        name = f"stage {number + 1}/{len(self._batches)}: " if len(self._batches) > 1 else ""
        line = f"{name}batch {told.batch}/{told.batches}, loss {told.loss:.3f}, {told.measure} {told.measured:.3f}"
        if told.validation:
            line += f", validation loss {told.validation[0]:.3f}, {told.measure} {told.validation[1]:.3f}"
        self._say(f"{line}, {duration(told.left_s)} left{' in this stage' if name else ''}")
        # Batches of the stages before are counted too.
        at = sum(self._batches[:number]) + told.batch
        if any(record["at"] == at for record in self.records):
            return
        record = {"stage": number + 1, "batch": told.batch, "at": at, "loss": told.loss, told.measure: told.measured}
        if told.validation:
            record |= {"validation_loss": told.validation[0], f"validation_{told.measure}": told.validation[1]}
        self.records.append(record)
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        if self._events is not None:
            for key, value in record.items():
                if key not in ("stage", "batch", "at"):
                    self._events.add_scalar(key, value, at)
            self._events.flush()
        if told.checkpoint:
            self._draw()

    def _draw(self) -> None:
        # Networks of different stages may measure different things beside the loss.
        keys = dict.fromkeys(key for record in self.records for key in record if not key.startswith("validation_"))
        shown = [key for key in keys if key not in ("stage", "batch", "at")]
        figure = Figure(figsize=(5 * len(shown), 4), layout="constrained")
        for axes, what in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            for colour, (key, name) in enumerate(((what, "training"), (f"validation_{what}", "patients kept aside"))):
                # A line for each stage: what follows may be of another network.
                stages = groupby((record for record in self.records if key in record), itemgetter("stage"))
                for number, (_, records) in enumerate(stages):
                    points = [(record["at"], record[key]) for record in records]
                    label = "_nolegend_" if number else name
                    axes.plot(*zip(*points, strict=True), label=label, marker=".", color=f"C{colour}")
            for end in range(1, len(self._batches)):
                axes.axvline(sum(self._batches[:end]), color="0.7", linestyle=":")
            axes.set_xlabel("batch")
            axes.set_ylabel(what)
            axes.legend()
        picture = BytesIO()
        figure.savefig(picture, format="png", dpi=120)
        _write(self._run / "curves.png", picture.getvalue())

    def close(self) -> None:
        """Write what is left."""
        if self.records:
            self._draw()
        if self._events is not None:
            self._events.close()


def _read(log: Path) -> list[dict[str, Any]]:
    """The whole lines: a run that was killed may have left half a one."""
    text = log.read_text("utf-8") if log.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    temporary.replace(path)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (it may be absent)
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def duration(seconds: float) -> str:
    """A time as people say it.

    Examples
    --------
    >>> duration(40), duration(720), duration(12600)
    ('40 s', '12 min', '3.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
