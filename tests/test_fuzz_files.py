"""Files of tables and of benchmarks, damaged: each loads or fails with our own error, and nothing else happens."""

import contextlib
import json
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzzing import HERE, attempt, damage, fuzz, junk, replaced, small, spots
from hypothesis import given
from hypothesis import strategies as st

from jaxroute.data import harness, prices, tables
from jaxroute.data.benchmarks import (
    correctness,
    leaderboard,
    llmrouterbench,
    paretobandit,
    routellm,
    routerbench,
    routereval,
    sprout,
)
from jaxroute.data.logs import feedback
from jaxroute.types import InputError, Table


def whole(table):
    assert table.available.any(1).all()
    np.testing.assert_array_equal(table.available, ~np.isnan(table.outcomes.quality))
    assert np.isfinite(table.features).all()
    assert (np.isnan(table.outcomes.quality) | (abs(table.outcomes.quality - 0.5) <= 0.5)).all()
    assert (table.outcomes.cost[table.available] >= 0).all()


def a_folder(folder):
    tables.save(small(), folder / "table")
    return lambda: tables.load(folder / "table")


def a_wide_file(folder):
    (folder / "t.csv").write_text(
        "sample_id,prompt,eval_name,a,b,a|total_cost,b|total_cost\nq,2+2?,t,1,0,1,2\nr,x,t,0,,1,\n"
    )
    return lambda: tables.load(folder / "t.csv")


def a_matrix(folder):
    np.savez(folder / "m.npz", models=["a", "b"], prompts=["p", "q"], scores=[[1.0, 0.0], [0.0, np.nan]])
    return lambda: correctness.matrix(folder / "m.npz", cost=1.0)


def a_long_csv(folder):
    (folder / "e.csv").write_text("prompt_id,model_name,prompt,label\n1,a,2+2?,1\n1,b,2+2?,0\n")
    return lambda: correctness.embedllm(folder / "e.csv", cost=0.1)


def two_models(folder):
    (folder / "gsm8k.csv").write_text("prompt,a,b,a_response,b_response\n2+2?,False,True,5,4\n")
    return lambda: routellm.load(folder / "gsm8k.csv", cost=0.1)


def json_records(folder):
    for model in ("a", "b"):
        records = [{"index": 1, "prompt": "2+2?", "score": 1.0, "cost": 0.1}]
        about = {"dataset_name": "d", "split": "test", "model_name": model, "records": records}
        (folder / f"{model}.json").write_text(json.dumps(about))
    return lambda: llmrouterbench.load(folder)


def price_list(folder):
    (folder / "p.csv").write_text("model,input,output,source,date\na,1,2,list,2025\n")
    return lambda: prices.load(folder / "p.csv")


def ratings(folder):
    (folder / "f.csv").write_text("request_id,quality\na,1\nb,\n")
    ids = {"request": np.array(["a", "b", None], object)}
    return lambda: feedback.join(feedback.read(folder / "f.csv")[0], ids, np.array([0.5, 0.5, 0.5]))


def rewards(folder):
    arms = {"a": {"reward": 1, "cost": 0.1}, "b": {"reward": 0, "cost": 0.2}}
    (folder / "v_k4.jsonl").write_text(json.dumps({"prompt": "2+2?", "source": "mbpp", "arms": arms}))
    return lambda: paretobandit.load(folder)


def structs(folder):
    answer = [{"score": 1.0, "num_input_tokens": 1000, "num_output_tokens": 100}]
    columns = {
        "key": ["k"],
        "dataset": ["math"],
        "prompt": ["2+2?"],
        "openai-gpt-4o": answer,
        "openai-gpt-4o-mini": answer,
    }
    pq.write_table(pa.table(columns), folder / "test.parquet")
    return lambda: sprout.load(folder / "test.parquet")


def an_archive(folder):
    json_records(folder)
    with tarfile.open(folder / "bench.tar.gz", "w:gz") as archive:
        for file in sorted(folder.glob("*.json")):
            archive.add(file, f"bench/{file.name}")
            file.unlink()
    return lambda: llmrouterbench.load(folder / "bench.tar.gz")


POOL = {"model": ["a", "b"], "data": {f"{split}_score": np.eye(2) for split in routereval.SPLITS}}
ARC = {"hard": {10: {"strong_to_weak": POOL}}, "prompt": {f"{s}_prompt": ["p", "q"] for s in routereval.SPLITS}}


def a_zip(folder):
    with zipfile.ZipFile(folder / "router_dataset.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("router_dataset/arc_router_dataset.pkl", pickle.dumps(ARC))
    return lambda: routereval.load(folder / "router_dataset.zip", "arc")


FILES = [a_folder, a_wide_file, a_matrix, a_long_csv, two_models, json_records, price_list, ratings, rewards, structs]
FILES += [an_archive, a_zip]


@fuzz
@given(make=st.sampled_from(FILES), damaged=damage(), which=st.integers(0, 2))
def test_tables_of_broken_bytes(tmp_path_factory, tally, make, damaged, which):
    folder = tmp_path_factory.mktemp("table")
    load = make(folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    file = files[which % len(files)]
    file.write_bytes(damaged(file.read_bytes()))
    table = attempt(tally, load)
    if isinstance(table, Table):
        whole(table)


@fuzz
@given(share=st.floats(0, 1), which=st.sampled_from(["1.5", "2.2", "3.0"]))
def test_pickles_cut_short(place, tally, share, which):
    content = (HERE / "data" / f"wide_pandas{which}.pkl").read_bytes()
    (place / "r.pkl").write_bytes(content[: int(share * len(content))])
    kept = len(list(place.rglob("*.parquet")))
    table = attempt(tally, lambda: routerbench.load(place / "r.pkl"))
    if table is None:
        assert len(list(place.rglob("*"))) <= kept + 3  # the pickle, two folders, and no half of a copy
        assert len(list(place.rglob("*.parquet"))) == kept
    else:
        assert table.prompt.tolist() == ["What is 2 + 2?", "None", "Write a poem about a ríver."]


@fuzz
@given(data=st.data(), new=junk)
def test_pools_of_any_shape(place, tally, data, new):
    file = place / "arc_router_dataset.pkl"
    file.write_bytes(pickle.dumps(replaced(ARC, data.draw(st.sampled_from(spots(ARC))), new)))
    table = attempt(tally, lambda: routereval.load(file, "arc"))
    if table is not None:
        whole(table)


@fuzz
@given(data=st.data(), new=junk)
def test_scenarios_of_any_shape(place, tally, data, new):
    name = "leaderboard_mmlu_pro"
    models = ["open-llm-leaderboard/google__gemma-2-9b-it-details", "open-llm-leaderboard/google__gemma-2b-it-details"]
    files = [{name: {"Qs": ["p", "q"]}}, {name: {"correctness": np.eye(2), "models": models}}]
    which = data.draw(st.integers(0, 1))
    files[which] = replaced(files[which], data.draw(st.sampled_from([(), *spots(files[which])])), new)
    (place / "data_QA.json").write_text(json.dumps(files[0]))
    (place / "new_leaderboard_processed_20241205.pickle").write_bytes(pickle.dumps(files[1]))
    table = attempt(tally, lambda: leaderboard.load(place, parts=["mmlu_pro"]))
    if table is not None:
        whole(table)


@fuzz
@given(data=st.data(), new=junk)
def test_json_records_of_any_shape(tmp_path_factory, tally, data, new):
    folder = tmp_path_factory.mktemp("records")
    load = json_records(folder)
    found = json.loads((folder / "a.json").read_text())
    (folder / "a.json").write_text(json.dumps(replaced(found, data.draw(st.sampled_from(spots(found))), new)))
    table = attempt(tally, load)
    if table is not None:
        whole(table)


RESULTS = {
    "a.json": "inspect/choice.json",
    "b.json": "promptfoo/tiny.json",
    "c.json": "deepeval/small.json",
    "helm/per_instance_stats.json": "helm/small/per_instance_stats.json",
    "helm/scenario_state.json": "helm/small/scenario_state.json",
    "samples_tiny_mc_2026-11-28T10-52-00.859789.jsonl": None,
}


@fuzz
@given(data=st.data(), name=st.sampled_from(sorted(RESULTS)), new=junk)
def test_results_of_any_shape(tmp_path_factory, tally, data, name, new):
    """A place in a tool's file replaced by something else: read, or our own error."""
    stored = HERE / "data" / "harness"
    folder = tmp_path_factory.mktemp("results")
    shutil.copytree(stored / "helm" / "small", folder / "helm")
    whole = (stored / (RESULTS[name] or f"lm_eval/small/{name}")).read_text()
    found = list(map(json.loads, whole.splitlines())) if name.endswith("l") else json.loads(whole)
    found = replaced(found, data.draw(st.sampled_from(spots(found))), new)
    (folder / name).write_text("\n".join(map(json.dumps, found)) if name.endswith("l") else json.dumps(found))
    runs = attempt(tally, lambda: harness.read((folder / name).parent if "helm" in name else folder / name))
    other = harness.read(f"other={stored / 'ragas' / 'small.csv'}")
    for want in ("score", "Exact", "exact_match", "choice", "acc") if runs else ():
        with contextlib.suppress(InputError):
            harness.join([*runs, *other], wanted=[want, "exact_match"])
