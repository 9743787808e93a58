"""Nuisances of a log: cross-fitted propensities and outcomes of every model.

``fit(key, logs, spec)`` returns nuisances for the log's own rows and a model; ``predict(model, features)`` gives those
of new prompts.

observed                 a log as a table of models in which few cells are observed
learners, own            outcome models, each with several candidates (penalties, numbers of neighbours, ...)
folding                  which rows share a fold
crossfit, host           cross-fitting in one compiled program, and of learners outside JAX
combine                  one candidate, or a convex stack of them, by out-of-fold loss
propensity, calibration  propensity models
diagnostics, curves, checks    ``diagnose``: whether the nuisances can be trusted
feedback                 ``fit_response``: corrects for feedback on some of the answers only
"""

from jaxroute.nuisance.combine import mix as mix
from jaxroute.nuisance.diagnostics import Diagnostics as Diagnostics
from jaxroute.nuisance.diagnostics import diagnose as diagnose
from jaxroute.nuisance.feedback import feedback_rate as feedback_rate
from jaxroute.nuisance.feedback import fit_response as fit_response
from jaxroute.nuisance.fitting import NuisanceModel as NuisanceModel
from jaxroute.nuisance.fitting import OutcomeModel as OutcomeModel
from jaxroute.nuisance.fitting import fit as fit
from jaxroute.nuisance.fitting import fit_outcomes as fit_outcomes
from jaxroute.nuisance.fitting import out_of_fold as out_of_fold
from jaxroute.nuisance.fitting import predict as predict
from jaxroute.nuisance.fitting import predict_candidates as predict_candidates
from jaxroute.nuisance.fitting import predict_logs as predict_logs
from jaxroute.nuisance.fitting import predict_outcomes as predict_outcomes
from jaxroute.nuisance.fitting import reweigh as reweigh
from jaxroute.nuisance.observed import as_cells as as_cells
from jaxroute.nuisance.observed import cells as cells
from jaxroute.nuisance.observed import groups as groups
from jaxroute.nuisance.observed import times as times
from jaxroute.types import NuisanceSpec as NuisanceSpec
