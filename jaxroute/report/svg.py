"""A figure as SVG text that follows the reader's colour scheme, as a file and within a page."""

from __future__ import annotations

import base64
import io
from weakref import WeakKeyDictionary

from matplotlib.figure import Figure

from jaxroute.report.canvas import GRID, INK, MUTED, PAPER, styled
from jaxroute.report.figures import Drawing

DARK = {INK: "#e6e8eb", MUTED: "#9aa4b2", GRID: "#30363d", PAPER: "#15181c"}
_DRAWN: WeakKeyDictionary[Figure, str] = WeakKeyDictionary()
"""What was drawn already: a figure goes into a file and into the page."""


def svg(drawing: Drawing) -> str:
    """The same bytes for the same figure.

    Example:
        >>> from jaxroute.report.figures import draw_regret
        >>> from jaxroute.report.results import example
        >>> svg(draw_regret(example())) == svg(draw_regret(example()))
        True
    """
    if drawing.figure not in _DRAWN:
        _DRAWN[drawing.figure] = _drawn(drawing)
    return _DRAWN[drawing.figure]


def within_page(drawing: Drawing) -> str:
    """The same in base64, as a page holds it.

    Example:
        >>> from jaxroute.report.figures import draw_regret
        >>> from jaxroute.report.results import example
        >>> drawing = draw_regret(example())
        >>> base64.b64decode(within_page(drawing)).decode() == svg(drawing)
        True
    """
    return base64.b64encode(svg(drawing).encode()).decode()


def _drawn(drawing: Drawing) -> str:
    buffer = io.StringIO()
    with styled(**{"svg.hashsalt": drawing.name, "svg.fonttype": "path"}):
        drawing.figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": drawing.title})
    rules = "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark} !important}}'
        for light, dark in DARK.items()
        for part in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark) {{{rules}}}</style>"
    return buffer.getvalue().replace("</svg>", f"{style}</svg>")
