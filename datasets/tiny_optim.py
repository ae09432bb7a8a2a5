"""What both trainings of the tiny model share: Muon for matrices, AdamW for the rest, a schedule in time, an average.

Muon: the momentum of a weight matrix is replaced by the nearest matrix with equal singular values (found by a
Newton-Schulz iteration), so that every direction of the matrix learns at one rate.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# An odd polynomial a s + b s^3 + c s^5 that takes singular values from (0, 1] to about 1 in five rounds.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


def orthogonalise(x_NRC: Tensor) -> Tensor:
    """Matrices [N, R, C] with the same singular vectors and singular values of about 1 (0.7 to 1.2)."""
    a, b, c = _QUINTIC
    tall = x_NRC.shape[1] > x_NRC.shape[2]
    x = x_NRC.mT if tall else x_NRC
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    x = x.bfloat16() if x.is_cuda else x
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(x_NRC.dtype)


class Muon(torch.optim.Optimizer):
    """For weights of two dimensions and more (a convolution is a matrix of its outputs). An update's root mean square
    is 0.2 lr, about AdamW's, whatever the matrix's shape."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.01):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            # Matrices of one shape are worked on together: many small ones would leave a GPU idle.
            by_shape: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[(len(parameter), parameter[0].numel())].append(parameter)
            for (rows, columns), parameters in by_shape.items():
                weights = [parameter.data for parameter in parameters]
                gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
                averages = [self.state[p].setdefault("average", torch.zeros_like(p)) for p in parameters]
                torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, averages, group["momentum"])
                turned = orthogonalise(torch.stack([update.reshape(rows, columns) for update in ahead]))
                updates = [update.view_as(weight) for update, weight in zip(turned, weights, strict=True)]
                torch._foreach_mul_(weights, 1 - group["lr"] * group["decay"])
                torch._foreach_sub_(weights, updates, alpha=0.2 * group["lr"] * math.sqrt(max(rows, columns)))


class Optimiser:
    """Muon for the matrices among `named`, AdamW for vectors and for the names that `plain` says."""

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], lr: float, plain: tuple[str, ...] = ()) -> None:
        def is_matrix(name: str, parameter: nn.Parameter) -> bool:
            # A gain has one number a channel, whatever its number of axes.
            return min(len(parameter), parameter[0].numel()) > 1 and not name.endswith(plain or ("\0",))

        self.parameters = [parameter for _, parameter in named]
        rest = [parameter for name, parameter in named if not is_matrix(name, parameter)]
        self.lr = lr
        self.parts: list[torch.optim.Optimizer] = [
            Muon([parameter for name, parameter in named if is_matrix(name, parameter)], lr),
            torch.optim.AdamW(rest, lr, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.steps = 0  # since it was made or restored

    def step(self, share: float) -> None:
        """One update from the gradients, at the learning rate of this share (0..1) of the training."""
        lr = self.lr * cosine(share) * min(1.0, (self.steps + 1) / 100)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()
        self.forget_gradients()
        self.steps += 1

    def forget_gradients(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        for part, values in zip(self.parts, state, strict=True):
            part.load_state_dict(values)
        self.steps = 100  # no second warm-up: the averages are there


def cosine(share: float) -> float:
    """1 at the beginning, 0.01 at the end."""
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))


class Average:
    """A running average of parameters; young ones weigh more, so that the start is forgotten."""

    def __init__(self, parameters: Sequence[Tensor], decay: float = 0.999) -> None:
        self.parameters = list(parameters)
        self.values = [parameter.detach().clone() for parameter in parameters]
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        torch._foreach_lerp_(self.values, self.parameters, 1 - decay)
