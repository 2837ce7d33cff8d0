"""A diagnosis where radiologists work: DICOM SEG, DICOM SR and pages that every viewer shows.

Importing it loads highdicom, which takes a second; whoever does not write DICOM does not import it.
"""

from lungsight.report.dicom.files import DICOM_FILES, write_dicom, write_seg, write_sr
from lungsight.report.dicom.source import check_source

__all__ = ["DICOM_FILES", "check_source", "write_dicom", "write_seg", "write_sr"]
