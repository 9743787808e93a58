"""Reports from tidy results: console and README tables, figures, one self-contained report.html.

Everything here reads one pandas frame in the schema of ``COLUMNS`` (one row per dataset, logger, log size,
method, cost weight, seed and metric) with one column more, ``kind``, that groups methods ("learned", "plug-in",
"no routing" or "ceiling"). It calls no JAX and does not depend on how the numbers were made:

    results.parquet -> summarise, compare, headline -> print_tables, markdown_table
                    -> draw_figures -> write_figures, write_html
    Evidence (``jaxroute.estimators.evidence``: one router on one log) -> draw_evidence -> write_figures, write_html

results     the columns of results and the kinds of methods
summary     means over seeds, with intervals; `comparison` who beats whom, in words too
tables      methods against cost weights as texts; `markdown` and `console` show them
scorecard   one line per method with what routing papers report
figures     what is drawn of results; of a log: `evidence`, `frontier`, `exploring`; `canvas` their common style
artefacts   the files that a run writes; `sections` what report.html says, `pages` its HTML, `svg` its figures
"""

from jaxroute.report.artefacts import write_figures, write_html, write_results
from jaxroute.report.comparison import compare, headline
from jaxroute.report.console import print_tables
from jaxroute.report.evidence import draw_evidence
from jaxroute.report.exploring import draw_exploration
from jaxroute.report.figures import Drawing, draw_figures, draw_quality_cost, draw_regret, draw_shares
from jaxroute.report.markdown import markdown_table
from jaxroute.report.pages import write_sheets
from jaxroute.report.results import COLUMNS, KINDS, TABLE_WEIGHTS, cells, kinds, table_weights
from jaxroute.report.scorecard import print_scorecard, scorecard, scorecard_markdown
from jaxroute.report.summary import student_interval, summarise

__all__ = [
    "COLUMNS",
    "KINDS",
    "TABLE_WEIGHTS",
    "Drawing",
    "cells",
    "compare",
    "draw_evidence",
    "draw_exploration",
    "draw_figures",
    "draw_quality_cost",
    "draw_regret",
    "draw_shares",
    "headline",
    "kinds",
    "markdown_table",
    "print_scorecard",
    "print_tables",
    "scorecard",
    "scorecard_markdown",
    "student_interval",
    "summarise",
    "table_weights",
    "write_figures",
    "write_html",
    "write_results",
    "write_sheets",
]
