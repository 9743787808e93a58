"""Spend logs in a real PostgreSQL server, in the tables that LiteLLM's own migrations make.

The server is started on the loopback interface, as the user of Debian's package where the tests run as root, because
PostgreSQL refuses to run as root.
"""

import importlib.resources
import json
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import ports
import pytest

from jaxroute.data import logs, postgres, records
from jaxroute.types import InputError

psycopg = pytest.importorskip("psycopg")
extras = pytest.importorskip("litellm_proxy_extras")
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("initdb") or "/none/initdb").parent]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BINARIES[-1] / "initdb").exists(), reason="PostgreSQL is not installed"),
]
ROWS = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "logs" / "litellm-1.108.7_spend.jsonl").read_text().splitlines()
]
JSON = ("metadata", "messages", "proxy_server_request")
SECRET = "not-for-eyes"


def changed(number, **changes):
    return ROWS[number] | {"request_id": f"made-{len(changes)}-{number}", "litellm_call_id": None} | changes


MORE = [
    changed(1, status="failure", spend=0.0),
    changed(1, cache_hit="True"),
    changed(2, spend=0.0, model_group="free", model_id="other", session_id=None),
    changed(2, proxy_server_request="{}", end_user=None, session_id=None),
]


@pytest.fixture(scope="module")
def server():
    """(url without password, superuser's connection) of a server with LiteLLM's tables and its rows."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    owner = {}
    if os.geteuid() == 0:
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        owner = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    port = ports.free()

    def command(name, *arguments):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        subprocess.run([BINARIES[-1] / name, *arguments], check=True, timeout=60, **quiet, **owner)

    (folder / "password").write_text(SECRET)
    (folder / "password").chmod(0o644)
    command("initdb", "-D", folder / "data", "-U", "reader", "--auth=scram-sha-256", "--no-sync",
            f"--pwfile={folder / 'password'}")  # fmt: skip
    options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
    command("pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-o", options, "start")
    url = f"postgresql://reader@127.0.0.1:{port}/postgres"
    try:
        with psycopg.connect(url, password=SECRET, autocommit=True) as connection:
            migrations = importlib.resources.files("litellm_proxy_extras") / "migrations"
            for name in sorted(entry.name for entry in migrations.iterdir() if entry.is_dir()):
                connection.execute((migrations / name / "migration.sql").read_text())
            for row in (*ROWS, *MORE):
                names, cells = ", ".join(f'"{name}"' for name in row), ", ".join(["%s"] * len(row))
                connection.execute(f'INSERT INTO "LiteLLM_SpendLogs" ({names}) VALUES ({cells})', [*row.values()])
            yield url, connection
    finally:
        command("pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def password(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", SECRET)


def test_rows_of_the_spend_log(server, tmp_path, monkeypatch):
    """Five real rows, and a failure, an answer from a cache, one without a price, one without a prompt made of them."""
    monkeypatch.setattr(records, "ROWS", 2)
    log = logs.load(server[0], drop_bad=True)
    assert log.prompt.tolist() == [*(f"Plain question number {i}: what is {i} + {i}?" for i in (15, 16, 17)),
                                   "Responses via the proxy", "Responses streamed via the proxy"]  # fmt: skip
    assert [log.models[k] for k in log.action] == ["smart", "fast", "smart", "smart", "smart"]
    assert log.cost.tolist() == [row["spend"] for row in ROWS]
    assert log.request_id.tolist() == [row["request_id"] for row in ROWS]
    np.testing.assert_allclose(log.timestamp, [pd.Timestamp(row["startTime"]).timestamp() for row in ROWS], atol=1e-3)
    assert log.left_out == {
        "failed requests": {"fast": 1},
        "answers from a cache": {"fast": 1},
        "prompts that were not recorded": {"smart": 1},
        "cost is 0 though tokens were used, so unknown": {"free": 1},
    }
    frame = pd.DataFrame([*ROWS, *MORE])
    frame.to_csv(tmp_path / "spend.csv", index=False)
    frame.to_parquet(tmp_path / "spend.parquet")
    (tmp_path / "spend.jsonl").write_text("\n".join(map(json.dumps, [*ROWS, *MORE])))
    for kind in ("csv", "parquet", "jsonl"):
        other = logs.load(tmp_path / f"spend.{kind}", drop_bad=True)
        for field in ("prompt", "action", "cost", "request_id", "group"):
            np.testing.assert_array_equal(getattr(other, field), getattr(log, field))
        assert other.left_out == log.left_out


def test_a_table_of_our_own_in_another_schema(server):
    url, connection = server
    connection.execute(
        "CREATE SCHEMA ours; CREATE TABLE ours.requests (prompt text, model text, quality real, cost real)"
    )
    connection.execute("INSERT INTO ours.requests VALUES ('hi', 'small', 1, 0.5), ('ho', 'large', NULL, 0.25)")
    log = logs.load(f"{url}?table=ours.requests")
    assert (log.models, log.cost.tolist()) == (("large", "small"), [0.5, 0.25])
    assert np.isnan(log.quality[1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.replace("reader@", "reader:wrong-secret@"), "cannot connect .*check the address, user"),
        (
            lambda url: url.replace("reader@", f"reader:{SECRET}@") + "?table=none.such",
            "table does not exist or may not",
        ),
        (lambda url: url.rpartition(":")[0] + ":1/postgres", "cannot connect .*refused"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(server, change, says):
    with pytest.raises(InputError, match=says) as raised:
        logs.load(change(server[0]))
    assert "secret" not in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_nothing_can_be_written(server):
    [table] = records.sources(server[0])
    hostile = table._replace(names=['request_id" FROM "LiteLLM_SpendLogs"; DELETE FROM "LiteLLM_SpendLogs"; --'])
    with pytest.raises(InputError, match=r"damaged or truncated \(column .* does not exist"):
        list(records.read(hostile))
    with postgres._connected(table.address, table.label) as connection, pytest.raises(psycopg.Error, match="read-only"):
        connection.execute('DELETE FROM "LiteLLM_SpendLogs"')
    assert len(list(records.read(table))[1].row) == len([*ROWS, *MORE])
