"""Compiled programs on disk: a folder for each Python and JAX, found again where it was moved to, of bounded size."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from jaxroute.system import compiled

FOLDER = f"python-{sys.version_info[0]}.{sys.version_info[1]}-jax-{jax.__version__}"


@pytest.fixture
def kept():
    """Compile and run a program, as a new process would, with a folder in use; says how often JAX found it there."""
    environment: dict[str, str] = {}
    compiled.use(Path(), environment)
    before, found = {name.lower(): getattr(jax.config, name.lower()) for name in environment}, []
    jax.monitoring.register_event_listener(lambda event, **_: found.append(event.endswith("/cache_hits")))

    def run(folder):
        found.clear()
        for name, value in (environment | {"JAX_COMPILATION_CACHE_DIR": str(folder)}).items():
            jax.config.update(name.lower(), float(value) if value == "0" else value)
        compilation_cache.reset_cache()
        jax.clear_caches()
        jax.jit(lambda x: jnp.sin(x) + 41)(jnp.ones(3)).block_until_ready()
        return sum(found)

    yield run
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_a_folder_that_was_moved_is_found_again(kept, tmp_path):
    first, second = tmp_path / "first" / "x", tmp_path / "second" / "somewhere else"
    assert kept(first) == 0
    assert list(first.glob("*-cache"))
    second.parent.mkdir()
    shutil.move(first, second)
    assert kept(second) > 0


@pytest.mark.skipif(find_spec("zstandard") or sys.version_info >= (3, 14), reason="JAX then keeps no zlib streams")
def test_what_was_cut_short_is_compiled_once_more_and_kept(kept, tmp_path):
    folder = tmp_path / FOLDER
    kept(folder)
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    assert compiled.mend(tmp_path) == 0
    for number, (path, entry) in enumerate(whole.items()):
        path.write_bytes(entry[: number * len(entry) // 2 // len(whole)])  # the first is empty
    for _ in range(2):  # JAX alone never gets over it
        with pytest.warns(UserWarning, match="Error reading persistent compilation cache entry"):
            assert kept(folder) == 0
    (folder / "jit_other-0-cache").write_bytes(b"\x28\xb5\x2f\xfd of another format")
    assert compiled.mend(tmp_path) == len(whole) > 0
    assert [path.name for path in folder.iterdir()] == ["jit_other-0-cache"]
    assert kept(folder) == 0
    assert kept(folder) > 0
    assert compiled.mend(tmp_path) == 0
    assert whole.keys() < set(folder.iterdir())


def test_only_what_was_written_since_is_read(tmp_path):
    assert compiled.mend(tmp_path / "nowhere") == 0
    (tmp_path / FOLDER).mkdir()
    for age, name in enumerate("cba"):
        (tmp_path / FOLDER / f"{name}-cache").write_bytes(b"")
        os.utime(tmp_path / FOLDER / f"{name}-cache", (1e9 - age,) * 2)
        assert compiled.mend(tmp_path) == (name == "c")  # the later ones are older than what was seen
    (tmp_path / FOLDER / "d-cache").write_bytes(b"")
    os.utime(tmp_path / FOLDER / "d-cache", (1e9 + 1,) * 2)
    assert compiled.mend(tmp_path) == 1


def test_each_python_and_jax_has_a_folder_and_ones_own_is_respected(tmp_path):
    environment = {}
    assert compiled.use(tmp_path, environment)
    assert environment == {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / FOLDER), **compiled.SETTINGS}
    mine = {"JAX_COMPILATION_CACHE_DIR": "mine"}
    assert not compiled.use(tmp_path, mine)
    assert mine == {"JAX_COMPILATION_CACHE_DIR": "mine"}


def test_the_generator_of_code_is_asked_for_only_where_it_exists(monkeypatch, capsys):
    chosen, said = {}, []
    for version in ("0.10.2", "0.11.0", "1.0.10"):
        monkeypatch.setattr(compiled.importlib.metadata, "version", lambda name, version=version: version)
        compiled.quickly(chosen.setdefault(version, {}))
        compiled.main(["--flags"])
        said.append(capsys.readouterr().out.strip())
    assert said == [compiled.OLDER_GENERATOR, "", ""]
    assert chosen == {"0.10.2": {"XLA_FLAGS": compiled.OLDER_GENERATOR}, "0.11.0": {}, "1.0.10": {}}


def test_what_was_used_longest_ago_goes_first(tmp_path):
    for age, name in enumerate(("python-3.13-jax-9/b", f"{FOLDER}/c", f"{FOLDER}/a", "python-3.11-jax-0.1/old")):
        file = tmp_path / f"{name}-cache"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(100))
        os.utime(file, (1e9 - 1e5 * age,) * 2)
    (tmp_path / "log.jsonl-cache").write_bytes(bytes(100))  # none of ours
    assert compiled.bound(tmp_path, 250) == 200
    assert sorted(x.name for x in tmp_path.rglob("*-cache")) == ["b-cache", "c-cache", "log.jsonl-cache"]
    assert compiled.bound(tmp_path, 250) == compiled.bound(tmp_path / "nowhere") == 0


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_uses_the_folder_of_its_python(tmp_path):
    root = Path(__file__).parents[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "MAKE"))}
    show = ["make", "--eval", "show: ; @echo $$JAX_COMPILATION_CACHE_DIR", f"RUN={sys.executable}", "show"]
    told = subprocess.run(show, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout
    assert told.split() == [str(root / ".cache" / "jax" / FOLDER)]
