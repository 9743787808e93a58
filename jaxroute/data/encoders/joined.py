"""Several encoders side by side: "hashed+sentence+marks" is what each makes of a text, one after the other.

Every part is brought to one scale, so that none decides by its units alone how far two prompts are apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from jaxroute.types import InputError

MARKS = "marks"


def parts(encoder: str, kinds: Sequence[str]) -> list[str]:
    """The encoders of a joined one; of any other, itself. A "+" inside a model's name divides nothing.

    Args:
        encoder: as the user writes it.
        kinds: of encoders: a "+" divides where one of them follows.

    Raises:
        InputError: a part stands there twice.

    Example:
        >>> parts("hashed+sentence:a+b+marks", ("hashed", "sentence", "marks"))
        ['hashed', 'sentence:a+b', 'marks']
    """
    kind = "|".join(map(re.escape, sorted(kinds, key=len, reverse=True)))
    found = re.split(rf"\+(?=(?:{kind})(?:[:+]|$))", encoder)
    if len(set(found)) < len(found):
        raise InputError(f"{encoder}: the same encoder stands there twice; name each once")
    return found


def join(names: Sequence[str], features: Sequence[np.ndarray]) -> np.ndarray:
    """Features of P encoders in one row.

        x = [x_1 / |x_1|, ..., x_P / |x_P|] / sqrt(P)

    Then the squared distance of two prompts is the mean of what each part says, from 0 to 4. Marks are not divided by
    their norm, which would take the length of a prompt away; they are of that size as they are.

    Args:
        names: of the encoders. features: [N, D_p] each.

    Returns:
        float32 [N, sum of D_p]; a part that has zeros of a text keeps them.

    Example:
        >>> join(["hashed", "marks"], [np.array([[3.0, 4.0]]), np.array([[2.0]])]).round(3)
        array([[0.424, 0.566, 1.414]], dtype=float32)
    """
    scaled = [x if name == MARKS else _of_unit_norm(x) for name, x in zip(names, features, strict=True)]
    return np.concatenate([x / np.sqrt(len(scaled)) for x in scaled], axis=1).astype(np.float32)


def _of_unit_norm(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, float)
    norm = np.sqrt(np.sum(x * x, axis=1, keepdims=True))
    return np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)
