"""Pixels in, pixels out: the one decoder of photographs, and everything that turns maps into pictures.

`read` decodes what people bring, `render` goes from a signed map to colours step by step, `figures` lays out the figure
of a paper and `export` writes it; `drawing` makes the pictures of the sample data set. May import utils.
"""

from .export import save_figure, save_maps
from .figures import Panel, Row, figure
from .read import SUFFIXES, ImageError, check_header, read_rgb, square
from .render import box_at, colour, minmax, overlay, rectify, upsample

__all__ = [
    "SUFFIXES",
    "ImageError",
    "Panel",
    "Row",
    "box_at",
    "check_header",
    "colour",
    "figure",
    "minmax",
    "overlay",
    "read_rgb",
    "rectify",
    "save_figure",
    "save_maps",
    "square",
    "upsample",
]
