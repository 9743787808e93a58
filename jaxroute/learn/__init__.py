"""Learning a router from a log: the paper's method, and every method that it is compared with.

fitted = learn.fit(key, logs, loss="rm_softmax", cost_weights=[0.0, 20.0])     # arrays; pure
"""

from jaxroute.learn.per_weight import Fitted as Fitted
from jaxroute.learn.per_weight import fit as fit
