"""RouterEval's pickles, alone, in a folder and in the archive: made-up ones of the published shape."""

import pickle
import zipfile

import numpy as np
import pytest

from jaxroute.data.benchmarks import routereval
from jaxroute.types import InputError

COUNTS = {"train": 8, "val": 1, "test": 2}


def stored(seed=0, as_array=True):
    """One evaluation: two pools, prompts, and the embeddings that are not read."""
    random = np.random.default_rng(seed)

    def pool(size):
        names = np.array([f"maker/model-{i}" for i in range(size)])
        data = {f"{s}_score": random.integers(0, 2, (n, size)).astype(float) for s, n in COUNTS.items()}
        return {"model": names if as_array else names.tolist(), "data": data}

    prompts = {f"{s}_prompt": [f"{s} question {i}" for i in range(n)] for s, n in COUNTS.items()}
    if as_array:
        prompts = {name: np.array(texts) for name, texts in prompts.items()}
    return {
        "easy": {3: {"all_strong": pool(3)}},
        "hard": {10: {"strong_to_weak": pool(10), "all_weak": pool(10)}},
        "prompt": prompts,
        "embedding": {f"{s}_embed": random.normal(size=(n, 4)).astype(np.float32) for s, n in COUNTS.items()},
        "split_index": {f"{s}_indices": np.arange(n) for s, n in COUNTS.items()},
    }


@pytest.mark.parametrize("as_array", [True, False])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_file_folder_and_archive_are_one_table(tmp_path, as_array, protocol):
    whole = stored(as_array=as_array)
    file = tmp_path / "data" / "router_dataset" / "gsm8k_router_dataset.pkl"
    file.parent.mkdir(parents=True)
    file.write_bytes(pickle.dumps(whole, protocol))
    with zipfile.ZipFile(tmp_path / "router_dataset.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(file, "router_dataset/gsm8k_router_dataset.pkl")
    for path in (file, tmp_path / "data", tmp_path / "router_dataset.zip"):
        table = routereval.load(path, "gsm8k")
        assert table.models == tuple(f"maker/model-{i}" for i in range(10))
        assert table.query_id.tolist() == [f"{s}.{i}" for s, n in COUNTS.items() for i in range(n)]
        assert table.prompt[9] == "test question 0"
        assert set(table.task) == {"gsm8k"}
        scores = whole["hard"][10]["strong_to_weak"]["data"]
        expected = np.concatenate([scores["train_score"], scores["val_score"], scores["test_score"]])
        np.testing.assert_array_equal(table.outcomes.quality, expected)
        assert not table.outcomes.cost.any()


def test_another_pool_with_costs(tmp_path):
    file = tmp_path / "arc_router_dataset.pkl"
    file.write_bytes(pickle.dumps(stored()))
    pool = routereval.Pool("easy", 3, "all_strong")
    table = routereval.load(file, "arc", pool=pool, cost={f"maker/model-{i}": 0.1 * i for i in range(3)})
    np.testing.assert_allclose(table.outcomes.cost[0], [0, 0.1, 0.2])
    with pytest.raises(InputError, match=r"nothing under easy/5 \(there are: 3\)"):
        routereval.load(file, "arc", pool=pool._replace(size=5))


def test_what_does_not_fit_is_named(tmp_path):
    file = tmp_path / "arc_router_dataset.pkl"
    with pytest.raises(InputError, match="no evaluation 'mbpp'; use one of: arc"):
        routereval.load(file, "mbpp")
    with pytest.raises(InputError, match="no such file"):
        routereval.load(file, "arc")

    def refused(change, message):
        whole = stored()
        change(whole, whole["hard"][10]["strong_to_weak"])
        file.write_bytes(pickle.dumps(whole))
        with pytest.raises(InputError, match=message):
            routereval.load(file, "arc")

    refused(lambda whole, pool: whole.pop("hard"), r"nothing under hard \(there are: easy, prompt")
    refused(lambda whole, pool: pool.pop("model"), "nothing under model")
    refused(lambda whole, pool: whole["prompt"].pop("val_prompt"), "nothing under prompt/val_prompt")
    refused(lambda whole, pool: pool["data"].update(val_score=np.zeros((1, 9))), r"val_score has shape \(1, 9\)")
    refused(lambda whole, pool: pool["data"].update(val_score=np.full((1, 10), "x")), "expected numbers")
    refused(lambda whole, pool: pool["data"].update(val_score=np.full((1, 10), 1.5)), r"row 8 .*1\.5")
    refused(lambda whole, pool: pool["data"].update(val_score=[[1.0], [1.0, 0.0]]), "val_score is not a matrix")
    refused(lambda whole, pool: pool.update(model=None), "model is not a list of texts")
    refused(lambda whole, pool: whole["prompt"].update(test_prompt=["a", 2]), "test_prompt is not a list of texts")
    refused(lambda whole, pool: pool.update(model=["a"] * 10), "names a model twice")
    refused(lambda whole, pool: pool.update(model=print), r"refused, because the pickle asks for builtins\.print")


def test_a_broken_archive(tmp_path):
    path = tmp_path / "router_dataset.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("router_dataset/arc_router_dataset.pkl", pickle.dumps(stored()))
    with pytest.raises(InputError, match=r"no gsm8k_router_dataset\.pkl in this archive"):
        routereval.load(path, "gsm8k")
    whole = path.read_bytes()
    middle = len(whole) // 2
    for broken in (whole[:-30], whole[:middle] + b"damaged" + whole[middle + 7 :], b""):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"router_dataset\.zip: damaged or truncated"):
            routereval.load(path, "arc")
