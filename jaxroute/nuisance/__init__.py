"""Nuisances of a log: cross-fitted propensities and outcomes of every model.

``fit(key, logs, spec)`` returns nuisances for the log's own rows and a model; ``predict(model, features)``
gives those of new prompts. Inside: a projection per fold, learners that each offer candidates (`ridge`,
`mlp`, `propensity`), cross-fitting (`crossfit`), and the pick or convex stack of candidates (`combine`).
"""

from jaxroute.nuisance.fitting import NuisanceModel as NuisanceModel
from jaxroute.nuisance.fitting import OutcomeModel as OutcomeModel
from jaxroute.nuisance.fitting import fit as fit
from jaxroute.nuisance.fitting import fit_outcomes as fit_outcomes
from jaxroute.nuisance.fitting import predict as predict
from jaxroute.nuisance.fitting import predict_logs as predict_logs
from jaxroute.nuisance.fitting import predict_outcomes as predict_outcomes
from jaxroute.nuisance.fitting import reweigh as reweigh
from jaxroute.types import NuisanceSpec as NuisanceSpec
