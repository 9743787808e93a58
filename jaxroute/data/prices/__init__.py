"""Prices per million tokens, and costs computed from token counts.

table      price tables, the packaged one and others: ``load``
naming     under which name a table has a model: ``find``
billing    what answers cost: ``bill``
"""

from jaxroute.data.prices.billing import APART as APART
from jaxroute.data.prices.billing import Apart as Apart
from jaxroute.data.prices.billing import apart as apart
from jaxroute.data.prices.billing import bill as bill
from jaxroute.data.prices.billing import cost as cost
from jaxroute.data.prices.naming import DATE as DATE
from jaxroute.data.prices.naming import close as close
from jaxroute.data.prices.naming import find as find
from jaxroute.data.prices.naming import named as named
from jaxroute.data.prices.naming import spelled as spelled
from jaxroute.data.prices.table import OPTIONAL as OPTIONAL
from jaxroute.data.prices.table import PRICES as PRICES
from jaxroute.data.prices.table import Price as Price
from jaxroute.data.prices.table import listed as listed
from jaxroute.data.prices.table import load as load
