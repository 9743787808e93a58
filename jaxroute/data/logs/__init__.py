"""People's logs: one row a request, answered by one model.

loading   reading, checking, splitting: ``load``
formats   the records of gateways and tracers
cells     cells as columns of one kind
feedback  qualities that came after the answers
"""

from jaxroute.data.logs.loading import EXAMPLES as EXAMPLES
from jaxroute.data.logs.loading import HINTS as HINTS
from jaxroute.data.logs.loading import LogTable as LogTable
from jaxroute.data.logs.loading import as_logs as as_logs
from jaxroute.data.logs.loading import load as load
from jaxroute.data.logs.loading import split as split
from jaxroute.data.logs.loading import split_time as split_time
