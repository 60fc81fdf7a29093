"""What a results.json says, for people: sentences, small tables, plots, and files with every number.

`topics` names what is asked and by which metrics, `verdict` answers in words, `tables` has the tables, `plots` the
figures, `latex` the paper's tables, `files` writes all of them; `comparison` compares two results. May import
evaluation, cams, images and utils.
"""

from .files import write, write_tables
from .tables import small_tables
from .verdict import lead, verdicts

__all__ = ["lead", "small_tables", "verdicts", "write", "write_tables"]
