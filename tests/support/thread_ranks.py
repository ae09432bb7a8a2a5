"""A gang whose ranks are threads of this process: for rules that many ranks show, in milliseconds.

The three collectives that the package uses are stood in for; each takes the group that it was given and no other, and
ranks that call different ones fail. `support.ranks` has the real thing: processes that talk over gloo, seconds a gang.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor

from cosmos_ray.models.generator import Generator
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.vae.vae import WanVAE
from support.waiting import PATIENCE_S


class Member:
    """A rank's process group. `meet` of all ranks together."""

    def __init__(self, rank: int, size: int, barrier: threading.Barrier, said: list[Any]) -> None:
        self.rank, self.size, self._barrier, self._said = rank, size, barrier, said

    def meet(self, collective: str, value: Any) -> list[Any]:
        """What every rank says at this collective, in rank order."""
        self._said[self.rank] = (collective, value)
        self._barrier.wait(PATIENCE_S)
        said = list(self._said)
        self._barrier.wait(PATIENCE_S)
        assert {name for name, _ in said} == {collective}, f"ranks are out of step: {[name for name, _ in said]}"
        return [value for _, value in said]

    def give_up(self) -> None:
        self._barrier.abort()


class _Work:
    """An exchange that has begun: nothing is there before it is waited for."""

    def __init__(self, received: Tensor, arrived: Tensor) -> None:
        self._received, self._arrived = received, arrived
        received.view(torch.uint8).fill_(0x5A)

    def wait(self) -> None:
        self._received.copy_(self._arrived)


def _all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: list[int] | None = None,
    input_split_sizes: list[int] | None = None,
    group: Any = None,
    async_op: bool = False,
) -> _Work | None:
    equal = [len(input) // group.size] * group.size
    sent = group.meet("all_to_all_single", input.clone().split(input_split_sizes or equal))
    arrived = torch.cat([parts[group.rank] for parts in sent])
    wanted = output_split_sizes or [len(output) // group.size] * group.size
    assert [len(parts[group.rank]) for parts in sent] == wanted, "what is expected is not what is sent"
    work = _Work(output, arrived)
    if async_op:
        return work
    work.wait()
    return None


def _all_gather(tensor_list: list[Tensor], tensor: Tensor, group: Any = None) -> None:
    for received, sent in zip(tensor_list, group.meet("all_gather", tensor.clone()), strict=True):
        received.copy_(sent)


def _all_reduce(tensor: Tensor, op: Any = dist.ReduceOp.SUM, group: Any = None) -> None:
    said = torch.stack(group.meet("all_reduce", tensor.clone()))
    reduced = {dist.ReduceOp.MAX: said.amax, dist.ReduceOp.MIN: said.amin, dist.ReduceOp.SUM: said.sum}[op](0)
    tensor.copy_(reduced)


@contextmanager
def _stood_in_for() -> Iterator[None]:
    names = {"all_to_all_single": _all_to_all_single, "all_gather": _all_gather, "all_reduce": _all_reduce}
    with mock.patch.multiple(dist, **names):
        yield


def run_threads(world_size: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """function(parallel, *args) on every rank; the results in rank order. One rank's error is raised here."""
    barrier, said = threading.Barrier(world_size), [None] * world_size

    def be_rank(rank: int) -> Any:
        member = Member(rank, world_size, barrier, said)
        try:
            return function(ContextParallel(rank, world_size, member), *args)  # type: ignore[arg-type]
        except BaseException:
            member.give_up()
            raise

    with _stood_in_for(), ThreadPoolExecutor(world_size) as pool:
        futures = [pool.submit(be_rank, rank) for rank in range(world_size)]
        errors = [future.exception() for future in futures]
    for error in sorted((e for e in errors if e), key=lambda e: isinstance(e, threading.BrokenBarrierError)):
        raise error
    return [future.result() for future in futures]


def run_on_copies(ranks: int, generator: Generator, function: Callable[[Generator], Any]) -> list[Any]:
    """function of each rank's generator: all share the weights, each has its autoencoder's caches."""

    def be_rank(parallel: ContextParallel) -> Any:
        vae = WanVAE(copy.copy(generator.vae.model))
        encoder = None if parallel.rank else generator.text_encoder
        return function(replace(generator, parallel=parallel, vae=vae, text_encoder=encoder))

    return run_threads(ranks, be_rank)
