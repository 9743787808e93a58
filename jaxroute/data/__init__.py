"""Readers, encoders and simulated data. Modules are imported when they are first used.

logs, tables, shadow   people's request logs; tables of every model's answers; a table beside a log
comparisons, standings verdicts between two answers: as qualities of a log, and as knowledge of the models
benchmarks, hub        published tables and where they are fetched
encoders               features of prompts
simulate, synthetic    logs from a table; a table with known truth
splits, ties           splits without leakage; which rows repeat one another
units, prices          the cost scale; prices per token
"""

from typing import TYPE_CHECKING

from jaxroute._lazy import lazy

if TYPE_CHECKING:
    from jaxroute.data import benchmarks as benchmarks
    from jaxroute.data import comparisons as comparisons
    from jaxroute.data import encoders as encoders
    from jaxroute.data import hub as hub
    from jaxroute.data import logs as logs
    from jaxroute.data import prices as prices
    from jaxroute.data import shadow as shadow
    from jaxroute.data import simulate as simulate
    from jaxroute.data import splits as splits
    from jaxroute.data import standings as standings
    from jaxroute.data import synthetic as synthetic
    from jaxroute.data import tables as tables
    from jaxroute.data import ties as ties
    from jaxroute.data import units as units
else:
    __getattr__, __dir__ = lazy(
        __name__,
        (
            "benchmarks",
            "comparisons",
            "encoders",
            "hub",
            "logs",
            "prices",
            "shadow",
            "simulate",
            "splits",
            "standings",
            "synthetic",
            "tables",
            "ties",
            "units",
        ),
    )
