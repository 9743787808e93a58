"""The clock of the comparison stands while values are measured, and the whole runs at a tiny size."""

import json

import jax
import numpy as np
import pytest

from experiments.bench import cost_weights


def test_measuring_and_compiling_are_not_counted(monkeypatch):
    now = 0.0
    values = iter([0.1, 0.2, 0.5, 0.4, 0.6])
    monkeypatch.setattr(cost_weights.time, "perf_counter", lambda: now)

    def value(_):
        nonlocal now
        now += 100.0
        return next(values)

    def train(on_chunk):
        nonlocal now
        for step, taken in zip((10, 20, 30, 40), (12.0, 2.0, 2.0, 2.0), strict=True):  # the first one compiles for 10
            now += taken
            on_chunk(step, jax.numpy.zeros(()))

    curve = cost_weights.watched(train, value, None)
    np.testing.assert_array_equal(curve.steps, [0, 10, 20, 30, 40])
    np.testing.assert_allclose(curve.seconds, [0, 2, 4, 6, 8])
    assert curve.compile_seconds == 10
    assert [curve.reach(target) for target in (0.0, 0.3, 0.6, 0.7)] == [0, 2, 4, None]


@pytest.mark.study
def test_every_way_is_measured(tmp_path, capsys):
    enabled = jax.config.jax_enable_compilation_cache
    try:
        assert cost_weights.main(["--smoke", "--out", str(tmp_path)]) == 0
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
    found = json.loads((tmp_path / "cost_weights.json").read_text())
    assert len(found["ways"]) == 5
    alone = found["ways"]["30 routers, one program"]
    assert alone["value at the end"] == found["target value"]
    assert alone["seconds to target"] <= alone["seconds in all"]
    assert "one affine router" in capsys.readouterr().out
