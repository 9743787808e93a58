# %% [markdown]
# # Off-policy estimates beside the truth
#
# A synthetic table holds every model's answer, so the value of a router is known. A log of one answer a prompt is drawn
# from it, and every estimator of jaxroute says what the log says. `make notebooks` runs this as a notebook; it is also
# a script.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import jaxroute as jr

COST_WEIGHT = 0.5
made = jr.data.synthetic.make(jax.random.key(0), num_prompts=4000, num_models=4)
other, table = made.rows(np.arange(2000)), made.rows(np.arange(2000, 4000))
policy = jr.data.simulate.cost_biased(strength=0.5, floor=0.2)
logs = jax.tree.map(jnp.asarray, jr.data.simulate.simulate(jax.random.key(1), table, policy))
nuisances, _ = jr.nuisance.fit(jax.random.key(2), logs, jr.types.NuisanceSpec(("mean", "ridge"), folds=3))

# %% [markdown]
# The router to be judged must not have learned from these rows: it is fitted to the table's other half.

# %%
kernel = np.linalg.lstsq(other.features, other.outcomes.quality - COST_WEIGHT * other.outcomes.cost, rcond=None)[0]
target = jr.policies.greedy(jnp.asarray(table.features @ kernel))
truth = float(jr.metrics.value(target, table.outcomes, COST_WEIGHT).mean())

# %%
rows = []
for name, estimator in jr.estimators.ESTIMATORS.items():
    found = estimator(logs, target, COST_WEIGHT, nuisances, clip=0.05)
    low, high = jr.estimators.interval(found)
    rows.append({"estimator": name, "value": float(found.value), "low": float(low), "high": float(high)})
frame = pd.DataFrame(rows).assign(truth=truth)
frame["holds the truth"] = frame["truth"].between(frame["low"], frame["high"])
print(frame.round(3).to_string())

# %%
error = [frame["value"] - frame["low"], frame["high"] - frame["value"]]
plt.errorbar(frame["value"], frame["estimator"], xerr=error, fmt="o", capsize=3)
plt.axvline(truth, color="black", linestyle=":", label="truth")
plt.xlabel("value of the router")
plt.legend()

# %% [markdown]
# Whether the log supports the policy at all comes first: an estimate without support is a guess.

# %%
report = jr.estimators.support(logs, target, nuisances, models=table.models)
print(report.verdict, report.reasons)
