"""Reads mutated pickles under watch: ``python tests/pickle_guard.py SEED CASES [own]``, run by test_unpickle.

Good pickles are taken apart into opcodes, changed, and read. While they are, the interpreter's audit events (import,
open, exec, find_class and all others) and every call of a function outside jaxroute, NumPy, pandas and the standard
parsers are recorded, and so are calls of ``canary``, which the mutated streams ask for again and again. Prints one
JSON line: what came of the cases, and what was recorded, which must be nothing.
"""

import io
import json
import pickle
import pickletools
import random
import sys
import types
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from jaxroute.data import unpickle
from jaxroute.types import InputError

called = Counter()
canary = types.ModuleType("canary")
canary.touch = lambda *arguments, **named: called.update(["canary"])
canary.touch.__module__, canary.touch.__qualname__ = "canary", "touch"


class Bird:
    """Has every door that an ordinary reader would go through."""

    def __init__(self, *arguments):
        called.update(["canary class"])

    def __setstate__(self, state):
        called.update(["canary state"])

    append = extend = __setitem__ = __setstate__


Bird.__module__, Bird.__qualname__ = "canary", "Bird"
canary.Bird = Bird
sys.modules["canary"] = canary

NAMES = [
    *(["canary touch", "canary Bird"] * 4),
    *("builtins print", "builtins slice", "numpy dtype", "numpy ndarray"),
    *("numpy._core.multiarray _reconstruct", "numpy._core.multiarray scalar", "numpy._core.numeric _frombuffer"),
    *("pandas DataFrame", "pandas Index", "pandas NA", "pandas._libs.internals _unpickle_block", "_codecs encode"),
    *("pandas.core.internals.managers BlockManager", "pandas DataFrame.eval", "no.such module", "json.tool main"),
]
TEXTS = ["O8", "f8", "V8", "U4", "M8[ns]", "i4,i4", "canary", "touch", "Bird", "_mgr", "<", "C", "latin1"]


def good():
    """Small pickles of everything that is read."""
    frame = pd.DataFrame({"text": ["a", "b", None], "real": [0.5, np.nan, 2.0], "whole": [1, 2, 3]})
    things = [frame, frame.iloc[::-1], frame.convert_dtypes(), frame.astype(object)]
    things += [{"a": {"correctness": np.eye(2), "models": ["x", "y"]}}, {"hard": {10: np.array(["x", "y"])}}]
    things += [[1, 2.5, "x", None, True, (b"y", bytearray(b"z"))], np.array([["a", None]], object), np.float32(0.5)]
    found = [pickle.dumps(thing, protocol) for thing in things for protocol in (2, 3, 4, 5)]
    found += [pickle.dumps([1, 2.5, "\u20ac", None], 0), b"(S'text'\nU\x01xI01\nL5L\nt."]
    return found + [file.read_bytes() for file in sorted((Path(__file__).parent / "data").glob("wide_pandas*.pkl"))]


def taken_apart(content):
    starts = [place for _, _, place in pickletools.genops(content)] + [len(content)]
    return [content[a:b] for a, b in pairwise(starts)]


def short_text(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


def inserted(draw):
    """An opcode or a few: a name, a call of it, a state, an array's parts, a reference."""
    name = ("c" + draw.choice(NAMES).replace(" ", "\n") + "\n").encode()
    module, _, here = draw.choice(NAMES).partition(" ")
    stack_name = short_text(module) + short_text(here) + b"\x93"
    text = short_text(draw.choice(TEXTS))
    number = b"J" + draw.randbytes(4)
    reference = b"h" + bytes([draw.randrange(40)])
    return draw.choice(
        [
            *(name, stack_name, text, number, reference, b"0", b"2", b"b", b"R", b"\x81", b"(", b"t", b"}", b"]", b")"),
            *(name + text + b"\x85R", name + reference + b"\x85R", name + b")\x81", name + b")R" + reference + b"b"),
            *(name + b")\x81}" + text + reference + b"sb", b"(" + name + text + b"o", b"(i" + name[1:], b"e", b"u"),
            *(b"\x82\x01", b"P1\n", b"Q", b"\x97", b"\x98", bytes([draw.randrange(256)])),
        ]
    )


def mutated(draw, parts, others):
    parts = list(parts)
    for _ in range(draw.choice([1, 1, 2, 4])):
        place = draw.randrange(len(parts))
        match draw.randrange(8):
            case 0:
                parts[place:place] = [inserted(draw)]
            case 1:
                parts[place : place + draw.randint(1, 3)] = []
            case 2:
                parts[place] = draw.choice(parts)
            case 3:
                parts[place] = draw.choice(draw.choice(others))
            case 4 | 5 | 6 if len(parts[place]) > 1:
                at = draw.randrange(1, len(parts[place]))
                parts[place] = parts[place][:at] + bytes([draw.randrange(256)]) + parts[place][at + 1 :]
            case _:
                parts[place] = inserted(draw)
        if not parts:
            break
    return b"".join(parts)


OWN = {"sys.setprofile", "object.__getattr__", "builtins.id"}  # of the watch itself, and of pandas' frames
ALLOWED = (
    *(
        "jaxroute.data.pickled.",
        "jaxroute.data.unpickle.",
        "jaxroute.types.InputError",
        "jaxroute.system.printing.",
        "pickletools.",
        "pickle.decode_long",
        "__main__.",
    ),
    *("numpy.", "pandas.", "pyarrow.", "encodings.", "codecs.", "typing.cast", "abc.ABCMeta.__instancecheck__"),
    *("importlib._bootstrap._handle_fromlist", "jax._src.lib._xla_gc_callback"),  # no import; garbage collection
)
PLAIN = (type(None), bool, int, float, str, bytes)


def is_data(value):
    if isinstance(value, pd.DataFrame):
        return all(is_data(value[name].tolist()) for name in value)
    if type(value) is np.ndarray:
        return value.dtype.kind in "biufU" or is_data(value.tolist())
    if type(value) in (list, tuple):
        return all(map(is_data, value))
    if type(value) is dict:
        return all(is_data(key) and is_data(item) for key, item in value.items())
    return type(value) in PLAIN


def main(seed, cases, read):
    draw = random.Random(seed)
    originals = [taken_apart(content) for content in good()]
    for content in good():  # what pandas and NumPy import on first use is imported before the watch begins
        assert is_data(unpickle.contents(io.BytesIO(content), "good"))
    streams = [mutated(draw, draw.choice(originals), originals) for _ in range(cases)]
    asked = sum(b"canary" in stream for stream in streams)
    events, outcomes = Counter(), Counter()
    watching = False

    def audit(event, arguments):
        if watching and event not in OWN:
            events[event] += 1

    def profile(frame, kind, function):
        if kind == "call":
            name = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
            if not name.startswith(ALLOWED):
                called[name] += 1

    sys.addaudithook(audit)
    for number, stream in enumerate(streams):
        watching = True
        sys.setprofile(profile)
        try:
            found = read(io.BytesIO(stream), f"stream {number}")
            outcome = "loaded"
        except InputError:
            outcome = "refused"
        finally:
            sys.setprofile(None)
            watching = False
        outcomes[outcome] += 1
        if outcome == "loaded" and not is_data(found):
            outcomes["not data"] += 1
    print(json.dumps({"outcomes": outcomes, "events": events, "called": called, "asked for the canary": asked}))


def named_only(stream, _):
    """Python's own unpickler, for the names that the streams ask for and that are harmless: does the watch work?"""

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if module != "canary":
                raise pickle.UnpicklingError
            return super().find_class(module, name)

    try:
        return Reader(stream).load()
    except Exception as error:
        raise InputError from error


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), named_only if sys.argv[3:] else unpickle.contents)
