"""A diagnosis where radiologists work: DICOM SEG, DICOM SR and pages that every viewer shows.

Importing it loads highdicom, which takes a second; whoever does not write DICOM does not import it.
"""

from lungsight.report.dicom.files import warn_without_seg, write_dicom, write_seg, write_sr
from lungsight.report.dicom.source import check_source

__all__ = ["check_source", "warn_without_seg", "write_dicom", "write_seg", "write_sr"]
