"""SPO+ of PyEPO on the inputs of `problem.py`; runs in its own environment, without jaxroute.

The optimisation problem is to choose the one model of least cost, and cost is minus the score or the utility.

Reference: PyEPO: A PyTorch-based End-to-End Predict-then-Optimize Library, by Tang and Khalil
(https://arxiv.org/abs/2206.14234), 2024.
"""

import json
import sys
from importlib.metadata import version

import numpy as np
import torch
from pyepo import EPO
from pyepo.func import SPOPlus
from pyepo.model.opt import optModel


class Choice(optModel):
    """The cheapest of K models."""

    def __init__(self, models: int) -> None:
        self.models = models
        super().__init__()

    def _getModel(self) -> tuple[None, list[int]]:  # noqa: N802
        self.modelSense = EPO.MINIMIZE
        return None, list(range(self.models))

    @property
    def num_cost(self) -> int:
        return self.models

    def setObj(self, c: torch.Tensor) -> None:  # noqa: N802
        self.cost = np.asarray(torch.as_tensor(c).detach())

    def solve(self) -> tuple[np.ndarray, float]:
        best = int(np.argmin(self.cost))
        return np.eye(self.models)[best], float(self.cost[best])


def main(path: str) -> None:
    data = np.load(path)
    cost = torch.tensor(-data["utility"])
    predicted = torch.tensor(-data["scores"], requires_grad=True)
    best = torch.nn.functional.one_hot(cost.argmin(1), cost.shape[1]).to(cost.dtype)
    loss = SPOPlus(Choice(cost.shape[1]), processes=1, reduction="none")(
        predicted, cost, best, cost.min(1, keepdim=True).values
    )
    loss.sum().backward()
    found = {"spo_plus": [loss.detach().ravel().tolist(), (-predicted.grad).ravel().tolist()]}
    print(json.dumps({"version": version("pyepo"), "found": found}))


main(sys.argv[1])
