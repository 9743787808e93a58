"""What docs/contracts.md states of types and accuracy holds, and the page is what the tests say."""

import inspect

import contracts
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual, estimators, losses, metrics, policies


@pytest.mark.slow
def test_the_page_is_current():
    assert contracts.PAGE.read_text() == contracts.page(), "write it anew with python tests/contracts.py"


@pytest.mark.parametrize("module", [losses, policies, counterfactual, estimators, metrics], ids=lambda m: m.__name__)
def test_every_public_function_has_one_or_runs_on_the_host(module):
    group = module.__name__.rpartition(".")[2]
    stated = {c.name.split(",")[0] for c in contracts.CONTRACTS if c.group == group}
    if module is estimators:
        stated |= {inspect.unwrap(getattr(f, "func", f)).__name__ for f in estimators.ESTIMATORS.values()}
    there = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    public = {
        name
        for name, f in there.items()
        if callable(f) and not inspect.isclass(f) and getattr(f, "__module__", "").startswith(module.__name__)
    }
    assert public - stated - contracts.HOST[group] == set()
    assert contracts.HOST[group] <= public - stated


@pytest.mark.slow
@pytest.mark.parametrize("contract", contracts.CONTRACTS, ids=lambda c: f"{c.group}.{c.name}")
def test_type_and_accuracy(contract):
    for kind in contracts.KINDS:
        found, exact = contracts.result(contract, kind)
        for x, y in zip(found, exact, strict=True):
            assert x.dtype.name in contracts.type_of(contract, kind)
            assert np.isfinite(np.asarray(y)).all()
            if contract.within is not None:
                eps, y = float(jnp.finfo(x.dtype).eps), np.asarray(y, np.float64)
                error = np.abs(np.asarray(x, np.float64) - y).max() / (eps * max(1, np.abs(y).max()))
                assert error <= contract.within, f"{jnp.dtype(kind).name}: {error:.1f} eps"
