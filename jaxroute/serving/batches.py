"""A router for batches of a table that is larger than memory: for ``map_batches`` of ray.data and ``map`` of datasets.

    dataset.map_batches(Route, fn_constructor_args=("router",), fn_constructor_kwargs={"budget": 0.002}, concurrency=8)
    dataset.map(Route("router", budget=0.002), batched=True, num_proc=8)

The router is loaded once in each worker, in NumPy alone (`portable`). What is sent to a worker is the folder's path.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np

from jaxroute.data import messages, values
from jaxroute.serving import portable
from jaxroute.types import InputError


class Route:
    """Adds to a batch the column of the models that its prompts are routed to.

    A decision depends on the prompt and the router, not on how rows fall into batches: where a budget mixes two cost
    weights, a hash of the prompt says which of them decides, so that a batch that is tried again is decided as before.

    Args:
        router: a router's folder, which every worker can read.
        prompt: the column of texts or chats; of lists of numbers, for a router that takes features. The columns of a
            router's context are taken by their own names.
        model: the column that is added.
        encoder: the router's own, named again, if it sends texts to an endpoint; see ``Router.load``.
        seed: of the mixture.
        **cost: exactly one of cost_weight, normalised_cost_weight, budget and quality_target; see ``Router.route``.

    Raises:
        InputError: when a batch is routed: what ``Router.load`` and ``Router.route`` refuse; no such column, or one
            called ``model`` already; a row without a prompt (rows are counted in the batch).

    Example:
        >>> import tempfile, jax, jax.numpy as jnp
        >>> from jaxroute import engine, projection, serving
        >>> params = engine.networks.router(2, ()).init(jax.random.key(0), 2)
        >>> params = jax.tree.map(lambda x: jnp.zeros((1, 1, *x.shape)), params)
        >>> params["params"]["scores"]["kernel"] = jnp.array([[[[1.0, 0.0], [0.0, 1.0]]]])
        >>> axes = projection.Projection(jnp.zeros(2), jnp.eye(2), jnp.ones(2))
        >>> kind = serving.kinds.PerWeight(axes, jnp.zeros(1), params, (), jnp.ones(1), jnp.full(1, 8))
        >>> folder = tempfile.mkdtemp() + "/router"
        >>> serving.Router(("small", "large"), kind, 1.0).save(folder)
        >>> Route(folder, prompt="vector", cost_weight=0.0)({"vector": [[1.0, 0.0], [0.0, 1.0]]})["model"]
        ['small', 'large']
    """

    def __init__(
        self,
        router: str | os.PathLike[str],
        *,
        prompt: str = "prompt",
        model: str = "model",
        encoder: str | None = None,
        seed: int = 0,
        **cost: float | None,
    ) -> None:
        self.path, self.prompt, self.model, self.encoder = os.fspath(router), prompt, model, encoder
        self.seed, self.cost = seed, cost

    @cached_property
    def router(self) -> portable.Portable:
        """Loaded at a worker's first batch."""
        return portable.load(self.path, self.encoder)

    @cached_property
    def weights(self) -> list[tuple[float, float]]:
        """Cost weights and their shares of the prompts."""
        return self.router.weights(**self.cost)

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to a worker: not the router, which it loads itself."""
        return {name: value for name, value in vars(self).items() if name not in ("router", "weights")}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with its models; columns by name, each of N cells."""
        if self.prompt not in batch or self.model in batch:
            why = f"no column {self.prompt!r}" if self.prompt not in batch else f"a column {self.model!r} already"
            raise InputError(f"the batch has {why} ({', '.join(batch)}); name another with prompt= or model=")
        prompts = self._prompts(batch[self.prompt])
        (weight, share), (other, _) = (*self.weights, (0.0, 0.0))[:2]
        draw = np.array([self._draw(prompt) for prompt in prompts]) if share < 1 else np.zeros(len(prompts))
        context = batch if self.router.context else None  # columns of the batch, by their names
        scores = self.router.scores(prompts, np.where(draw < share, weight, other), context)
        return {**batch, self.model: [self.router.models[k] for k in scores.argmax(1).tolist()]}

    def _prompts(self, cells: Any) -> Any:
        """Texts, or features [N, D]."""
        texts, width = self.router.encoder is not None, self.router.num_features
        chat = self.router.summary.get("chat", messages.CHAT)
        read = partial(values.prompt, chat=chat) if texts else values.vector
        found = []
        for row, cell in enumerate(cells):
            try:
                value = read(cell)
            except (ValueError, TypeError, OverflowError):
                value = None
            if value is None or not (texts or len(value) == width):
                expected = "missing or not text" if texts else f"not {width} finite numbers"
                raise InputError(f"row {row} of the batch, column {self.prompt!r}: {expected}; leave the row out")
            found.append(value)
        return found if texts else np.reshape(np.asarray(found, np.float32), (-1, width))

    def _draw(self, prompt: Any) -> float:
        """In [0, 1), by the prompt."""
        said = prompt.encode() if isinstance(prompt, str) else prompt.tobytes()
        digest = hashlib.blake2b(said, digest_size=8, key=str(self.seed).encode()).digest()
        return int.from_bytes(digest, "little") / 2**64
