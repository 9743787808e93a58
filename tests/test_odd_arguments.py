"""What is no log, no table and no folder of a router is refused in Python by our own error, which says what to do."""

import dataclasses
import errno
import os
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import router_kinds

import jaxroute as jr
from jaxroute.data import synthetic
from jaxroute.serving import views
from jaxroute.types import InputError, Logs, Outcomes

ROWS = [
    {"features": [0.1 * i, 1.0, 0.5, i % 7, -1.0], "model": "abcd"[i % 4], "quality": i % 3 / 2, "cost": 0.01,
     "propensity": 0.25, "group": "one"}
    for i in range(120)
]  # fmt: skip
COLUMNS = pd.DataFrame(ROWS).to_dict("list")
ROUTER = router_kinds.router("plug_in")
ARRAYS = Logs(*(np.ones(3) for _ in Logs._fields))


@pytest.fixture(scope="module")
def table():
    made = synthetic.make(jax.random.key(2), num_prompts=60, num_models=4, num_features=router_kinds.D)
    return dataclasses.replace(made, models=router_kinds.MODELS)


@pytest.fixture(scope="module")
def log():
    return jr.read_log(ROWS)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({**COLUMNS, "propensity": [0.25] * 119}, "column 'propensity' has 119 rows and 'features' has 120"),
        ({**COLUMNS, "weight": [1.0]}, "column 'weight' has 1 rows"),
        (ARRAYS, "cannot read a log from a jaxroute.Logs; give a path"),
        ([], "no rows"),
        ([ROWS[0], 3], "row 1: is a int; every row must be a dictionary"),
    ],
)
def test_what_is_no_log_is_refused_whole(source, says):
    """A column of another length was left out without a word, and propensities were estimated instead."""
    for call in (
        lambda: jr.evaluate(ROUTER, source),
        lambda: jr.compare(ROUTER, ROUTER, source),
        lambda: jr.rank([ROUTER, ROUTER], source),
    ):
        with pytest.raises(InputError, match=says):
            call()


def test_a_data_frame_of_any_library_that_speaks_arrow_is_a_log(log):
    """As polars' does, which has no other interface in common with pandas or pyarrow."""

    class Streamed:
        def __arrow_c_stream__(self, requested_schema=None):
            return pa.Table.from_pylist(ROWS).__arrow_c_stream__(requested_schema)

    for source in (Streamed(), pa.RecordBatch.from_pylist(ROWS)):
        found = jr.read_log(source)
        np.testing.assert_array_equal(found.features, log.features)
        assert (found.quality.tolist(), found.models) == (log.quality.tolist(), log.models)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quality": np.ones(50)}, "quality of the log has 50 rows and action 120"),
        ({"features": np.ones((119, 5))}, "features of the log has 119 rows"),
        ({"action": np.array(["a"] * 120)}, "action of the log is <U1; it must hold the places of models"),
    ],
)
def test_a_log_changed_by_hand_is_whole(log, changes, says):
    with pytest.raises(InputError, match=says):
        jr.evaluate(ROUTER, dataclasses.replace(log, **changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (lambda t: {"features": np.ones((50, 5))}, r"features of the table has shape \(50, 5\); it must be \[60, D\]"),
        (lambda t: {"features": None}, r"features of the table has shape \(\)"),
        (lambda t: {"outcomes": Outcomes(np.ones((50, 4)), np.ones((50, 4)))}, r"it must be \[60, 4\] for 60 prompts"),
        (lambda t: {"models": ("a", "b")}, r"it must be \[60, 2\] for 60 prompts and 2 models"),
        (lambda t: {"models": ("a", "a", "b", "c")}, "models of the table are a, a, b, c; name each once"),
        (lambda t: {"available": np.ones((60, 4))}, "available of the table is float64; it must be of booleans"),
        (lambda t: {"prompt": t.prompt[:9]}, "prompt of the table has 9 rows; it must have 60"),
        (lambda t: {"outcomes": t.outcomes._replace(quality=np.full((60, 4), np.nan))}, "its quality is nan; give a"),
        (lambda t: {"outcomes": t.outcomes._replace(quality=np.full((60, 4), 4.5))}, r"is 4.5; give one in \[0, 1\]"),
        (lambda t: {"outcomes": t.outcomes._replace(quality=np.full((60, 4), -0.1))}, r"is -0.1; give one in \[0, 1\]"),
        (lambda t: {"outcomes": t.outcomes._replace(cost=-np.ones((60, 4)))}, "its cost is -1.0; give a finite number"),
        (lambda t: {"outcomes": t.outcomes._replace(cost=np.full((60, 4), np.inf))}, "its cost is inf"),
    ],
)
def test_a_table_made_by_hand_is_whole(table, changes, says, tmp_path):
    """For a router to be judged on, to learn from, beside a log, and to be kept."""
    bad = dataclasses.replace(table, **changes(table))
    for call in (
        lambda: jr.data.tables.save(bad, tmp_path / "table"),
        lambda: jr.evaluate(ROUTER, bad),
        lambda: jr.fit(bad, encoder=None),
        lambda: jr.evaluate(ROUTER, ROWS, shadow=bad),
    ):
        with pytest.raises(InputError, match=says):
            call()


def test_no_prompts_and_no_answers_are_said(table, log):
    nothing = table.rows(np.arange(0))
    for call, says in (
        (lambda: jr.evaluate(ROUTER, nothing), "^the table has no prompts"),
        (lambda: jr.fit(nothing), "^the table has no prompts"),
        (lambda: jr.evaluate(ROUTER, log, shadow=nothing), "^shadow: the table has no prompts"),
        (lambda: jr.evaluate(ROUTER, log, shadow=[]), "^shadow: the list: no rows"),
        (lambda: jr.evaluate(ROUTER, log, shadow=[1]), "^shadow: the list, row 0: is a int"),
        (lambda: jr.evaluate(ROUTER, log, shadow=ARRAYS), "^shadow: cannot read a table from a Logs"),
        (lambda: jr.compare(ROUTER, ROUTER, table), "evaluate judges one router on it at a time"),
        (lambda: jr.rank([ROUTER, ROUTER], table), "evaluate judges one router on it at a time"),
        (lambda: jr.rank([ROUTER, ROUTER], log, names=[["a"], ["b"]]), "names is .*; it must be a list of names"),
    ):
        with pytest.raises(InputError, match=says):
            call()


def test_groups_that_could_not_be_kept_together_are_said(log):
    """Every row counts as a draw of its own then, and intervals are narrower than those of the groups."""
    assert views.said_of(log, views.of(ROUTER, log, None), ROUTER) == [
        "1 group is fewer than 10: rows are folded one by one, and intervals take every row as a draw of its own."
    ]
    alone = dataclasses.replace(log, group=None)
    assert views.said_of(alone, views.of(ROUTER, alone, None), ROUTER) == []


def test_a_place_that_the_disk_does_not_take_is_our_own_error(tmp_path, monkeypatch):
    long = tmp_path / ("a" * 300)
    for call, says in (
        (lambda: jr.Router.load(long), "cannot be read .*; check the path and its permissions"),
        (lambda: ROUTER.save(long), "cannot be written .*; what was there before stays"),
        (lambda: jr.Router.load("a\0b"), "it must be the folder of a router"),
        (lambda: ROUTER.save("a\0b"), "it must be the folder of a router"),
    ):
        with pytest.raises(InputError, match=says):
            call()
    ROUTER.save(tmp_path / "router")

    def refused(self, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    for step in ("read_bytes", "is_file"):  # a test may run as somebody who may read everything
        with monkeypatch.context() as patched:
            patched.setattr(Path, step, refused)
            with pytest.raises(InputError, match=r"cannot be read \(Permission denied\); check the path and its perm"):
                jr.Router.load(tmp_path / "router")


def test_what_a_summary_holds_is_kept_or_refused_by_its_name(tmp_path):
    numbers = {"share": np.float32(0.5), "counts": np.arange(3), "unknown": np.array([np.nan]), "fine": np.bool_(True)}
    dataclasses.replace(ROUTER, summary=numbers).save(tmp_path / "router")
    kept = jr.Router.load(tmp_path / "router").summary
    assert kept == {"share": 0.5, "counts": [0, 1, 2], "unknown": [None], "fine": True}
    endless = {}
    endless["again"] = endless
    for summary in ({"x": object()}, {"x": {1}}, {(1, 2): 3}, endless):
        with pytest.raises(InputError, match=r"^summary: .*; keep texts, numbers, lists and dictionaries"):
            dataclasses.replace(ROUTER, summary=summary).save(tmp_path / "router")
    assert jr.Router.load(tmp_path / "router").summary == kept


@pytest.mark.parametrize("seed", [1.5, "a", None, -1, True])
def test_the_seed_of_a_decision_is_a_whole_number(seed):
    with pytest.raises(InputError, match=r"^seed is .*; it must be a whole number of at least 0"):
        ROUTER.route(np.ones((2, 5)), cost_weight=0.0, seed=seed)
