"""``jaxroute explore``: money first, an object of the schema, and no exploration that cannot prove what is asked."""

import dataclasses
import json

import numpy as np
import pytest
import router_kinds

from jaxroute import cli
from jaxroute.cli import output
from jaxroute.serving import kinds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore")
    router_kinds.router("plug_in").save(folder / "router")
    other = kinds.in_32_bits(router_kinds.kind("plug_in", seed=5))
    dataclasses.replace(router_kinds.router("plug_in"), kind=other).save(folder / "next")
    router_kinds.router("plug_in", last_layer=None).save(folder / "certain")
    rng = np.random.default_rng(0)
    with (folder / "log.jsonl").open("w") as log:
        for i in range(120):
            row = {"features": rng.standard_normal(5).tolist(), "model": "abcd"[i % 4], "cost": 0.001 * (1 + i % 4)}
            log.write(json.dumps(row | {"quality": float(i % 3 > 0) if i % 2 else None}) + "\n")
    return folder


def run(folder, *more, router="router"):
    cli.main(["explore", str(folder / "log.jsonl"), str(folder / router), *map(str, more)])


def test_the_object_is_that_of_the_schema_and_a_floor_costs_and_proves_more(folder, capsys):
    found = []
    for floor in (0.02, 0.2):
        with pytest.raises(SystemExit) as ended:
            run(folder, "--candidate", folder / "next", "--floor", floor, "--json")
        assert ended.value.code == 0
        found.append(json.loads(capsys.readouterr().out))
        schema = output.schema("explore")
        assert found[-1].keys() == set(schema["required"])
        for name in ("settings", "models"):
            assert all(one.keys() == set(schema["properties"][name]["items"]["required"]) for one in found[-1][name])
    little, much = ({one["setting"].split()[2]: one for one in each["settings"]} for each in found)
    assert set(little) == {"uniform,", "thompson,", "contenders,", "evaluation,"}
    for policy in ("uniform,", "contenders,"):
        assert much[policy]["rows"] < little[policy]["rows"]
        assert much[policy]["least_probability"] > little[policy]["least_probability"]
    assert little["evaluation,"]["rows"] == min(one["rows"] for one in little.values())
    assert found[0]["feedback"] == 0.5
    assert found[0]["conclusion"][0].startswith("1,000 requests cost ")


@pytest.mark.parametrize(
    ("router", "more", "says"),
    [
        ("router", ["--policy", "contenders", "--floor", "0", "--candidate", "next"], "cannot be valued; --floor "),
        ("router", ["--policy", "evaluation", "--floor", "0", "--candidate", "next"], "give a floor"),
        ("router", ["--policy", "evaluation"], "--candidate"),
        ("router", ["--policy", "greedy"], "must be one of uniform"),
        ("certain", [], "no posterior"),
    ],
)
def test_what_proves_nothing_is_refused(folder, capsys, monkeypatch, router, more, says):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        run(folder, *more, router=router)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
