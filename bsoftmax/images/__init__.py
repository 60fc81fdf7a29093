"""Image decoding, colour maps and figures.

`read` decodes image files, `render` turns signed maps into colours, `figures` draws figures of images and maps and
`export` writes them; `drawing` draws the images of the sample data set. May import utils.
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
