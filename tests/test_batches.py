"""A router for batches of large tables: loaded once a worker, and the same decisions however rows fall into batches."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import router_kinds
from router_kinds import FEATURES

from jaxroute.serving import portable
from jaxroute.serving.batches import Route
from jaxroute.types import InputError

WORDS = ["sum", "law", "poem", "proof", "code", "trip", "cell", "tax"]
TEXTS = [f"{i} " + " ".join(np.random.default_rng(i).choice(WORDS, 6)) for i in range(200)]
WEIGHT = 100.0  # at which several models are chosen


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("batches") / "router"
    router_kinds.router("plug_in", 256, encoder="hashed-2").save(path)
    return path


def test_the_router_is_asked_with_every_prompt(folder):
    expected = portable.load(folder).route(TEXTS, cost_weight=WEIGHT).models
    assert len(set(expected)) > 1
    batch = Route(folder, cost_weight=WEIGHT, prompt="asked")({"asked": np.array(TEXTS), "id": np.arange(200)})
    assert batch["model"] == expected
    assert list(batch) == ["asked", "id", "model"]
    chats = [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}] for text in TEXTS]
    assert Route(folder, cost_weight=WEIGHT)({"prompt": chats})["model"] == expected


def test_context_columns_are_those_of_the_batch(tmp_path):
    columns = [{"name": "tier", "kind": "category", "values": ["free", "gold"]}]
    router_kinds.router("plug_in", 256 + 2, encoder="hashed", summary={"context": columns}).save(tmp_path / "router")
    batch = {"prompt": TEXTS, "tier": ["gold", "free"] * 100}
    expected = portable.load(tmp_path / "router").route(TEXTS, cost_weight=WEIGHT, context=batch).models
    assert Route(tmp_path / "router", cost_weight=WEIGHT)(batch)["model"] == expected
    with pytest.raises(InputError, match="context column 'tier'"):
        Route(tmp_path / "router", cost_weight=WEIGHT)({"prompt": TEXTS})


def test_features_are_routed_too(tmp_path):
    router_kinds.router("per_weight").save(tmp_path / "router")
    expected = portable.load(tmp_path / "router").route(FEATURES, cost_weight=50.0).models
    route = Route(tmp_path / "router", prompt="x", cost_weight=50.0)
    assert route({"x": FEATURES.tolist()})["model"] == expected
    with pytest.raises(InputError, match=r"row 1 of the batch, column 'x': not 5 finite numbers"):
        route({"x": [FEATURES[0].tolist(), [1.0]]})


def test_a_mixture_is_met_and_does_not_depend_on_the_batches(folder):
    router = portable.load(folder)
    budget = float(router.curve.cost.mean())
    assert Route(folder, budget=budget).weights == router.weights(budget=budget)
    cheap, share, dear = 200.0, 0.4, 0.0
    route, other = Route(folder, budget=budget), Route(folder, budget=budget, seed=1)
    route.weights = other.weights = [(cheap, share), (dear, 1 - share)]
    whole = route({"prompt": TEXTS})["model"]
    assert whole == [model for text in TEXTS for model in route({"prompt": [text]})["model"]]
    assert whole != other({"prompt": TEXTS})["model"]
    ends = [np.array(router.route(TEXTS, cost_weight=weight).models) for weight in (cheap, dear)]
    told = ends[0] != ends[1]
    assert told.sum() > 100
    error = (share * (1 - share) / told.sum()) ** 0.5
    assert abs((np.array(whole)[told] == ends[0][told]).mean() - share) < 4 * error


def test_what_is_sent_to_a_worker_is_a_path(folder):
    route = Route(folder, cost_weight=WEIGHT)
    before = pickle.dumps(route)
    route({"prompt": TEXTS[:2]})
    assert pickle.dumps(route) == before
    assert len(before) < 1000


def test_batches_that_cannot_be_routed(folder):
    for batch, why in (
        ({"text": TEXTS}, r"no column 'prompt' \(text\); name another with prompt= or model="),
        ({"prompt": TEXTS, "model": TEXTS}, "a column 'model' already"),
        ({"prompt": ["one", None]}, r"row 1 of the batch, column 'prompt': missing or not text"),
    ):
        with pytest.raises(InputError, match=why):
            Route(folder, cost_weight=WEIGHT)(batch)
    with pytest.raises(InputError, match="exactly one of cost_weight"):
        Route(folder)({"prompt": TEXTS})


@pytest.mark.slow
def test_datasets_maps_it(folder):
    datasets = pytest.importorskip("datasets")
    mapped = datasets.Dataset.from_dict({"prompt": TEXTS}).map(
        Route(folder, cost_weight=WEIGHT), batched=True, batch_size=64, load_from_cache_file=False
    )
    assert mapped["model"] == portable.load(folder).route(TEXTS, cost_weight=WEIGHT).models


@pytest.mark.study
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_loads_it_once_in_each_of_two_workers(folder):
    ray = pytest.importorskip("ray")
    from ray import data

    class Counted(Route):
        """Says which process loaded the router, and how often."""

        loads = 0

        def __call__(self, batch):
            import os
            import time

            time.sleep(0.5)  # so that both workers get some
            if "router" not in vars(self):
                type(self).loads += 1
            routed = super().__call__(batch)
            rows = len(routed["model"])
            return {**routed, "process": [os.getpid()] * rows, "loads": [self.loads] * rows}

    here = {"env_vars": {"PYTHONPATH": str(Path(__file__).parents[1])}}
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, runtime_env=here)
    try:
        rows = data.from_items([{"prompt": text} for text in TEXTS], override_num_blocks=8)
        found = rows.map_batches(
            Counted, fn_constructor_args=(str(folder),), fn_constructor_kwargs={"cost_weight": WEIGHT},
            batch_size=25, compute=data.ActorPoolStrategy(size=2),
        ).to_pandas().set_index("prompt").loc[TEXTS]  # fmt: skip
    finally:
        ray.shutdown()
    assert found["model"].tolist() == portable.load(folder).route(TEXTS, cost_weight=WEIGHT).models
    assert found["process"].nunique() == 2
    assert (found["loads"] == 1).all()
