"""Run a function as the ranks of a gang: real processes, talking over gloo, or over NCCL with a GPU each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist

from cosmos_ray.models.parallel import ContextParallel
from support.waiting import PATIENCE_S

#: A rank that fails leaves the others waiting for it; they give up after this time.
TIMEOUT = timedelta(seconds=PATIENCE_S)
#: So many processes stay for the gangs to come: torch costs a new one more than most of what it is asked for. (Ranks on
#: GPUs are new ones each time: a process keeps its GPU's memory.)
_KEPT = 4
#: What ranks on CPUs need is imported once, by the process that they are forked from.
_OF_ALL_RANKS = [
    "cosmos_ray.models.generator",
    "cosmos_ray.models.vae.vae",
    "cosmos_ray.models.text.t5",
    "cosmos_ray.models.text.tokenizer",
]


def run_ranks(
    world_size: int, function: Callable[..., Any], *args: Any, backend: str = "gloo", first_gpu: int = 0
) -> list[Any]:
    """function(parallel, *args) on every rank; the results in rank order. Arrays, not tensors, should come back:
    a tensor would stay in the memory of a process that is gone. first_gpu: with NCCL, rank 0's; the others follow."""
    try:
        return _run_once(world_size, function, args, backend, first_gpu)
    except RuntimeError as error:
        # Where there is more to do than cores, gloo's sockets now and then fail to find each other, before `function`
        # has begun. A job's pool replaces such a gang; here it is tried once more.
        if "connectFullMesh" not in str(error):
            raise
    return _run_once(world_size, function, args, backend, first_gpu)


def _run_once(
    world_size: int, function: Callable[..., Any], args: tuple[Any, ...], backend: str, first_gpu: int
) -> list[Any]:
    keep = backend == "gloo" and world_size <= _KEPT
    pool = _kept_processes() if keep else _processes(world_size, backend)
    try:
        with TemporaryDirectory() as folder:
            store = Path(folder) / "store"
            futures = [
                pool.submit(_be_rank, rank, world_size, store, backend, first_gpu + rank, function, args)
                for rank in range(world_size)
            ]
            results = [future.result() for future in futures]
    except BaseException:
        _kept_processes.cache_clear()  # some may still wait for the one that failed
        pool.shutdown(wait=False)
        raise
    if not keep:
        pool.shutdown()
    return results


def _processes(count: int, backend: str) -> ProcessPoolExecutor:
    if backend == "nccl":
        return ProcessPoolExecutor(count, mp_context=get_context("spawn"))
    context = get_context("forkserver")
    context.set_forkserver_preload(_OF_ALL_RANKS)
    return ProcessPoolExecutor(count, mp_context=context)


@functools.cache
def _kept_processes() -> ProcessPoolExecutor:
    """Started as they are needed, and there until this process ends."""
    return _processes(_KEPT, "gloo")


def _be_rank(
    rank: int, world_size: int, store: Path, backend: str, gpu: int, function: Callable[..., Any], args: tuple[Any, ...]
) -> Any:
    torch.set_num_threads(1)
    if backend == "nccl":
        torch.cuda.set_device(gpu)
    dist.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=world_size, timeout=TIMEOUT)
    try:
        return function(ContextParallel(rank, world_size), *args)
    finally:
        dist.destroy_process_group()
