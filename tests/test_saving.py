"""What is written takes its place whole or not at all, and a disk that refuses is one clear line."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import router_kinds

from jaxroute import __main__ as program
from jaxroute import cli
from jaxroute.data import hub, saving
from jaxroute.serving.router import Router
from jaxroute.system import stopping
from jaxroute.types import InputError

OWNED = ("mark.json", "data")
REPO = Path(__file__).parent.parent


def fill(place, word):
    with saving.folder(place, OWNED) as folder:
        (folder / "mark.json").write_text(word)
        (folder / "data").write_text(word)


@contextmanager
def full_disk(most=512):
    """No file of this process may grow beyond so many bytes: the kernel's own refusal, in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_the_exchange_is_one_step_and_leaves_nothing_behind(tmp_path, monkeypatch):
    place = tmp_path / "router"
    fill(place, "old")
    if sys.platform == "linux":  # no second rename: at no time is there nothing at the place

        def never(*_):
            raise AssertionError("two renames")

        monkeypatch.setattr(os, "replace", never)
    fill(place, "new")
    assert {file.name: file.read_text() for file in place.iterdir()} == {"mark.json": "new", "data": "new"}
    assert list(tmp_path.iterdir()) == [place]


def test_where_the_system_cannot_exchange_the_old_one_comes_back_if_the_new_one_cannot_be_placed(tmp_path, monkeypatch):
    place = tmp_path / "router"
    fill(place, "old")
    monkeypatch.setattr(saving.sys, "platform", "another")
    fill(place, "new")
    assert (place / "mark.json").read_text() == "new"
    replace = os.replace

    def failing(old, new):
        if Path(new) == place and Path(old).name != "old":
            raise OSError(errno.EIO, "Input/output error")
        replace(old, new)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(InputError, match="Input/output error"):
        fill(place, "newer")
    assert (place / "mark.json").read_text() == "new"


def test_a_note_stays_and_a_link_stays_a_link(tmp_path):
    place, link = tmp_path / "router", tmp_path / "link"
    fill(place, "old")
    (place / "note.txt").write_text("mine")
    (place / "plots").mkdir()
    (place / "plots" / "a.png").write_text("mine too")
    link.symlink_to(place)
    fill(link, "new")
    assert link.is_symlink()
    assert (place / "mark.json").read_text() == "new"
    assert (place / "note.txt").read_text() == "mine"
    assert (place / "plots" / "a.png").read_text() == "mine too"
    with saving.file(tmp_path / "real.txt") as file:
        file.write(b"old")
    (tmp_path / "other.txt").symlink_to(tmp_path / "real.txt")
    with saving.file(tmp_path / "other.txt") as file:
        file.write(b"new")
    assert (tmp_path / "other.txt").is_symlink()
    assert (tmp_path / "real.txt").read_bytes() == b"new"


def test_places_that_will_not_do_are_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for place, message in {
        tmp_path / "file": "exists and is no folder",
        tmp_path / "full": "exists and holds no mark.json",
        tmp_path / "file" / "router": "cannot be written|is no folder",
        Path("/proc"): "is a mounted volume",
    }.items():
        with pytest.raises(InputError, match=message):
            saving.check_folder(place, OWNED)
    for place, message in {tmp_path / "full": "is a folder", Path("/dev/null"): "is a folder or a device"}.items():
        with pytest.raises(InputError, match=message):
            saving.check_file(place)


def test_what_killed_saves_left_goes_and_what_runs_stays(tmp_path):
    place = tmp_path / "router"
    code = (
        "import sys, time; from pathlib import Path; from jaxroute.data import saving\n"
        f"with saving.folder(Path({str(place)!r}), ('mark.json',)) as folder:\n"
        "    (folder / 'mark.json').touch(); print('ready', flush=True); time.sleep(60)"
    )
    saves = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=REPO) for _ in range(2)]
    try:
        assert all(save.stdout.readline() for save in saves)
        assert len(list(tmp_path.iterdir())) == 2
        saves[0].kill()
        saves[0].wait()
        fill(place, "whole")
        assert len(list(tmp_path.iterdir())) == 2  # the result, and the scratch of the save that still runs
    finally:
        for save in saves:
            save.kill()
            save.wait()
            save.stdout.close()
    fill(place, "again")
    assert list(tmp_path.iterdir()) == [place]


def test_saves_at_the_same_place_do_not_take_each_others_scratch(tmp_path):
    def save(word):
        for _ in range(40):
            fill(tmp_path / "router", word)
            with saving.file(tmp_path / "file") as content:
                content.write(word.encode())

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(save, "abcdef"))
    assert {p.name for p in tmp_path.iterdir()} == {"router", "file"}
    assert (tmp_path / "router" / "data").read_text() in set("abcdef")


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(a) for a in arguments])
    return exit_.value.code or 0, capsys.readouterr().err


def test_a_full_disk_is_one_line_with_the_old_artefact_in_place(tmp_path, capsys):
    old = router_kinds.router("plug_in", features=8, models=tuple("abcd"))
    old.save(tmp_path / "router")
    features = tmp_path / "features.jsonl"
    features.write_text('{"features": [0, 0, 0, 0, 0, 0, 0, 0]}\n' * 20)
    new = router_kinds.router("plug_in", features=8, models=tuple("efgh"))
    commands = {
        "log.jsonl": ("demo-log", tmp_path / "log.jsonl", "--rows", 50),
        "chosen.jsonl": ("route", tmp_path / "router", "--cost-weight", 1, "--input", features, "--out",
                         tmp_path / "chosen.jsonl"),
    }  # fmt: skip
    for name, command in commands.items():
        assert run(capsys, *command)[0] == 0  # compiled here, or a cut entry would stay in the compilation cache
        (tmp_path / name).write_text("old")
        with full_disk():
            code, said = run(capsys, *command)
        assert code == 2
        assert said.startswith(f"error: {tmp_path / name}")
        assert "cannot be written (File too large)" in said
        assert said.count("\n") == 1
        assert (tmp_path / name).read_text() == "old"
    export = ("export", tmp_path / "router", "--format", "js", "--out", tmp_path / "exported")
    assert run(capsys, *export)[0] == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "exported").iterdir()}
    with full_disk():
        code, said = run(capsys, *export)
    assert (code, said.count("\n")) == (2, 1)
    assert "cannot be written (File too large)" in said
    assert {p.name: p.read_bytes() for p in (tmp_path / "exported").iterdir()} == before
    with full_disk(), pytest.raises(InputError, match="cannot be written"):
        new.save(tmp_path / "router")
    with full_disk(), pytest.raises(InputError, match="cannot be written"):
        hub.keep(pd.DataFrame({"a": np.random.default_rng(0).random(999)}), tmp_path / "kept.parquet")
    assert Router.load(tmp_path / "router").models == tuple("abcd")
    assert {p.name for p in tmp_path.iterdir()} == {"router", "exported", "features.jsonl", *commands}


@pytest.mark.parametrize("parsed", [False, True])
def test_an_interrupt_that_a_library_swallows_is_raised_again(parsed, monkeypatch):
    """As an error in a callback is: printed there, and forgotten; the parser makes an exit of what it sees."""

    def swallows(*_):
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            if parsed:
                raise SystemExit(130) from None
            raise

    ended = []
    monkeypatch.setattr(stopping, "AGAIN", 0.1)
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(cli, "main", swallows)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit):  # where the process does not end, as here
            program.run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [130]
    time.sleep(0.3)  # and not once more


@pytest.mark.slow
def test_a_fit_on_a_full_disk_is_one_line_with_the_old_router_in_place(tmp_path, capsys):
    router = tmp_path / "router"
    assert run(capsys, "demo-log", tmp_path / "log.jsonl", "--rows", 300)[0] == 0
    fit = ("fit", tmp_path / "log.jsonl", "--method", "plug_in_mean", "--out", router)
    assert run(capsys, *fit)[0] == 0  # compiled here, or a cut entry would stay in the compilation cache
    before = {file.name: file.read_bytes() for file in router.iterdir() if file.is_file()}
    with full_disk():
        code, said = run(capsys, *fit)
    assert code == 2
    assert [line for line in said.splitlines() if line.startswith("error: ")] == said.splitlines()[-1:]
    assert f"{router}: cannot be written (File too large)" in said
    assert {file.name: file.read_bytes() for file in router.iterdir() if file.is_file()} == before
    assert {p.name for p in tmp_path.iterdir()} == {"router", "log.jsonl"}
