"""Experiments on jaxroute: configs in, tables, figures and report.html out. Never imported by jaxroute."""

import sys

from jaxroute.system import stopping

if sys.argv[:1] == ["-m"]:  # python -m experiments.NAME, whose imports come next
    stopping.at_once()
