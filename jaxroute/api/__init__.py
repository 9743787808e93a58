"""From a log to a router and to what it is worth: the functions that ``import jaxroute as jr`` offers.

Whatever takes a log takes a path, a table in memory or what ``read_log`` returned, and whatever takes a table likewise.

reading    logs and tables, from files, folders, databases or memory
learning   a router of a log or of a table, by any method
steps      the steps that it takes, which the command line takes too
judging    what routers are worth on what they have not learned from
"""

from jaxroute.api.judging import compare as compare
from jaxroute.api.judging import evaluate as evaluate
from jaxroute.api.judging import rank as rank
from jaxroute.api.learning import fit as fit
from jaxroute.api.reading import LogTable as LogTable
from jaxroute.api.reading import read_log as read_log
from jaxroute.api.reading import read_table as read_table
