#!/usr/bin/env bash
# orbax-checkpoint==0.12.8: a CheckpointManager that keeps the best checkpoints (best_fn, max_to_keep) sorts them by their
# metric and has no rule for NaN. Python's sort leaves a NaN where it stands, and the last in order is the best, whether
# best_mode is "max" or "min". So one evaluation that gives NaN is called the best and pushes out a good checkpoint, and
# the next one, however bad, pushes out the best of all, because nothing sorts past the NaN. Nothing warns. Below the
# qualities 0.9 and 0.5 are followed by NaN and 0.1. Seen: where one checkpoint is kept, 0.9, then NaN, then 0.1; where
# two are, 0.9 and 0.5, then 0.9 and NaN, then NaN and 0.1, and best_step() names that of 0.1. With 0 in place of NaN it
# keeps 0.9. A preservation_policy of BestN, which the documentation prefers, does the same. A run that diverges once, or
# an evaluation without rows, thus loses the checkpoint that was to be kept. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check orbax-checkpoint==0.12.8 jax==0.10.2
cd "$folder"
JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PY'
import os
import tempfile
from math import nan

import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy

logging.set_verbosity(logging.ERROR)


def quality(metrics):
    return metrics["quality"]


def told(count, mode, policy=False):
    """The options of a manager that keeps the `count` best checkpoints."""
    if not policy:
        return ocp.CheckpointManagerOptions(best_fn=quality, best_mode=mode, max_to_keep=count)
    best = preservation_policy.BestN(get_metric_fn=quality, reverse=mode == "min", n=count)
    return ocp.CheckpointManagerOptions(best_fn=quality, best_mode=mode, preservation_policy=best)


def kept(qualities, options):
    """For each save: the qualities of the checkpoints that are left, and that of best_step()."""
    left = []
    with ocp.CheckpointManager(tempfile.mkdtemp(dir=os.getcwd()), options=options) as manager:
        for step, value in enumerate(qualities):
            manager.save(step, args=ocp.args.StandardSave({"w": np.full(2, step)}), metrics={"quality": value})
            manager.wait_until_finished()
            left.append(([qualities[s] for s in manager.all_steps()], qualities[manager.best_step()]))
    return left


good = [0.9, 0.5, nan, 0.1]
for count in (1, 2):
    print(f"best {count} of {good}:", *(f"{left} best {best};" for left, best in kept(good, told(count, "max"))))
one, two = ([left for left, _ in kept(good, told(count, "max"))] for count in (1, 2))
assert str(one) == "[[0.9], [0.9], [nan], [0.1]]"
assert str(two) == "[[0.9], [0.9, 0.5], [0.9, nan], [nan, 0.1]]"
assert kept(good, told(2, "max"))[-1][1] == 0.1
assert str(kept(good, told(2, "max", policy=True))) == str(kept(good, told(2, "max")))
assert kept([0.1, nan, 0.9], told(1, "min"))[-1] == ([0.9], 0.9)
assert kept([0.9, 0.5, 0.0, 0.1], told(2, "max"))[-1] == ([0.9, 0.5], 0.9)
PY
