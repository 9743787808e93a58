"""Checkpoints: what is kept, what is written beside the arrays, and what happens when a file is hurt."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_problem import assert_same_bits

from jaxroute import sweep
from jaxroute.engine import checkpoint
from jaxroute.types import TrainState


def state_of(step):
    kernel = jnp.asarray(np.random.default_rng(step).normal(size=(8, 16)), jnp.float32)
    params = {"params": {"kernel": kernel, "bias": jnp.arange(8.0)}}
    return TrainState(params, {"mu": 2 * kernel}, jnp.full(8, step, jnp.int32), params, jnp.full(8, step / 10.0))


def write(folder, steps, **settings):
    checkpoints = checkpoint.open_folder(folder)
    for step in steps:
        checkpoint.save(checkpoints, step, state_of(step), **settings)
    checkpoint.close(checkpoints)


def read(folder, template=None, **settings):
    checkpoints = checkpoint.open_folder(folder)
    try:
        return checkpoint.restore(checkpoints, state_of(0) if template is None else template, **settings)
    finally:
        checkpoint.close(checkpoints)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "run"
    write(folder, (10, 20), value=0.5)
    return folder


def test_the_newest_comes_back(written):
    step, state = read(written)
    assert step == 20
    assert_same_bits(state, state_of(20))


def test_the_last_and_the_best_are_kept(tmp_path):
    checkpoints = checkpoint.open_folder(tmp_path / "run")
    for step, value in ((1, 0.2), (2, 0.9), (3, 0.1), (4, 0.3), (5, 0.4)):
        checkpoint.save(checkpoints, step, state_of(step), value=value)
    checkpoint.close(checkpoints)
    assert sorted(int(p.name) for p in (tmp_path / "run").iterdir() if p.name.isdigit()) == [2, 4, 5]
    assert read(tmp_path / "run")[0] == 5
    step, state = read(tmp_path / "run", best=True)
    assert step == 2
    assert_same_bits(state, state_of(2))


def test_a_value_that_is_no_number_is_not_the_best(tmp_path):
    """Orbax sorts NaN last, and takes the last for the best (findings/orbax-a-nan-deletes-the-best-checkpoint.sh)."""
    checkpoints = checkpoint.open_folder(tmp_path / "run", keep=1)
    for step, value in ((1, 0.9), (2, np.nan), (3, 0.1), (4, 0.2)):
        checkpoint.save(checkpoints, step, state_of(step), value=value)
    checkpoint.close(checkpoints)
    assert sorted(int(p.name) for p in (tmp_path / "run").iterdir() if p.name.isdigit()) == [1, 4]
    assert read(tmp_path / "run", best=True)[0] == 1


def test_a_damaged_best_gives_way_to_the_next_best(tmp_path, capsys):
    folder = tmp_path / "run"
    checkpoints = checkpoint.open_folder(folder, keep=4)
    for step, value in ((1, 0.2), (2, 0.9), (3, 0.3), (4, 0.3)):
        checkpoint.save(checkpoints, step, state_of(step), value=value)
    checkpoint.close(checkpoints)
    for path in (folder / "2" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert read(folder, best=True)[0] == 4
    assert "the next best is used" in capsys.readouterr().out


def test_versions_and_the_callers_words_are_inside(tmp_path):
    write(tmp_path / "run", (1,), about={"config": {"seeds": 3, "rungs": (1, 2)}})
    checkpoints = checkpoint.open_folder(tmp_path / "run")
    words = checkpoint.about(checkpoints, 1)
    checkpoint.close(checkpoints)
    assert words["config"] == {"seeds": 3, "rungs": [1, 2]}
    assert words["packages"]["jax"] == jax.__version__


def files_of(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


def test_a_flipped_byte_is_found_or_did_no_harm(written, tmp_path, capsys):
    """In whichever file of the newest checkpoint: never a wrong state, and the one with the arrays is always caught."""
    found = {}
    for name in files_of(written / "20"):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(written, folder)
        path = folder / "20" / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x10
        path.write_bytes(bytes(data))
        step, state = read(folder)
        assert_same_bits(state, state_of(step))
        found[len(data)] = step
        assert ("checkpoint 20" in capsys.readouterr().out) == (step == 10)
    assert found[max(found)] == 10  # the largest file holds the arrays


def test_a_deleted_file_is_found_or_did_no_harm(written, tmp_path, capsys):
    steps = []
    for name in files_of(written / "20"):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(written, folder)
        (folder / "20" / name).unlink()
        step, state = read(folder)
        assert_same_bits(state, state_of(step))
        steps.append(step)
    assert steps.count(10) >= 2
    assert "the one before it is used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("_CHECKPOINT_METADATA", b"commit_", b"co}mit_"), ("metrics/metrics", b"{", b""), ("metrics/metrics", b"v", b"w")],
)
def test_a_checkpoint_that_cannot_be_listed_closes_no_folder(written, tmp_path, capsys, name, old, new):
    """Orbax itself opens no folder with one of the first two."""
    folder = tmp_path / "run"
    shutil.copytree(written, folder)
    path = folder / "20" / name
    path.write_bytes(path.read_bytes().replace(old, new))
    assert read(folder)[0] == 10
    assert f"checkpoint 20 in {folder} is damaged" in capsys.readouterr().out
    write(folder, (20,), value=0.7)
    assert read(folder)[0] == 20
    assert capsys.readouterr().out == ""


def test_a_state_other_than_the_one_sealed_is_refused(written, tmp_path, monkeypatch, capsys):
    """The digest itself: arrays that read back without any error, but not as they were written."""
    honest = checkpoint.digest
    monkeypatch.setattr(checkpoint, "digest", lambda s, a: honest(s._replace(step=s.step + 1), a))
    assert read(written) is None
    out = capsys.readouterr().out
    twenty, ten = out.splitlines()
    assert "checkpoint 20" in twenty
    assert "differ from those that were written" in twenty
    assert twenty.endswith("the one before it is used")
    assert "checkpoint 10" in ten
    assert ten.endswith("no other is left, so training starts from the beginning")


def test_half_written_is_reported_and_the_one_before_it_is_used(written, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(written, folder)
    os.rename(folder / "20", folder / "20.orbax-checkpoint-tmp")
    step, state = read(folder)
    assert step == 10
    assert_same_bits(state, state_of(10))
    said = f"checkpoint {{}} in {folder} is half-written; {{}}\n"
    assert capsys.readouterr().out == said.format(20, "the one before it is used")
    os.rename(folder / "10", folder / "10.orbax-checkpoint-tmp")
    assert read(folder) is None
    assert capsys.readouterr().out == said.format(10, "no other is left, so training starts from the beginning")


def test_a_save_that_is_killed_leaves_what_is_looked_for(tmp_path, capsys):
    """Orbax's own name of what is not all there yet: a process ends while it writes."""
    code = (
        "import os, sys, jax.numpy as jnp\n"
        "from orbax.checkpoint._src.path import atomicity\n"
        "from jaxroute.engine import checkpoint\n"
        "opened = checkpoint.open_folder(sys.argv[1])\n"
        "atomicity.AtomicRenameTemporaryPath.finalize = lambda *_, **__: os._exit(0)\n"
        "checkpoint.save(opened, 30, jnp.zeros(4))\n"
        "checkpoint.close(opened)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert read(tmp_path, jnp.zeros(4)) is None
    assert f"checkpoint 30 in {tmp_path} is half-written" in capsys.readouterr().out


def test_a_state_donated_after_save_is_written_as_it_was(tmp_path):
    checkpoints = checkpoint.open_folder(tmp_path / "run")
    state = jax.tree.map(jnp.copy, state_of(3))  # no buffer twice
    checkpoint.save(checkpoints, 3, state)
    jax.block_until_ready(jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)(state))
    checkpoint.close(checkpoints)
    assert_same_bits(read(tmp_path / "run")[1], state_of(3))


def test_what_eight_devices_wrote_loads_on_one(tmp_path):
    """A process with one device reads what this one, with eight, wrote spread over them."""
    mesh = sweep.mesh()
    assert mesh.size == 8
    checkpoints = checkpoint.open_folder(tmp_path / "run")
    checkpoint.save(checkpoints, 7, sweep.place(jnp.arange(16.0).reshape(8, 2), mesh))
    checkpoint.close(checkpoints)
    code = (
        "import sys, jax, jax.numpy as jnp\n"
        "from jaxroute.engine import checkpoint\n"
        "assert len(jax.devices()) == 1\n"
        "opened = checkpoint.open_folder(sys.argv[1])\n"
        "step, x = checkpoint.restore(opened, jnp.zeros((8, 2)))\n"
        "checkpoint.close(opened)\n"
        "assert step == 7 and (x == jnp.arange(16.0).reshape(8, 2)).all(), x\n"
    )
    clean = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=True, env=clean)


def test_threads_save_and_read_beside_one_another(tmp_path):
    """Orbax numbers its operations for the whole process; each thread has folders of its own here."""

    def saves_and_reads(thread):
        for turn in range(10):
            folder = tmp_path / f"{thread}-{turn}"
            write(folder, (1, 2, 3))
            step, state = read(folder)
            assert step == 3
            assert_same_bits(state, state_of(3))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(saves_and_reads, range(2))) == [None, None]


def test_a_save_that_failed_holds_up_no_other_folder(tmp_path, monkeypatch):
    """Whether it fails at once or while it is being written."""

    class Writing:
        def result(self):
            raise OSError("no space left")

    def fails(*_, **__):
        raise OSError("no space left")

    full = checkpoint.open_folder(tmp_path / "full")
    with monkeypatch.context() as patch:
        patch.setattr(type(full), "save_async", lambda *_, **__: Writing())
        checkpoint.save(full, 1, state_of(1))
        patch.setattr(type(full), "save_async", fails)
        with pytest.raises(checkpoint.SaveError, match=r"full: a checkpoint could not be written \(no space left\)"):
            checkpoint.save(full, 2, state_of(2))
    write(tmp_path / "other", (1,))
    assert read(tmp_path / "other")[0] == 1
