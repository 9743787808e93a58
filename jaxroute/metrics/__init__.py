"""Value, regret, cost-quality curves and intervals. Pure functions, exact definitions.

values      value, regret, mean points, shares, collapse, conversion of other papers' cost weights
curves      areas and summary numbers of cost-quality curves
two_models  summary numbers of a router between a weak and a strong model
intervals   bootstrap and paired intervals
"""

from jaxroute.metrics.curves import aiq as aiq
from jaxroute.metrics.curves import aiq_range as aiq_range
from jaxroute.metrics.curves import hull as hull
from jaxroute.metrics.curves import nauc as nauc
from jaxroute.metrics.curves import nauc_between as nauc_between
from jaxroute.metrics.curves import peak_quality as peak_quality
from jaxroute.metrics.curves import quality_neutral_cost as quality_neutral_cost
from jaxroute.metrics.intervals import Interval as Interval
from jaxroute.metrics.intervals import bootstrap_interval as bootstrap_interval
from jaxroute.metrics.intervals import paired_interval as paired_interval
from jaxroute.metrics.two_models import apgr as apgr
from jaxroute.metrics.two_models import cpt as cpt
from jaxroute.metrics.values import from_carrot as from_carrot
from jaxroute.metrics.values import from_routerbench as from_routerbench
from jaxroute.metrics.values import quality_cost_points as quality_cost_points
from jaxroute.metrics.values import regret as regret
from jaxroute.metrics.values import routing_collapse as routing_collapse
from jaxroute.metrics.values import routing_shares as routing_shares
from jaxroute.metrics.values import share_entropy as share_entropy
from jaxroute.metrics.values import to_carrot as to_carrot
from jaxroute.metrics.values import to_routerbench as to_routerbench
from jaxroute.metrics.values import value as value
