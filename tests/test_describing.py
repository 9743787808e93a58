"""A log that is described once: what init proposes and writes, and that every command reads it."""

import json

import pytest
import router_kinds
from commands import run

from jaxroute.cli import options, reading
from jaxroute.data.logs import describing
from jaxroute.types import InputError

ROWS = [
    {"id": f"r{i}", "question": f"What is {i}?", "llm": "ab"[i % 2], "meta": {"stars": 1 + i % 5, "note": "x"},
     "prompt_tokens": 10 + i, "completion_tokens": 5, "created_at": f"2026-11-0{1 + i % 9}", "tier": "gold"}
    for i in range(60)
]  # fmt: skip


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "prices.csv").write_text("model,input,output\na,1,2\nb,3,4\n")
    return tmp_path / "log.jsonl"


def test_columns_are_proposed_by_name_and_by_what_they_hold():
    found = describing.propose(ROWS)
    assert found.columns == {
        "prompt": "question", "model": "llm", "quality": "meta.stars", "input_tokens": "prompt_tokens",
        "output_tokens": "completion_tokens", "timestamp": "created_at", "request_id": "id",
    }  # fmt: skip
    assert found.settings == {"quality_range": "1,5", "prices": "default"}
    assert {"tier", "meta.note"} <= set(found.others)
    words = describing.propose([row | {"meta": {"stars": "good"}, "id": "same"} for row in ROWS])
    assert not {"quality", "request_id"} & words.columns.keys()


def test_what_init_writes_every_command_reads(capsys, log, monkeypatch):
    asked = ("--prices", log.parent / "prices.csv", "--context", "tier", "--yes")
    code, out, _ = run(capsys, "init", log, *asked)
    assert code == 0
    assert "other columns: meta.note;" in out  # neither the context column nor what holds a column that is read
    assert "read: 60 rows of a, b" in out
    written = describing.read(log.parent / describing.NAME)
    assert written.columns["quality"] == "meta.stars"
    assert 'prices = "prices.csv"' in (log.parent / describing.NAME).read_text()
    monkeypatch.chdir("/")
    how = options.described(str(log), options.AS_IT_IS)
    table = reading.read(str(log), how)
    assert table.quality[:5].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert table.cost[0] == pytest.approx((10 * 1 + 5 * 2) / 1e6)
    assert table.request_id[3] == "r3"
    own = options.described(str(log), options.How(column=["quality=prompt_tokens"], quality_range="0,100"))
    assert reading.read(str(log), own).quality[1] == pytest.approx(0.11)
    assert "is read as" in capsys.readouterr().err


def test_a_terminal_is_asked_and_may_leave_out(capsys, log, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    said = {"column of quality": "-", "quality range (worst,best)": "0,1", "feedback": "-"}
    monkeypatch.setattr("typer.prompt", lambda name, default: said.get(name, default))
    code, _, err = run(capsys, "init", log)
    assert code == 2
    assert "quality: --column quality=NAME, or --feedback FILE" in err
    assert "quality" not in describing.read(log.parent / describing.NAME).columns


def test_what_is_left_out_is_said_by_kind_and_model(tmp_path, capsys):
    rows = [{"prompt": f"hi {i}", "model": "ab"[i % 2], "quality": 1, "cost": None if i % 3 == 0 else 1}
            for i in range(30)]  # fmt: skip
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    how = options.How(drop_bad=True)
    assert len(reading.read(str(tmp_path / "log.jsonl"), how)) == 20
    assert "note: left out: cost is empty, infinite or negative: 10 (a 5, b 5)\n" in capsys.readouterr().err
    reading.read(str(tmp_path / "log.jsonl"), how, listed=True)
    assert capsys.readouterr().err == ""


def test_of_a_format_that_is_known_init_says_what_is_wrong_alone(capsys, tmp_path):
    """No column can be mapped to the quality of a comparison."""
    rows = [{"model_a": "a", "model_b": "b", "winner": "tie", "prompt": f"hi {i}", "price_a": 1} for i in range(3)]
    (tmp_path / "votes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, _, err = run(capsys, "init", tmp_path / "votes.jsonl")
    assert code == 2
    assert "cost: --column cost=NAME" in err
    assert "quality" not in err
    assert "model:" not in err


def test_missing_columns_are_named_together_with_what_mends_them(capsys, tmp_path):
    (tmp_path / "log.csv").write_text("text,model\nhi,a\nho,b\n")
    code, _, err = run(capsys, "doctor", tmp_path / "log.csv")
    assert code == 2
    assert "columns 'prompt', 'quality', 'cost' are missing" in err
    assert "--column prompt=NAME --column quality=NAME --column cost=NAME" in err
    assert "--feedback FILE" in err
    assert "(--prices)" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [("columns = 3", "columns is 3"), ("qualty_range = '1,5'", "'qualty_range' is not known"), ("[", "as TOML")],
)
def test_a_description_that_says_something_else_is_refused(text, says, tmp_path):
    (tmp_path / describing.NAME).write_text(text)
    with pytest.raises(InputError, match=says):
        options.described(str(tmp_path / "log.csv"), options.AS_IT_IS)


def test_route_takes_from_it_what_the_prompts_are_called(tmp_path, capsys, monkeypatch):
    """A file like the log is routed by its questions, and one with prompts of its own by those."""
    monkeypatch.chdir(tmp_path)
    router_kinds.router("plug_in", features=256, encoder="hashed").save(tmp_path / "router")
    (tmp_path / "jaxroute.toml").write_text('[columns]\nprompt = "body.question"\n')
    asked = [f"What is {i}?" for i in range(6)]
    like_log = [{"prompt": "a template", "body": {"question": text}} for text in asked]
    found = []
    for name, rows in (("like_log", like_log), ("plain", [{"prompt": text} for text in asked])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        code, out, err = run(capsys, "route", "router", "--cost-weight", "0", "--input", f"{name}.jsonl")
        assert code == 0
        assert "prompt is the column body.question where there is one" in err
        found.append(out)
    assert found[0] == found[1]
    assert len(set(found[0].splitlines())) == 6
