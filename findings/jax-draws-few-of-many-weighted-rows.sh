#!/usr/bin/env bash
# jax==0.10.2: jax.random.choice(key, rows, shape, p=p) turns one of 2**23 equally spaced numbers into a row, so a
# weighted draw with replacement knows 8,388,608 rows at most, whatever the key, and which ones has a pattern: of 2**24
# rows of equal weight it draws every second one alone. Of a table with a row for every answer, the models in turn, it
# thus draws some models and others never: below the second of two models alone, and in 2**25 rows the last two of four.
# Nothing warns: the documentation speaks of probabilities below 1e-7 in draws without replacement and without p alone,
# and mode="high" changes nothing. choice without p, and NumPy, draw all models alike. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np

DRAWS = 100_000
for models, rows in ((2, 2**24), (4, 2**25)):
    p = jnp.full(rows, 1 / rows)  # exact in 32 bits, as are its sums

    def shares(drawn):
        """The share of each model among the drawn rows; the models take turns."""
        return (np.bincount(np.asarray(drawn) % models, minlength=models) / DRAWS).round(3).tolist()

    weighted = [shares(jax.random.choice(jax.random.key(k), rows, (DRAWS,), p=p)) for k in range(3)]
    high = shares(jax.random.choice(jax.random.key(0), rows, (DRAWS,), p=p, mode="high"))
    without = shares(jax.random.choice(jax.random.key(0), rows, (DRAWS,)))
    numpys = shares(np.random.default_rng(0).choice(rows, DRAWS, p=np.asarray(p, float)))
    print(f"{rows:,} rows of {models} models, shares of the models with three keys:", *weighted)
    print(f'    mode="high" {high}, without p {without}, NumPy {numpys}')
    assert all(found[: models // 2] == [0.0] * (models // 2) for found in (*weighted, high))
    assert all(max(found) - min(found) < 0.01 for found in (without, numpys))
PY
