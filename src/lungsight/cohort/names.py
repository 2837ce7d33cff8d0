"""The name of each CT's folder: that of its input, and enough of the path before it to tell any two apart."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

__all__ = ["name_studies"]

_ENDINGS = (".nii.gz", ".nii", ".zip", ".mhd", ".mha")
_SAYS_NOTHING = frozenset({"ct", "dicom", "dicomdir"})
"""What a patient's folder calls the folder or file of its CT: the name before it tells whose it is."""


def name_studies(
    sources: Sequence[Path], known: Mapping[str, Path] | None = None, reserved: Collection[str] = ()
) -> dict[str, Path]:
    """Give each input a name of its own.

    The name is the last part of the path that is not ``ct``, ``dicom`` or ``DICOMDIR``, without ``.nii.gz``, ``.nii``,
    ``.zip``, ``.mhd`` or ``.mha``. Inputs whose names would be alike (upper and lower case are, as on some disks) get
    the parts before it too, as many as it takes, joined by ``-``; the last resort is a number.

    Parameters
    ----------
    sources
        Paths of the inputs. One that stands there twice is taken once. Only the paths are looked at, no file.
    known
        Names given earlier, with absolute paths: these inputs keep them, no other gets them.
    reserved
        Names that no input gets.

    Returns
    -------
    dict
        Name -> absolute path, in the order of `sources`. Empty in, empty out.

    Examples
    --------
    >>> list(name_studies([Path("/d/ann/ct"), Path("/d/bob.nii.gz"), Path("/d/1/scan"), Path("/d/2/scan")]))
    ['ann', 'bob', '1-scan', '2-scan']
    """
    known = known or {}
    name_of = {source: name for name, source in known.items()}
    absolute = list(dict.fromkeys(Path(os.path.abspath(source)) for source in sources))  # noqa: PTH100 (without `..`)
    taken = {name.casefold() for name in (*known, *reserved)}
    parts = {source: _telling_parts(source) for source in absolute if source not in name_of}
    depths = _depths(parts, taken)
    for source, depth in depths.items():
        name_of[source] = _numbered("-".join(parts[source][-depth:]), taken)
        taken.add(name_of[source].casefold())
    return {name_of[source]: source for source in absolute}


def _depths(parts: Mapping[Path, tuple[str, ...]], taken: Collection[str]) -> dict[Path, int]:
    """How many of its parts each name needs."""
    depths = dict.fromkeys(parts, 1)
    while True:
        names = {source: "-".join(parts[source][-depth:]).casefold() for source, depth in depths.items()}
        count = Counter(names.values())
        alike = [source for source, name in names.items() if count[name] > 1 or name in taken]
        deeper = [source for source in alike if depths[source] < len(parts[source])]
        if not deeper:
            return depths
        for source in deeper:
            depths[source] += 1


def _telling_parts(source: Path) -> tuple[str, ...]:
    parts = [part for part in source.parts if part != source.anchor] or ["ct"]
    ending = next((e for e in _ENDINGS if parts[-1].casefold().endswith(e) and len(parts[-1]) > len(e)), "")
    parts[-1] = parts[-1][: len(parts[-1]) - len(ending)]
    while len(parts) > 1 and parts[-1].casefold() in _SAYS_NOTHING:
        parts.pop()
    return tuple(parts)


def _numbered(name: str, taken: Collection[str]) -> str:
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(each for each in names if each.casefold() not in taken)
