"""Data sets: a folder, a zip, an official archive or a set of the Hub becomes lists of images, labels and annotations.

`layouts` has the registry of directory layouts and `read_data`, which reads them all; `archives` unpacks zips,
`annotations` reads boxes and masks, `limits` are those of uploads, `loader` decodes images in batches, `sample` draws a
small data set. May import images and utils.
"""

from .annotations import write_table
from .archives import ArchiveError, unpack
from .layouts import LAYOUTS, Layout, read_data, train_val
from .limits import LIMITS, UNLIMITED, Limits
from .loader import decoded, view_of
from .sample import sample_zip, write_sample
from .sets import Annotation, DataError, DataSet, ImageSet, Skipped, read_class_folders, read_splits

__all__ = [
    "LAYOUTS",
    "LIMITS",
    "UNLIMITED",
    "Annotation",
    "ArchiveError",
    "DataError",
    "DataSet",
    "ImageSet",
    "Layout",
    "Limits",
    "Skipped",
    "decoded",
    "read_class_folders",
    "read_data",
    "read_splits",
    "sample_zip",
    "train_val",
    "unpack",
    "view_of",
    "write_sample",
    "write_table",
]
