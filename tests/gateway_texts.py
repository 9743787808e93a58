"""Texts of two kinds, of which the small model answers one well and the large model both, and a router of them."""

import jax
import numpy as np

from jaxroute.data import encoders
from jaxroute.learn import fitting
from jaxroute.types import Logs, NuisanceSpec

MODELS = ("small", "large")
KINDS = ("add these numbers", "write a long proof")
SPEC = NuisanceSpec(("mean", "ridge"), folds=3, penalties=(10.0, 100.0))


def questions(start, stop):
    return [f"{KINDS[i % 2]} {i}" for i in range(start, stop)]


def good(prompt, model):
    """Small is right on sums, and wrong on proofs."""
    return float(model == "large" or prompt.startswith("add"))


def fitted(log, models):
    return fitting.fit(jax.random.key(0), log, models, encoder="hashed", spec=SPEC, hidden=(16,), steps=150)


def saved(folder):
    """Folder of a router of texts, which sends sums to small and proofs to large."""
    prompts = questions(0, 300)
    action = np.random.default_rng(0).integers(2, size=len(prompts))
    quality = np.array([good(text, MODELS[k]) for text, k in zip(prompts, action, strict=True)])
    features = np.asarray(encoders.encode(prompts, "hashed"), np.float32)
    cost = np.where(action == 0, 13e-6, 130e-6)
    log = Logs(features, action, quality, cost, np.full(len(prompts), 0.5), np.ones((len(prompts), 2), bool))
    fitted(log, MODELS).save(folder)
    return folder
