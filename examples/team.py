# %% [markdown]
# # From a log to a router, and the proof
#
# A team has a request log in which each request was answered by one model. It fits a router, asks what the router is
# worth on later requests, compares it with an older one, and routes a data frame. `make notebooks` runs this as a
# notebook; it is also a script.

# %%
import subprocess
import sys

import pandas as pd

import jaxroute as jr

for name, seed in (("log", "0"), ("later", "1")):
    made = [sys.executable, "-m", "jaxroute", "demo-log", f"{name}.jsonl", "--rows", "1200", "--seed", seed]
    subprocess.run(made, check=True)

# %%
log = jr.read_log("log.jsonl")  # columns={"quality": "rating"} where the log has other names
log

# %% [markdown]
# A ridge keeps this short; the default's Gaussian process takes longer.

# %%
router = jr.fit(log, outcome_models=["mean", "ridge"], steps=200)
router

# %% [markdown]
# The proof: what later requests say, which the router has not learned from.

# %%
proof = jr.evaluate(router, "later.jsonl")
for sentence in proof.conclusion():
    print(sentence)
proof

# %%
proof.plot()

# %%
older = jr.fit(log, "plug_in_mean", outcome_models=["mean"], steps=200)
difference = jr.compare(router, older, "later.jsonl")
print(difference)
difference.plot()

# %%
prompts = pd.DataFrame({"prompt": ["A question about proofs.", "A question about smalltalk."]}, index=["x", "y"])
router.route(prompts, normalised_cost_weight=0.5).to_frame()
