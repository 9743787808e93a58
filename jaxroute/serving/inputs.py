"""What a router reads: texts, which its encoder turns into features, or features, and columns beside them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute.serving.blocks import all_finite
from jaxroute.system.wording import here
from jaxroute.types import InputError

if TYPE_CHECKING:
    import pandas as pd

ENDPOINT = "endpoint:"  # encoders that send the texts to a server


def endpoints(encoder: str) -> list[str]:
    """The endpoints' models that an encoder sends texts to, alone or joined with others.

    >>> endpoints("hashed"), endpoints("hashed+endpoint:small")
    ([], ['small'])
    """
    if ENDPOINT not in encoder:
        return []
    from jaxroute.data import encoders

    return [part.removeprefix(ENDPOINT) for part in encoders.parts(encoder) if part.startswith(ENDPOINT)]


def given(prompts: Any) -> Any:
    """A list as it is, and an array in NumPy: one of JAX, a pandas Series, whatever has ``__array__``.

    Raises:
        InputError: it is neither.

    Example:
        >>> given(["a", "b"])
        ['a', 'b']
        >>> given(iter("ab"))
        Traceback (most recent call last):
        jaxroute.types.InputError: prompts are a str_ascii_iterator; give a list of texts or an array of features [N, D]
    """
    if isinstance(prompts, Sequence):
        return prompts
    if not hasattr(prompts, "__array__"):
        raise InputError(f"prompts are a {type(prompts).__name__}; give a list of texts or an array of features [N, D]")
    return np.asarray(prompts)


def _single(features: np.ndarray) -> np.ndarray:
    """Real features in float32; what is masked, or too large for it, is not finite."""
    if features.dtype.kind in "cmMS":
        raise InputError(f"features are of type {features.dtype}; this router takes real numbers")
    with np.errstate(over="ignore"):
        return np.ma.filled(features.astype(np.float32), np.nan)


class Inputs(ABC):
    """A router's encoder and features; see `serving.router.Router` for the fields."""

    encoder: str | None
    revision: str | None
    may_send: bool
    summary: dict[str, Any]

    @property
    @abstractmethod
    def num_features(self) -> int:
        """D of the features that the router takes."""

    def text_encoder(self) -> str:
        """The encoder of texts.

        Raises:
            InputError: it takes features only, or would send texts to an endpoint that the user has not named.
        """
        if self.encoder is None:
            raise InputError("this router was fitted on features, not texts; give it features [N, D]")
        if not self.may_send and (asked := endpoints(self.encoder)):
            from jaxroute.data.encoders import endpoint

            raise InputError(
                f"this router would send every text to {endpoint.base_url()}, model "
                f"{', '.join(asked)}; to allow this, name its encoder: "
                + here(f"encoder={self.encoder!r} (in Python, and in models.yaml)", f"--encoder {self.encoder}")
            )
        return self.encoder

    @property
    def context(self) -> list[dict[str, Any]]:
        """The columns beside the text that the router was fitted with; see ``data.context``."""
        return list(self.summary.get("context") or ())

    @property
    def text_features(self) -> int:
        """How many of the D features are the text's: the others are of the context columns."""
        if not self.context:
            return self.num_features
        from jaxroute.data import context as contexts

        return self.num_features - contexts.width(self.context)

    def features(self, prompts: Any, context: Any = None) -> np.ndarray:
        """Features [N, D] of texts, or features themselves once they are checked.

        Args:
            prompts: N texts, or their features; of a router with context columns also features of the whole width D,
                which include those of the context.
            context: see ``route``.

        Raises:
            InputError: as for ``text_encoder``; neither texts nor features; features of another width, not real numbers
                or not finite; a context column is missing.
        """
        if not isinstance(prompts, np.ndarray):
            prompts = given(prompts)
        if not isinstance(prompts, np.ndarray) or prompts.dtype.kind in "OUT":
            prompts = self.encoded(prompts)
        width, columns = self.num_features, self.context
        if columns and prompts.ndim == 2 and (context is not None or prompts.shape[1] != width):
            from jaxroute.data import context as contexts

            beside = contexts.encode(columns, context, len(prompts))
            prompts = np.concatenate([prompts, beside], 1)
        if prompts.ndim != 2 or prompts.shape[1] != width:
            raise InputError(f"features have shape {prompts.shape}; this router takes [N, {width}]")
        plain = prompts.dtype == np.float32 and not isinstance(prompts, np.ma.MaskedArray)
        features = prompts if plain else _single(prompts)
        if not all_finite(features):
            finite = np.isfinite(features).all(1)
            raise InputError(f"features, row {int(np.argmin(finite))}: not finite; correct or drop the row")
        return features

    def encoded(self, texts: Sequence[str] | np.ndarray) -> np.ndarray:
        """The encoder's features of N texts, [N, text_features].

        Raises:
            InputError: as for ``text_encoder``.
        """
        from jaxroute.data import encoders

        return encoders.encode(texts, self.text_encoder(), revision=self.revision)

    def _read(self, frame: pd.DataFrame) -> list[str] | np.ndarray:
        """The prompts of a data frame, read as ``jaxroute route`` reads a file; features, if the router takes those."""
        from jaxroute.data import messages, prompts

        chat, width = self.summary.get("chat", messages.CHAT), self.text_features if self.encoder is None else None
        blocks = list(prompts.read(frame, chat=chat, width=width))
        if width is not None:
            return np.concatenate([np.empty((0, width), np.float32), *blocks])
        return [text for block in blocks for text in block]
