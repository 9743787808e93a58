"""Pages from the templates beside this file: one HTML file each, without network, its script allowed by hash."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import jinja2
import numpy as np

from jaxroute.data import saving
from jaxroute.report.figures import Drawing
from jaxroute.report.svg import within_page
from jaxroute.report.tables import Cell
from jaxroute.system.printing import number


class Sheet(Protocol):
    """A table for people; a value that is None is unknown.

    Example:
        >>> from types import SimpleNamespace
        >>> sheet: Sheet = SimpleNamespace(title="costs", header=["model", "cost"], lines=[["a", 0.5], ["b", None]])
    """

    @property
    def title(self) -> str:
        """Above the table."""

    @property
    def header(self) -> Sequence[str]:
        """A title per column."""

    @property
    def lines(self) -> Sequence[Sequence[Any]]:
        """Texts and numbers."""


def render(name: str, **content: Any) -> bytes:
    """A page from a template that extends ``base.html.jinja``.

    Example:
        >>> b"<h1>A page</h1>" in render("sheets.html.jinja", title="A page", said=["Said."], sheets=[], figures=[])
        True
    """
    templates = resources.files(__package__)
    base = templates.joinpath("base.html.jinja").read_text("utf-8")
    script = base.partition("<script>")[2].partition("</script>")[0]  # the only one that a page may run
    loader = jinja2.FunctionLoader(lambda of: templates.joinpath(of).read_text("utf-8"))
    pages = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return pages.get_template(name).render(script_hash=allowed, **content).encode()


def write_sheets(
    folder: str | Path, title: str, said: Sequence[str], sheets: Sequence[Sheet], figures: Sequence[Drawing] = ()
) -> Path:
    """Write report.html of a command's result: sentences, the conclusion first, figures, and tables, which sort.

    Args:
        folder: created if it does not exist. title: of the page. said: one sentence at least.
        sheets, figures: may be none.

    Returns:
        The path of report.html.

    Example:
        >>> import tempfile
        >>> from types import SimpleNamespace
        >>> sheet = SimpleNamespace(title="costs", header=["model", "cost"], lines=[["a", 0.5], ["b", None]])
        >>> path = write_sheets(tempfile.mkdtemp(), "A page", ["a costs less."], [sheet])
        >>> path.name, "a costs less." in path.read_text()
        ('report.html', True)
    """
    lines = [line.removeprefix("- ") for line in said]
    drawn = [(figure, within_page(figure)) for figure in figures]
    shown = [_shown(sheet) for sheet in sheets]
    html = render("sheets.html.jinja", title=title, said=lines, sheets=shown, figures=drawn)
    path = Path(folder) / "report.html"
    with saving.file(path) as file:
        file.write(html)
    return path


def _shown(sheet: Sheet) -> dict[str, Any]:
    texts = [j for j in range(len(sheet.header)) if any(isinstance(line[j], str) for line in sheet.lines)]
    return {
        "caption": sheet.title,
        "header": [(title, "") for title in sheet.header],
        "lines": [[_cell(value) for value in line] for line in sheet.lines],
        "note": "",
        "texts": texts,
    }


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, str):
        return Cell(value or "unknown", np.nan)
    return Cell(number(value), float(value))
