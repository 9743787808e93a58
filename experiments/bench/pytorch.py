"""The comparison for `throughput`: a plain PyTorch loop, one router after the other. Needs the extra "bench"."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from jaxroute.types import Examples, Hyperparams, Params, Spec


def train(
    params: Params,
    examples: Examples,
    hyperparams: Hyperparams,
    spec: Spec,
    batches: np.ndarray,
) -> tuple[list[np.ndarray], float]:
    """Train one router as `engine.program.advance` does: same network, loss, optimiser and schedule, from ``params``.

    Args:
        params: of `networks.router`. examples: leaves [N, ...]. batches: row numbers [steps, B].

    Returns:
        (trained kernels and biases, layer by layer; seconds of the steps alone).
    """
    import torch

    layers = _layers(params)
    modules: list[Any] = []
    for kernel, bias in layers:
        linear = torch.nn.Linear(*kernel.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(kernel.T.copy()))
            linear.bias.copy_(torch.from_numpy(bias.copy()))
        modules += [linear, torch.nn.GELU(approximate="tanh")]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = torch.nn.Sequential(*modules[:-1]).to(device)
    features, quality, cost = (
        torch.from_numpy(np.array(x, np.float32)).to(device) for x in (examples.features, *examples.outcomes)
    )
    utility = quality - float(hyperparams.cost_weight) * cost
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim == 1]
    optimiser = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": float(hyperparams.weight_decay)},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=float(hyperparams.learning_rate),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: peak_one(step, spec.steps))
    index = torch.from_numpy(np.array(batches, np.int64)).to(device)

    def wait() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    begun = wait()
    for rows in index:
        target = utility[rows]
        policy = torch.softmax(network(features[rows]) / float(hyperparams.temperature), -1)
        loss = (policy * (target.max(-1, keepdim=True).values - target)).sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    taken = wait() - begun
    return [p.detach().cpu().numpy() for p in network.parameters()], taken


def peak_one(step: int, steps: int) -> float:
    """Linear warm-up over a twentieth of the steps, then half a cosine down to 0 (that of `training.optimiser`)."""
    warm, steps = max(1, steps // 20), max(2, steps)
    if step < warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / (steps - warm))))


def _layers(params: Params) -> list[tuple[np.ndarray, np.ndarray]]:
    """(kernel, bias) of every layer of a `networks.router`, first to last."""
    inside = params["params"]
    trunk = inside.get("trunk", {})
    ordered = [*(trunk[name] for name in sorted(trunk, key=lambda name: int(name.split("_")[1]))), inside["scores"]]
    return [(np.asarray(layer["kernel"]), np.asarray(layer["bias"])) for layer in ordered]
