"""Marks of a prompt that an encoder of words does not show: how long it is, what it is made of, code, scripts.

``embed`` counts code points, lines and words of each text and returns NAMES of them. Nothing is fitted, no table of
Unicode is read (classes are fixed ranges of code points) and NumPy is all it needs, so that a text has the same marks
on every platform and in every version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

IDENTITY = "marks 1"  # must change whenever the numbers change, because caches are keyed by it
LENGTHS = ("characters", "words", "lines")
SCRIPTS = {
    "latin": ((0x80, 0x24F), (0x1E00, 0x1EFF)),
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": ((0x400, 0x52F),),
    "hebrew and arabic": ((0x590, 0x8FF), (0xFB1D, 0xFDFF), (0xFE70, 0xFEFF)),
    "indic": ((0x900, 0xDFF),),
    "south-east asian": ((0xE00, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF)),
    "kana": ((0x3040, 0x30FF),),
    "hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)),
    "han": ((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),
}
"""Ranges of code points beyond ASCII, both ends included; whatever is in none of them is "other"."""
ASCII = {
    "digits": "0123456789",
    "capitals": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "punctuation": ".,:!?'\"-",
    "brackets": "()[]{}",
    "operators": "+*/=<>^|&%~",
    "symbols of code": ";_#@`\\$",
}
"""Kinds of ASCII characters whose share is taken."""
OF_LINES = {
    "indented": re.compile(r"^(?: {2}|\t)[ \t]*[^ \t\n]", re.MULTILINE),
    "options": re.compile(r"^[ \t]*\(?[A-Ja-j1-9][).:]", re.MULTILINE),
}
"""Lines that begin as code or as one of several answers does; their share of all lines is taken."""
FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
NAMES = (*LENGTHS, *ASCII, "non-ASCII", *SCRIPTS, "other", *OF_LINES, "fences", "questions")
DIMENSIONS = len(NAMES)
LONGEST = 16.0  # doublings of a length, and no more: a text of 65,535 characters is as long as any


def _classes() -> np.ndarray:
    """The class of every code point, a place in NAMES (0: ASCII in no class); the last stands for all above."""
    of = np.full(0x323B1, NAMES.index("other"), np.uint8)
    of[:128] = 0
    for name, characters in ASCII.items():
        of[[ord(c) for c in characters]] = NAMES.index(name)
    for name, ranges in SCRIPTS.items():
        for first, last in ranges:
            of[first : last + 1] = NAMES.index(name)
    return of


CLASSES = _classes()


def embed(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """Marks of each text.

        a length n: log2(1 + n) / 4, at most 4        a share s, in [0, 1]: sqrt(s)

    Lengths are in code points, in words between white space and in lines. Shares are of all code points, but for those
    of lines: lines indented, and lines that begin as an option ("A)", "(b)", "1."). "fences" and "questions" are the
    numbers n of lines that begin a fenced block and of question marks, as n / (1 + n).

    Args:
        texts: N strings.

    Returns:
        float32 [N, DIMENSIONS] in the order of NAMES; an empty text gives zeros.

    Example:
        >>> x = embed(["What is 2 + 2?", "def f(x):\\n    return x"])
        >>> x.shape, bool(x[1, NAMES.index("indented")] > x[0, NAMES.index("indented")])
        ((2, 24), True)
    """
    return np.array([_marks(str(text)) for text in texts], np.float32).reshape(len(texts), DIMENSIONS)


def _marks(text: str) -> list[float]:
    if not text:
        return [0.0] * DIMENSIONS
    code = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(CLASSES[np.minimum(code, len(CLASSES) - 1)], minlength=DIMENSIONS).astype(float)
    lines = text.count("\n") + 1
    found = counts / len(text)
    found[NAMES.index("non-ASCII")] = np.count_nonzero(code >= 128) / len(text)
    for name, pattern in OF_LINES.items():
        found[NAMES.index(name)] = sum(1 for _ in pattern.finditer(text)) / lines
    found = np.sqrt(found)
    found[: len(LENGTHS)] = np.minimum(np.log2(1.0 + np.array([len(text), len(text.split()), lines])), LONGEST) / 4
    for name, number in (("fences", len(FENCE.findall(text))), ("questions", text.count("?"))):
        found[NAMES.index(name)] = number / (1 + number)
    return list(found)
