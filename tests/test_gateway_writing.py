"""The gateway's log: whole lines of several writers, full disks, files that are moved away or turned over."""

import gzip
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from jaxroute.data import logs, records
from jaxroute.data.logs import describing
from jaxroute.gateway import Choice, LogWriter, read_tail, rows
from jaxroute.gateway.compacting import compact
from jaxroute.gateway.feedback import ratings
from jaxroute.gateway.requests import Request
from jaxroute.types import InputError


def test_many_threads_write_whole_lines_that_fit_reads(tmp_path):
    file = tmp_path / "logs" / "log.jsonl"
    writer = LogWriter(file)

    def write(thread):
        for i in range(100):
            writer.write(
                request_id=f"{thread}-{i}", prompt="é" * 3000, model="ab"[i % 2], quality=None, cost=0.1,
                propensity=0.5, available=["a", "b"], timestamp=1.0 + i,
            )  # fmt: skip

    threads = [threading.Thread(target=write, args=(t,)) for t in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    log = logs.load(file)
    assert len(log) == 800
    assert len(set(log.request_id)) == 800
    assert log.counts["missing quality"] == 800


def test_half_a_line_of_a_killed_process_costs_that_row_alone(tmp_path):
    file = tmp_path / "log.jsonl"
    LogWriter(file).write(prompt="p", model="a", quality=1.0, cost=0.1)
    with file.open("ab") as f:
        f.write(b'{"prompt": "q", "mod')
    LogWriter(file).write(prompt="r", model="b", quality=0.0, cost=0.1)
    assert len(file.read_bytes().splitlines()) == 3
    with pytest.raises(InputError, match="row 1"):
        logs.load(file)
    assert len(logs.load(file, drop_bad=True)) == 2


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
soft = 1000
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, 3000))
from jaxroute.gateway.writing import LogWriter
writer = LogWriter(sys.argv[1])
print(sum(not writer.write(prompt="x" * 70, model="a") for i in range(20)), writer.lost, writer.healthy)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
print(writer.write(model="b"), writer.healthy)
"""


def test_a_full_disk_takes_no_half_row_and_is_said_in_one_line_and_so_is_its_end(tmp_path):
    """In a process of its own, whose files may grow to 1,000 bytes at first."""
    file = tmp_path / "log.jsonl"
    done = subprocess.run([sys.executable, "-c", FULL, str(file)], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    lost = 21 - len(rows)
    assert 0 < lost < 20
    assert done.stdout.split() == [str(lost), str(lost), "False", "True", "True"]
    first, last = done.stderr.splitlines()
    assert "1 row(s) lost so far" in first
    assert f"rows are written again; {lost} were lost" in last


@pytest.mark.parametrize("folder_too", [False, True])
def test_a_log_that_is_moved_away_is_begun_anew_and_this_is_said_once(tmp_path, caplog, folder_too):
    file = tmp_path / "logs" / "log.jsonl"
    writer = LogWriter(file)
    writer.write(model="a")
    moved = file.parent if folder_too else file
    moved.rename(tmp_path / "elsewhere")
    for name in "bcd":
        assert writer.write(model=name)
    assert [row["model"] for row in read_tail(file)] == ["b", "c", "d"]
    assert caplog.text.count("moved or removed") == 1


def test_a_log_that_cannot_be_opened_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"log .*file/log.jsonl: .*; name a file that this process may write"):
        LogWriter(tmp_path / "file" / "log.jsonl")


MANY = """
import sys
from jaxroute.gateway.writing import LogWriter
writer = LogWriter(sys.argv[1], megabytes=0.02)
for i in range(200):
    writer.write(request_id=f"{sys.argv[2]}-{i}", prompt="p" * 200, model="ab"[i % 2], cost=0.1, quality=None)
"""


def test_several_processes_turn_one_log_over_and_no_row_is_lost(tmp_path, caplog):
    file = tmp_path / "log.jsonl"
    started = [subprocess.Popen([sys.executable, "-c", MANY, str(file), str(k)]) for k in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    log = logs.load(tmp_path)
    assert len(log) == len(set(log.request_id)) == 400
    assert len(list(tmp_path.glob("log-*"))) >= 4
    assert all(part.stat().st_size <= 20_000 for part in tmp_path.glob("log*.jsonl"))


def test_a_new_day_turns_the_log_over_and_packs_it(tmp_path):
    file = tmp_path / "log.jsonl"
    writer = LogWriter(file, daily=True)
    writer.write(model="yesterday")
    os.utime(file, (time.time() - 86400,) * 2)
    writer.write(model="today")
    deadline = time.time() + 5
    while not (packed := list(tmp_path.glob("log-*.jsonl.gz"))) and time.time() < deadline:
        time.sleep(0.01)
    with gzip.open(packed[0], "rt") as old:
        assert json.loads(old.read())["model"] == "yesterday"
    assert [row["model"] for row in read_tail(file)] == ["today"]


def test_numbers_that_are_not_finite_are_null_and_arrays_lists(tmp_path):
    writer = LogWriter(tmp_path / "log.jsonl", sync=True)
    writer.write(cost=float("nan"), features=np.float32([0.5, np.inf]), count=np.int64(3), nested={"x": (1.0, None)})
    assert read_tail(tmp_path / "log.jsonl") == [
        {"cost": None, "features": [0.5, None], "count": 3, "nested": {"x": [1.0, None]}}
    ]
    writer.close()


def test_a_folder_that_changes_while_it_is_compacted_is_refused(tmp_path, monkeypatch):
    for name in ("log-1.jsonl", "log-2.jsonl"):
        (tmp_path / name).write_text('{"prompt": "one", "model": "a"}\n')
    read = records.read

    def turned_over(file):
        yield from read(file)
        if file.name == "log-1.jsonl":
            file.rename(tmp_path / "log-3.jsonl")

    monkeypatch.setattr(records, "read", turned_over)
    with pytest.raises(InputError, match="run this again"):
        compact(tmp_path, tmp_path.parent / "all.parquet")
    assert not (tmp_path.parent / "all.parquet").exists()


def test_a_compacted_log_reads_as_the_log_itself(tmp_path):
    rng = np.random.default_rng(0)
    choice = [Choice("ab"[i % 2], 0.5, ("a", "b"), "router", rng.random(3)) for i in range(30)]
    writer = LogWriter(tmp_path / "logs" / "log.jsonl", megabytes=0.005)
    for i, one in enumerate(choice):
        request = Request(f"call-{i}", one, f"prompt {i}", "chat", 1e9 + i, group="u", facts={"epsilon": 0.1})
        status = "failed" if i == 3 else "answered"
        model = None if i == 3 else "b" if i == 4 else one.model
        writer.write(**rows.row(request, status, texts=i % 2 == 0, model=model, answer={"cost": 0.1}))
    writer.close()
    with (tmp_path / "logs" / "log.jsonl").open("a") as file:
        file.write('{"half": ')
    written = compact(tmp_path / "logs", tmp_path / "all.parquet")
    assert written == (30, 1, 0)
    before, after = logs.load(tmp_path / "logs", drop_bad=True), logs.load(tmp_path / "all.parquet", drop_bad=True)
    assert len(before) == len(after) > 0
    assert before.left_out["failed requests"] == after.left_out["failed requests"] == {"b": 1}
    for name in ("action", "cost", "propensity", "available", "timestamp", "features", "request_id"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    with pytest.raises(InputError, match="exists"):
        compact(tmp_path / "logs", tmp_path / "all.parquet")


def test_what_the_gateway_may_write_spoils_no_log(tmp_path):
    """LiteLLM's fallback may be a model that models.yaml lacks, and a prompt white space: fit refused the whole log."""
    writer = LogWriter(tmp_path / "log" / "requests.jsonl")
    for i in range(6):
        text, answered = ("hi" if i else " \n", "outside" if i == 1 else "large" if i == 2 else "small")
        one = Request(str(i), Choice("small", 0.5, ("small", "large"), "router"), text, "chat", 0.0)
        writer.write(**rows.row(one, "answered", texts=True, model=answered, answer={"cost": 0.1}))
    writer.close()
    compact(tmp_path / "log", tmp_path / "log.parquet")
    for log in (logs.load(tmp_path / "log"), logs.load(tmp_path / "log.parquet")):
        assert log.request_id.tolist() == ["2", "3", "4", "5"]
        assert (log.models, np.isnan(log.propensity).tolist()) == (("large", "small"), [True, False, False, False])
        assert log.counts["answers of a fallback that was no candidate"] == 1
        assert log.counts["prompts that were not recorded"] == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"request_id": " "}, "request_id must be"),
        ({"timestamp": 1e30}, "timestamp is 1e[+]30"),
        ({"timestamp": 10**400}, "timestamp is 1000"),
        ({"timestamp": True}, "timestamp is True"),
        ({"quality": 10**400}, "quality is 1000"),
        ({"quality": float("nan")}, "quality is nan"),
        ({"quality": "0.5"}, "quality is '0.5'"),
    ],
)
def test_a_rating_that_fit_cannot_read_is_refused_when_it_comes(changes, says):
    """One of them among thousands, and fit --feedback refused the file."""
    with pytest.raises(InputError, match=says):
        ratings({"request_id": "0", "quality": 1} | changes)


def test_ratings_within_the_folder_of_the_log_are_no_requests(tmp_path):
    """As by default: the folder could not be read, and a compacted one had them as requests, so no rating joined."""
    writer = LogWriter(tmp_path / "logs" / "requests.jsonl")
    for i in range(4):
        one = Request(f"call-{i}", Choice("ab"[i % 2], 0.5, ("a", "b"), "router"), f"prompt {i}", "chat", 1e9 + i)
        writer.write(**rows.row(one, "answered", texts=True, model="ab"[i % 2], answer={"cost": 0.1}))
    writer.close()
    ratings = LogWriter(tmp_path / "logs" / "feedback" / "feedback.jsonl")
    for i in range(4):
        ratings.write(request_id=f"call-{i}", quality=i / 4, timestamp=1e9 + i)
    ratings.close()
    assert describing.propose(tmp_path / "logs").title == "jaxroute's gateway"  # f comes before r
    assert compact(tmp_path / "logs", tmp_path / "all.parquet") == (4, 0, 1)
    for source in ("logs", "all.parquet"):
        for given in ("logs/feedback", "logs/feedback/feedback.jsonl"):
            log = logs.load(tmp_path / source, feedback=tmp_path / given)
            assert log.quality.tolist() == [0, 0.25, 0.5, 0.75]
    with pytest.raises(
        InputError, match=r"feedback\.jsonl: holds ratings of answers and no requests; give it with feed"
    ):
        logs.load(tmp_path / "logs")
