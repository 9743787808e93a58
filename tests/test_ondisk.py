"""Rows on disk: what is written is what is mapped and read; outcomes made block by block are those made at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual, nuisance
from jaxroute.engine import disk
from jaxroute.learn import examples
from jaxroute.types import Examples, InputError, Logs, NuisanceSpec, Outcomes

N, D, K = 30, 4, 3
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(N, D)).astype(np.float16)
QUALITY, COST = RNG.normal(size=(2, N, K)).astype(np.float32)
AVAILABLE = RNG.random((N, K)) < 0.9
EXAMPLES = Examples(FEATURES, Outcomes(QUALITY, COST), AVAILABLE)


def part(start, end):
    return jax.tree.map(lambda x: x[start:end], EXAMPLES)


@pytest.fixture
def folder(tmp_path):
    disk.write(tmp_path / "rows", [part(0, 7), part(7, 8), part(8, N)], N)
    return tmp_path / "rows"


def test_what_is_written_is_mapped(folder):
    mapped = disk.open_rows(folder)
    jax.tree.map(np.testing.assert_array_equal, mapped, EXAMPLES)
    for leaf in jax.tree.leaves(mapped):
        assert isinstance(leaf.base, np.memmap)
        assert not leaf.flags.writeable
    assert mapped.features.dtype == np.float16
    assert sorted(f.name for f in folder.parent.iterdir()) == ["rows"]


def test_runs_are_read_in_the_order_asked_for(folder):
    block = disk.read(disk.open_rows(folder), np.array([20, 3]), 4)
    np.testing.assert_array_equal(block.features, FEATURES[[20, 21, 22, 23, 3, 4, 5, 6]])
    np.testing.assert_array_equal(block.outcomes.cost, COST[[20, 21, 22, 23, 3, 4, 5, 6]])


def test_rows_that_are_not_finite_are_named(folder):
    rows = disk.open_rows(folder)
    quality = np.where(AVAILABLE, QUALITY, np.nan)  # unavailable models may have any outcome
    disk.read(rows._replace(outcomes=Outcomes(quality, COST)), np.array([0, 15]), 15)
    quality[17, np.flatnonzero(AVAILABLE[17])[0]] = np.inf
    with pytest.raises(InputError, match="quality: row 17 is not finite"):
        disk.read(rows._replace(outcomes=Outcomes(quality, COST)), np.array([0, 15]), 15)
    features = FEATURES.copy()
    features[4, 2] = np.nan
    with pytest.raises(InputError, match="features: row 4 is not finite"):
        disk.read(rows._replace(features=features), np.array([2]), 5)


def test_a_wrong_number_of_rows_leaves_no_folder(tmp_path):
    for said, came in ((20, "are more"), (40, "30 came")):
        with pytest.raises(InputError, match=came):
            disk.write(tmp_path / "rows", [part(0, 15), part(15, N)], said)
        assert not (tmp_path / "rows").exists()
    disk.write(tmp_path / "rows", [EXAMPLES], N)  # what the failures left is no hindrance
    with pytest.raises(InputError, match="is there already"):
        disk.write(tmp_path / "rows", [EXAMPLES], N)


def test_files_that_do_not_fit_are_named(folder):
    with pytest.raises(InputError, match=r"nowhere.features.npy: cannot be mapped"):
        disk.open_rows(folder / "nowhere")
    for name, array, said in (
        ("cost", COST[:, :2], r"cost.npy: \(30, 2\) does not fit the other files, \(30, 3\)"),
        ("quality", QUALITY[:5], r"quality.npy: \(5, 3\) does not fit the other files, \(30,\)"),
        ("available", AVAILABLE.astype(np.float32), r"available.npy: float32 \(30, 3\); needs bool"),
        ("features", FEATURES[0], r"features.npy: float16 \(4,\); needs floating, two axes"),
    ):
        file = folder / f"{name}.npy"
        right = file.read_bytes()
        np.save(file, array)
        with pytest.raises(InputError, match=said):
            disk.open_rows(folder)
        file.write_bytes(right)
    (folder / "cost.npy").write_bytes((folder / "cost.npy").read_bytes()[:200])
    with pytest.raises(InputError, match=r"cost.npy: cannot be mapped"):
        disk.open_rows(folder)


@pytest.mark.slow
def test_outcomes_made_in_blocks_are_those_made_at_once():
    rows = 200
    features = jnp.asarray(RNG.normal(size=(rows, D)), jnp.float32)
    action = jnp.asarray(RNG.integers(0, K, rows))
    quality, cost = (jnp.asarray(RNG.random(rows), jnp.float32) for _ in range(2))
    known = jnp.where(jnp.arange(rows) % 2 == 0, 0.25, jnp.nan).astype(jnp.float32)
    logs = Logs(features, action, quality, cost, known, jnp.ones((rows, K), bool))
    first, second = (jax.tree.map(lambda x, s=s: x[s], logs) for s in (slice(0, 80), slice(80, rows)))
    _, model = nuisance.fit(jax.random.key(0), first, NuisanceSpec(("mean",), folds=2))
    blocks = [jax.tree.map(lambda x, s=s: x[s : s + 60], second) for s in (0, 60)]
    made = list(examples.corrected(blocks, model, clip=0.3, cost_scale=2.0))
    whole = jax.tree.map(lambda *x: np.concatenate(x), *made)
    expected = counterfactual.doubly_robust(second, nuisance.predict_logs(model, second), clip=0.3)
    np.testing.assert_array_equal(whole.features, second.features)
    np.testing.assert_allclose(whole.outcomes.quality, expected.quality, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole.outcomes.cost, expected.cost / 2, rtol=1e-5, atol=1e-6)
    i, k = 2, int(second.action[2])  # one row by hand: known propensity 0.25, raised to 0.3
    predicted = nuisance.predict(model, second.features).outcomes.quality[i, k]
    np.testing.assert_allclose(made[0].outcomes.quality[i, k], predicted + (quality[82] - predicted) / 0.3, rtol=1e-5)
