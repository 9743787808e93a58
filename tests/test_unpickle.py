"""Pickles read by an interpreter that knows data only: frames exactly, everything else refused by name, no call."""

import builtins
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jaxroute.data import pickled, unpickle
from jaxroute.types import InputError

DATA = Path(__file__).parent / "data"
PICKLES = sorted(DATA.glob("wide_pandas*.pkl"))
CASES = int(os.environ.get("FUZZ_CASES", "400"))


def contents(content):
    return unpickle.contents(io.BytesIO(content), "file.pkl")


class Call:
    """Pickles as a call of ``function`` with ``args``, and a state after it."""

    def __init__(self, function, *args, state=None):
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "change",
    [
        lambda f: f,
        lambda f: f.iloc[::-1],
        lambda f: f[f["whole"] != 2],
        lambda f: f.convert_dtypes(),
        lambda f: f.astype(object),
        lambda f: f.astype({"whole": np.int8, "real": np.float32}),
        lambda f: pd.concat([f, f]).set_index("whole", drop=False).rename_axis(None),
        lambda f: f.assign(added=[[1, "x"], ("y",), {"z": None}]),
    ],
)
def test_frames_of_this_pandas_come_back_whatever_the_protocol(protocol, change):
    frame = pd.DataFrame({"text": ["a", "bé", None], "real": [0.5, np.nan, 2.0], "whole": [1, 2, 3]})
    expected = change(frame.assign(flag=[True, False, True]))
    found = contents(pickle.dumps(expected, protocol))
    assert list(found) == list(expected)
    for name in expected:
        assert found[name].isna().tolist() == expected[name].isna().tolist()
        assert found[name].dropna().tolist() == expected[name].dropna().tolist()


def test_columns_keep_their_places():
    """Blocks hold columns of one kind, wherever they stand: as slices with a step and as arrays."""
    frame = pd.DataFrame(np.arange(12.0).reshape(2, 6), columns=list("abcdef"))
    for name in "ace":
        frame[name] = frame[name].astype(int)
    frame.insert(3, "text", ["x", "y"])
    pd.testing.assert_frame_equal(contents(pickle.dumps(frame)), frame)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        np.array([[True], [False]]),
        np.array(["one", "zwölf", ""]),
        np.array([["x", None], [1.5, [True]]], object),
        np.zeros((0, 3), np.float32),
        np.array(5),
    ],
)
def test_arrays_come_back(protocol, array):
    found = contents(pickle.dumps({"array": array}, protocol))["array"]
    assert found.shape == array.shape
    assert found.dtype.kind == array.dtype.kind
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(protocol):
    thing = {"a": [1, -(2**63), 2**64 - 1, 0.5, None, True], 10: ("x", (), {"y": []}), "é": "\U0001f600"}
    assert contents(pickle.dumps(thing, protocol)) == thing
    if protocol >= 2:
        assert contents(pickle.dumps([b"\xff", bytearray(b"x"), np.float64(0.5), np.int8(3)], protocol)) == [
            *(b"\xff", b"x", 0.5, 3)
        ]


ASKED = {
    "a builtin": (Call(len, "abc"), r"builtins\.len"),
    "evaluation": (Call(builtins.eval, "1 + 1"), r"builtins\.eval"),
    "attributes": (Call(getattr, "abc", "upper"), r"builtins\.getattr"),
    "imports": (Call(__import__, "json"), r"builtins\.__import__"),
    "the system": (Call(os.getpid), r"(posix|nt)\.getpid"),
    "a file": (Call(open, os.devnull), r"io\.open"),
    "a reader of pandas": (Call(pd.read_csv, os.devnull), r"pandas\.(io\.parsers\.readers\.)?read_csv"),
    "a method": (Call(pd.DataFrame.sum, pd.DataFrame({"a": [1]})), r"pandas\..*\.sum"),
    "a function of numpy": (Call(np.zeros, 3), r"numpy.*zeros"),
    "a class": (Path("x"), r"pathlib\."),
    "a dtype of parts": (np.zeros(1, [("a", "f8")]), r"numpy\.dtype 'V8'"),
    "a dtype of dates": (np.zeros(1, "M8[s]"), r"numpy\.dtype 'M8'"),
    "a frame's dates": (pd.DataFrame({"a": pd.to_datetime(["2025-01-01"])}), "DatetimeArray"),
    "an outside object": (None, "opcode BINPERSID"),
}


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("inside", [False, True], ids=["bare", "in a cell"])
def test_what_is_no_data_is_refused_by_name(name, inside):
    thing, pattern = ASKED[name]
    thing = pd.DataFrame({"prompt": pd.Series([thing], dtype=object)}) if inside else thing
    content = b"K\x01Q." if name == "an outside object" else pickle.dumps(thing, 4)
    with pytest.raises(InputError, match=rf"file\.pkl: refused, .*{pattern}"):
        contents(content)


def test_a_dotted_name_does_not_reach_through_a_known_one():
    with pytest.raises(InputError, match=r"pandas\.DataFrame\.eval"):
        contents(b"\x80\x04\x8c\x06pandas\x8c\x0eDataFrame.eval\x93.")


def nested(levels):
    """A list within a list and so on, each twice in the next."""
    thing = []
    for _ in range(levels):
        thing = [thing, thing]
    return pickle.dumps(thing)


INT64 = np.dtype("i8")
ODD = {
    "a list of itself": (b"]q\x00h\x00a.", "nested more than 50 deep"),
    "lists of the same lists": (nested(45), "far more values than its size"),
    "deep": (b"]" * 60 + b"a" * 59 + b".", "nested more than 50 deep"),
    "many marks": (b"(" * 101 + b".", "100 open marks"),
    "a long number": (pickle.dumps(2**70), "64 bits"),
    "an odd key": (pickle.dumps({(1, 2): 3}), "a key that is neither"),
    "a large key": (pickle.dumps({2**61 - 1: 3}), "a key that is neither"),
    "two values": (b"K\x01K\x02.", "values left over"),
    "no value": (b".", "values left over"),
    "a bare name": (b"cnumpy\ndtype\n.", "a name where there should be a value"),
    "a state of nothing": (b"K\x01}b.", "a state of nothing"),
    "a call of nothing": (b"K\x01)R.", "a call of nothing"),
    "objects from bytes": (
        pickle.dumps(Call(np.ndarray, (1,), np.dtype(object), b"\x41" * 8)),
        "where there should be an array",
    ),
    "another class": (pickle.dumps(Call(np._core.multiarray._reconstruct, np.dtype, (0,), b"b")), "another class"),
    "no content": (pickle.dumps(Call(np._core.multiarray._reconstruct, np.ndarray, (0,), b"b")), "without content"),
    "a short array": (pickle.dumps(Call(np._core.numeric._frombuffer, b"1234", INT64, (1,), "C")), "another length"),
    "a shape": (pickle.dumps(Call(np._core.numeric._frombuffer, b"", INT64, (0, -1), "C")), "a shape that is none"),
    "wide": (pickle.dumps(Call(np._core.numeric._frombuffer, b"", INT64, (0, 2**30), "C")), "far more values"),
    "half a frame": (pickle.dumps(Call(pd.DataFrame)), "no pandas.BlockManager"),
    "truncated": (pickle.dumps(pd.DataFrame({"a": [1]}))[:-9], "file.pkl: not a readable pickle"),
    "nothing": (b"", "file.pkl: not a readable pickle"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_does_not_fit_is_our_own_error(name):
    content, message = ODD[name]
    with pytest.raises(InputError, match=message):
        contents(content)


def test_letters_that_are_none():
    content = pickle.dumps(np.array(["ab"]))
    assert content.count(b"a\0\0\0b\0\0\0") == 1
    with pytest.raises(InputError, match="letters that are none"):
        contents(content.replace(b"a\0\0\0b\0\0\0", b"a\0\0\0\xff\xff\xff\xff"))


ARROW = pytest.mark.skipif(pd.Series(["a"]).dtype == object, reason="pandas before 3 keeps texts as objects")


@ARROW
def test_texts_of_arrow_stay_within_their_buffer():
    content = pickle.dumps(pd.DataFrame({"t": ["ab", "c"]}))
    offsets = np.array([0, 2, 3]).tobytes()
    assert content.count(offsets) == 1
    for ends in ([0, 2, 4], [-1, 2, 3], [0, 3, 2], [1, 2, 2**40]):
        with pytest.raises(InputError, match=r"texts (beyond their buffer|that end before they start)"):
            contents(content.replace(offsets, np.array(ends).tobytes()))


def test_a_frame_with_two_columns_of_one_name():
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(InputError, match="two columns of one name"):
        contents(pickle.dumps(frame))


@pytest.mark.parametrize("inside", ["array", pytest.param("texts", marks=ARROW), "bytes"])
def test_one_long_thing_in_many_places(inside):
    """Each place would be a copy."""
    things = {"array": np.zeros(1000), "texts": pd.DataFrame({"t": ["x" * 8000]}), "bytes": b"x" * 8000}
    content = pickle.dumps([things[inside]] * 30, 2)
    with pytest.raises(InputError, match="far more values"):
        contents(content)
    assert len(contents(pickle.dumps([things[inside]] * 2, 2))) == 2


def test_limits(monkeypatch):
    content = pickle.dumps(list(range(100)))
    monkeypatch.setattr(unpickle, "OPCODES", 50)
    with pytest.raises(InputError, match="more than 50 opcodes"):
        contents(content)
    monkeypatch.setattr(unpickle, "BYTES", 100)
    with pytest.raises(InputError, match="more than 100 bytes"):
        contents(content)


def test_a_thing_shows_nothing_of_its_parts():
    """A crafted one may hold itself a billion times over."""
    assert "state" not in repr(pickled.Thing("a", (), "state"))


def test_files(tmp_path):
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(InputError, match=r"list\.pkl: holds a list, not a data frame"):
        unpickle.read(tmp_path / "list.pkl")
    with pytest.raises(InputError, match=r"none\.pkl: no such file"):
        unpickle.read(tmp_path / "none.pkl")


@pytest.mark.parametrize("path", PICKLES, ids=lambda path: path.stem)
def test_every_truncation_is_one_clear_error(path):
    whole = path.read_bytes()
    for length in range(0, len(whole), 29):
        with pytest.raises(InputError, match=r"file\.pkl: "):
            contents(whole[:length])


def test_no_import_no_call_whatever_a_pickle_says():
    """Mutated opcode streams under audit hooks, in a process of its own, as a hook cannot be taken out again."""
    guard = Path(__file__).with_name("pickle_guard.py")
    ran = subprocess.run([sys.executable, guard, "0", str(CASES)], capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout)
    print(found)
    assert found["outcomes"].keys() == {"loaded", "refused"}
    assert sum(found["outcomes"].values()) == CASES
    assert found["events"] == found["called"] == {}
    assert min(found["outcomes"]["loaded"], found["asked for the canary"]) > CASES / 25


def test_the_guard_sees_what_it_is_there_for():
    """The same streams through Python's own unpickler, harmless as they are: the watch reports calls and imports."""
    guard = Path(__file__).with_name("pickle_guard.py")
    ran = subprocess.run([sys.executable, guard, "0", "400", "own"], capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout)
    assert found["called"]["canary"] > 0
    assert found["events"]["pickle.find_class"] > 0
