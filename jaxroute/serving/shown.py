"""How what logs and tables say of routers looks in a notebook: a short repr, a table, and a plot of matplotlib.

Nothing here computes: a record has ``conclusion()`` and ``to_frame()``, and says which of its columns are drawn.
"""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class Curve(NamedTuple):
    """Columns of a frame that are drawn against the normalised cost weight: y, its interval if any, and a label."""

    y: str
    label: str
    low: str | None = None
    high: str | None = None


class Shown(ABC):
    """What a record of L cost weights shows of itself."""

    _curves: tuple[Curve, ...] = ()
    _of: str = "value (points)"

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """A row per cost weight."""

    def conclusion(self) -> list[str]:
        """Sentences; none where there is nothing to conclude."""
        return []

    def __repr__(self) -> str:
        said = self.conclusion()
        return f"{type(self).__name__}({len(self.to_frame())} cost weights{': ' + said[0] if said else ''})"

    def _repr_html_(self) -> str:
        """The conclusion, and the table below it."""
        said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.conclusion())
        frame = self.to_frame()
        if "shares" in frame:
            frame["shares"] = [
                ", ".join(f"{m} {s:.0%}" for m, s in one.items() if s >= 0.005) for one in frame["shares"]
            ]
        if "reasons" in frame:
            frame["reasons"] = ["; ".join(lines) for lines in frame["reasons"]]
        return said + frame.to_html(index=False, float_format="{:.4g}".format, na_rep="unknown")

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the record against the normalised cost weight, with 95% intervals, in points.

        Args:
            axes: of matplotlib, to draw on; None: new ones.

        Returns:
            The axes.
        """
        import matplotlib.pyplot as plt

        axes = plt.subplots()[1] if axes is None else axes
        frame = self.to_frame()
        x = frame["normalised_cost_weight"].to_numpy(float)
        for curve in self._curves:
            y = 100 * frame[curve.y].to_numpy(float)
            error: Any = None
            if curve.low is not None and curve.high is not None:
                low, high = (100 * frame[end].to_numpy(float) for end in (curve.low, curve.high))
                error = np.nan_to_num(np.abs([y - low, high - y]))
            axes.errorbar(x, y, error, marker="o", capsize=3, label=curve.label)
        if self._of.startswith("difference"):
            axes.axhline(0, color="0.5", linewidth=1, linestyle="--")
        axes.set_xlabel("normalised cost weight")
        axes.set_ylabel(self._of)
        axes.legend()
        return axes
