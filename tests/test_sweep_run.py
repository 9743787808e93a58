"""`make sweep` as people run it: killed, interrupted, starved of disk, started twice."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments import configs, run, shards, storage, sweep_table, watching
from experiments import sweep as command
from experiments.checks import torture
from experiments.problem.table import prepare
from jaxroute.serving.router import Router
from jaxroute.types import InputError

FILES = ("router.json", "arrays.safetensors", "vectors.json")  # of a router's folder


@pytest.fixture(scope="module")
def config_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "torture.py"
    path.write_text(torture.CONFIG)
    return path


@pytest.fixture(scope="module")
def undisturbed(config_path, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run(torture.command(config_path, out), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, out


def axes_of(config_path, **changes):
    config = configs.load(str(config_path))
    return dataclasses.replace(config, axes=dataclasses.replace(config.axes, **changes))


def test_points_are_settings_at_every_cost_weight_and_seed(config_path):
    config = dataclasses.replace(axes_of(config_path), seeds=2)
    points = command.settings_of(config)
    assert np.shape(points.seed) == (2, 2 * 4)
    np.testing.assert_array_equal(points.seed, np.repeat([[0], [1]], 8, axis=1))
    np.testing.assert_array_equal(points.cost_weight[0], np.repeat(np.float32([0, 1]), 4))
    np.testing.assert_array_equal(points.clip[0, :4], points.clip[1, 4:])  # the same settings everywhere
    grid = {"draw": "grid", "learning_rate": (1e-3, 1e-2), "clip": (0.1,)}
    points = command.settings_of(axes_of(config_path, **grid))
    assert np.shape(points.seed) == (1, 2 * 2**5)
    with pytest.raises(InputError, match="clip"):
        command.settings_of(axes_of(config_path, clip=(0.1, 0.2, 0.3)))


def test_an_unknown_method_is_refused(config_path, tmp_path):
    with pytest.raises(InputError, match="rm_sfotmax"):
        command.run(axes_of(config_path, methods=("rm_sfotmax",)), tmp_path)


def test_a_missing_table_is_refused_and_nothing_is_written(config_path, tmp_path):
    config = dataclasses.replace(axes_of(config_path), data="no/such/folder")
    with pytest.raises(InputError, match="no/such/folder"):
        command.run(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_runs_on_one_folder(tmp_path):
    """The second says so; a holder that was killed holds nothing."""
    code = (
        "import sys, time; from pathlib import Path; from experiments import storage\n"
        "with storage.only_run(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"process {process.pid} is at work"), storage.only_run(tmp_path / "run"):
        pass
    process.kill()
    process.communicate()
    with storage.only_run(tmp_path / "run"):
        pass


@pytest.mark.parametrize("program", [command, run])
def test_a_second_run_is_refused_before_it_writes(program, config_path, tmp_path, capsys):
    folder = program.folder_of(configs.load(str(config_path)), tmp_path)
    with storage.only_run(folder):
        assert program.main(["--config", str(config_path), "--out", str(tmp_path)]) == 2
    assert f"process {os.getpid()} is at work here" in capsys.readouterr().err
    assert not folder.exists()


def test_half_a_line_of_metrics_is_cut_off(tmp_path):
    storage.log_line(tmp_path, step=1, best=0.5)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "be')
    storage.log_line(tmp_path, step=2, best=0.6)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "best": 0.5}, {"step": 2, "best": 0.6}]


def test_tensorboard_gets_what_the_metrics_get(tmp_path):
    pytest.importorskip("tensorboardX")
    with watching.writer(tmp_path, tensorboard=True) as write:
        write(3, event="chunk", best=0.25)
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 3, "event": "chunk", "best": 0.25}
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert b"chunk/best" in path.read_bytes()


def test_progress_says_time_left_and_best(capsys, monkeypatch):
    clock = iter([0.0, 30.0, 32.0, 60.0])
    monkeypatch.setattr(watching.time, "perf_counter", lambda: next(clock))
    show = watching.progress(100)
    show("routers", 50, 0.5)
    show("routers", 10, 0.6)  # too soon
    show("routers", 40, 0.7)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "routers: 50/100 steps, 30 s, 30 s left, best value 0.5000",
        "routers: 100/100 steps, 60 s, 0 s left, best value 0.7000",
    ]


def test_restored_steps_are_done_and_cost_no_time(capsys, monkeypatch):
    clock = iter([0.0, 20.0])
    monkeypatch.setattr(watching.time, "perf_counter", lambda: next(clock))
    show = watching.progress(100)
    show("routers", 10, 0.5, restored=50)  # 20 s for 10 steps: 80 s for the 40 left
    assert capsys.readouterr().err == "routers: 60/100 steps, 20 s, 80 s left, best value 0.5000\n"


@pytest.mark.study
def test_the_table_and_the_record(undisturbed):
    text, out = undisturbed
    results = torture.table(out)
    dropped = results[results["metric"] == "dropped_at"]["value"].value_counts().to_dict()
    assert dropped == {50.0: 4, 100.0: 2, -1.0: 2}
    assert "4 routers dropped after step 50" in text
    best = sweep_table.best_settings(results)
    assert list(best["cost_weight"]) == [0.0, 1.0]
    survivors = results[(results["split"] == "test") & (results["metric"] == "regret")]
    assert len(survivors) == 2
    assert (survivors["value"] >= 0).all()
    (path,) = out.glob("*/*/metrics.jsonl")
    chunks = [json.loads(line) for line in path.read_text().splitlines() if '"chunk"' in line]
    assert [c["step"] for c in chunks] == list(range(5, 151, 5))


@pytest.mark.study
def test_killed_at_random_moments_the_table_is_the_same(tmp_path):
    counts = torture.torture(3, tmp_path, say=False)
    assert counts["kills"] == 3


def interrupted(config_path, out):
    """Ctrl-C after the first chunk."""
    words = torture.command(config_path, out)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not any(out.glob("*/*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 130, text
    return text


def steps_of(out):
    (path,) = out.glob("*/*/metrics.jsonl")
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


@pytest.mark.study
def test_ctrl_c_saves_and_exits_cleanly(config_path, undisturbed, tmp_path):
    text = interrupted(config_path, tmp_path)
    assert "the same command continues from there" in text
    assert "Traceback" not in text
    done = subprocess.run(torture.command(config_path, tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(torture.table(tmp_path), torture.table(undisturbed[1]), check_exact=True)
    assert steps_of(tmp_path) == [*range(5, 151, 5), 150]  # no chunk was trained twice


@pytest.mark.study
def test_a_full_disk_is_said_and_the_sweep_goes_on_after(config_path, undisturbed, tmp_path):
    """A limit on file size stands for the full disk, met by a sweep that has a checkpoint already."""

    def limited(size):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    def saved():
        """The newest checkpoint's step, and the bytes of its files."""
        newest = max((path for path in tmp_path.glob("*/*/checkpoints/*/*") if path.name.isdigit()), key=step)
        return step(newest), {path: path.read_bytes() for path in newest.rglob("*") if path.is_file()}

    def step(path):
        return int(path.name)

    interrupted(config_path, tmp_path)
    before, files = saved()
    assert steps_of(tmp_path) == [*range(5, before + 1, 5)]
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(
        torture.command(config_path, tmp_path),
        capture_output=True, text=True, preexec_fn=limited(16_000), env=environment,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "could not be written" in done.stderr
    assert "free some space and run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert saved() == (before, files)
    met = len(steps_of(tmp_path))
    done = subprocess.run(torture.command(config_path, tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "damaged" not in done.stdout
    assert steps_of(tmp_path)[met:] == [*range(before + 5, 151, 5), 150]  # no chunk that was saved is trained again
    pd.testing.assert_frame_equal(torture.table(tmp_path), torture.table(undisturbed[1]), check_exact=True)


@pytest.mark.study
def test_methods_and_depths_go_on_where_they_were(config_path, tmp_path, monkeypatch):
    """Stopped in the second of four cells: the first is not trained again, the second goes on from its checkpoint."""
    config = axes_of(
        config_path, methods=("rm_softmax_entropic", "rm_softmax_entropic_full"), hidden=((8,), ()), rungs=(20,)
    )
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, steps=30))
    undisturbed = command.run(config, tmp_path / "undisturbed")
    assert len(pd.read_parquet(undisturbed / "results.parquet")) == 4 * (2 * 8 + 2 * 4)
    stop_at, log_line, told = "rm_softmax_entropic-linear", storage.log_line, []

    def stop(folder, **fields):
        log_line(folder, **fields)
        if fields["cell"] == stop_at and fields["step"] == 15:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(storage, "log_line", stop)
    with pytest.raises(KeyboardInterrupt):
        command.run(config, tmp_path / "stopped")
    monkeypatch.undo()
    monkeypatch.setattr(watching, "progress", lambda total: lambda *words, **more: told.append((total, words, more)))
    folder = command.run(config, tmp_path / "stopped")
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "results.parquet"), pd.read_parquet(undisturbed / "results.parquet"), check_exact=True
    )
    chunks = pd.read_json(folder / "metrics.jsonl", lines=True).query("event == 'chunk'")
    assert chunks.groupby("cell")["step"].agg(list).tolist() == 4 * [[5, 10, 15, 20, 25, 30]]
    total, (_, steps, _), restored = told[0]
    assert (total, steps, restored) == (3 * 30, 5, {"restored": 15})
    assert sum(steps for _, (_, steps, _), _ in told) == 3 * 30 - 15
    routers, same = (
        {str(p.relative_to(x)): p.read_bytes() for p in (x / "routers").rglob("*.*")} for x in (folder, undisturbed)
    )
    assert len(routers) == 4 * config.seeds * len(FILES)  # methods and depths, seeds
    assert routers == same


def test_every_part_is_in_one_shard(config_path, tmp_path):
    config = axes_of(config_path, methods=("rm_softmax_entropic", "rm_softmax"), hidden=((8,), ()))
    parts = shards.parts_of(config, [command.method_of(name) for name in config.axes.methods])
    assert len({part.name for part in parts}) == len(parts) == 2 * 2 * 2
    points = command.settings_of(config)
    assert {part.points(points).learning_rate.shape for part in parts} == {(1, 4)}
    divided = [part for i in range(1, 4) for part in shards.shard_of(parts, f"{i}/3")]
    assert sorted(part.name for part in divided) == sorted(part.name for part in parts)
    for wrong, why in (("0/3", "with I from 1 to N"), ("4/3", "with I from"), ("1", "with I"), ("1/9", "has 8 parts")):
        with pytest.raises(InputError, match=why):
            command.run(config, tmp_path, shard=wrong)
    with pytest.raises(InputError, match=r"block=None.* give a number"):
        command.run(axes_of(config_path, block=None), tmp_path, shard="1/2")


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.study
def test_a_sweep_of_shards_is_the_undivided_one_to_the_bit(config_path, tmp_path, capsys):
    """Rungs, two methods, two seeds, cost weights that do not ascend; three shards, one after the other."""
    config = axes_of(config_path, methods=("rm_softmax_entropic", "rm_softmax_entropic_full"), rungs=(20,))
    config = dataclasses.replace(
        config, seeds=2, cost_weights=(1.0, 0.0, 0.5), training=dataclasses.replace(config.training, steps=30)
    )
    undivided = command.run(config, tmp_path / "undivided")
    for shard in ("1/3", "3/3"):
        command.run(config, tmp_path / "shards", shard=shard)
    with pytest.raises(InputError, match=r"2 of the sweep's 6 parts are not there: rm_softmax_entropic-8-at-0, "):
        command.run(config, tmp_path / "shards", merge=True)
    command.run(config, tmp_path / "shards", shard="2/3")
    capsys.readouterr()
    merged = command.run(config, tmp_path / "shards", merge=True)
    assert "48 routers; best setting per cost weight" in capsys.readouterr().out
    assert not (merged / "metrics.jsonl").exists()  # nothing was trained
    one, other = (pd.read_parquet(folder / "results.parquet") for folder in (merged, undivided))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert files_of(merged / "routers") == files_of(undivided / "routers")
    assert len(files_of(merged / "routers")) == 2 * 2 * len(FILES)


@pytest.mark.study
def test_the_smoke_run(tmp_path, capsys):
    assert command.main(["--config", "sweep", "--smoke", "--fresh", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "48 routers; best setting per cost weight" in text
    best = sweep_table.best_settings(torture.table(tmp_path))
    assert list(best["cost_weight"]) == [0.0, 0.5, 2.0]

    data = prepare(configs.load("sweep", smoke=True))
    regret = np.zeros((2, 3))  # the table's, from its routers
    for s in range(2):
        (path,) = tmp_path.glob(f"*/*/routers/*/seed-{s}")
        router, test = Router.load(path), data.table.rows(data.rows[s].test)
        assert router.models == data.table.models
        for l, weight in enumerate((0.0, 0.5, 2.0)):
            index = router.route(test.features, normalised_cost_weight=weight).index
            utility = test.outcomes.quality - weight * test.outcomes.cost
            regret[s, l] = np.mean(utility.max(1) - utility[np.arange(len(test)), index])
    np.testing.assert_allclose(regret.mean(0), best["test regret"], atol=1e-6)


@pytest.mark.study
def test_a_profile_is_of_the_second_chunk(tmp_path):
    step = jax.jit(lambda x: x @ x)
    with watching.profiled(tmp_path, True) as tick:
        step(jnp.ones((64, 64))).block_until_ready()
        tick()
        assert not list(tmp_path.rglob("*.xplane.pb"))
        step(jnp.ones((64, 64))).block_until_ready()
        tick()
        (trace,) = tmp_path.rglob("*.xplane.pb")
        tick()
    assert b"jit__lambda" in trace.read_bytes()
    with watching.profiled(tmp_path / "unasked", False) as tick:
        tick()
        tick()
    assert not (tmp_path / "unasked").exists()
