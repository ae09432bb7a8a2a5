"""Context parallelism: one clip over the ranks of a gang (Ulysses, arXiv 2309.14509).

Every rank holds the same contiguous part of every view's tokens. Only self-attention needs all tokens: there the
ranks trade "all heads of my tokens" for "my heads of all tokens", and back. Everything else is local.

Legend: B batch, V views, L tokens (of one view, or of all views where there is no V), N heads, K head width,
C values a token, P ranks; a lower-case l or n is one rank's part of L or N.

The collectives move bytes, not numbers: some gloo versions know no bfloat16, and bytes need no dtype at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

#: softmax(q k^T / sqrt(K)) v of [B, L, N, K] tensors.
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Queries, keys and values of the tokens x [B, ...] one after the other, each computed when it is asked for, by rank:
#: (x, P) -> three times [B, P, l, n, K], in whose row p are the heads of rank p.
Projections = Callable[[Tensor, int], Iterable[Tensor]]
#: `attend_over_ranks` of a gang: (projections, x) -> [B, l, N, K].
SharedAttention = Callable[[Projections, Tensor], Tensor]


@dataclass(frozen=True)
class ContextParallel:
    """This process's place in its gang. The default is a gang of one, which needs no process group.

    group: the gang's process group (gloo on CPU, NCCL on CUDA); None is the default group of torch.distributed.
    """

    rank: int = 0
    world_size: int = 1
    group: dist.ProcessGroup | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} is not in 0..{self.world_size - 1}")


def share_slice(tokens: int, parallel: ContextParallel) -> slice:
    """The part of `tokens` consecutive tokens that belongs to this rank. ValueError if they do not divide."""
    if tokens % parallel.world_size:
        raise ValueError(f"{tokens} tokens a view do not divide over {parallel.world_size} ranks")
    share = tokens // parallel.world_size
    return slice(parallel.rank * share, (parallel.rank + 1) * share)


def shard(x_VL: Tensor, parallel: ContextParallel) -> Tensor:
    """This rank's share [V, l, ...] of [V, L, ...] (a view of the same memory)."""
    return x_VL[:, share_slice(x_VL.shape[1], parallel)]


def attend_over_ranks(attend: Attention, qkv: Projections, x_B: Tensor, parallel: ContextParallel) -> Tensor:
    """What `attend` makes of all ranks' tokens, for my tokens x: [B, l, N, K]. Collective.

    Each rank attends with its share of the heads. An exchange runs beside the next projection, never beside attention:
    that takes every multiprocessor of a GPU for hundreds of milliseconds, and where on one rank the exchange gets there
    first and on another attention does, the first rank's exchange sits on its multiprocessors for all that time,
    waiting, and its attention waits for it in turn. The batch is attended to in one call, for the fewer heads a call
    has, the larger the part of its time in which the last multiprocessors work alone. Tokens come in rank after rank,
    not in the clip's order; without mask and with positions already applied, attention does not mind.
    """
    ranks = parallel.world_size
    if ranks == 1:
        return attend(*(x_B1LNK.squeeze(1) for x_B1LNK in qkv(x_B, 1)))
    qkv_BPlnK: list[Tensor] = []
    coming = []
    for element, x_1 in enumerate(x_B.split(1)):
        for number, x_1PlnK in enumerate(qkv(x_1, ranks)):
            if element == 0:
                qkv_BPlnK.append(x_1PlnK.new_empty(len(x_B), *x_1PlnK.shape[1:]))
            coming.append(_Exchange(x_1PlnK[0], qkv_BPlnK[number][element], parallel))
    for exchange in coming:
        exchange.wait()
    out_BPlnK = attend(*(received.flatten(1, 2) for received in qkv_BPlnK)).unflatten(1, (ranks, -1)).contiguous()
    received_BPlnK = torch.empty_like(out_BPlnK)
    going = [_Exchange(*pair, parallel) for pair in zip(out_BPlnK, received_BPlnK, strict=True)]
    out_BlPnK = torch.empty_like(received_BPlnK.transpose(1, 2), memory_format=torch.contiguous_format)
    for exchange, out_lPnK, received_PlnK in zip(going, out_BlPnK, received_BPlnK, strict=True):
        exchange.wait()
        out_lPnK.copy_(received_PlnK.transpose(0, 1))  # beside the exchange of the next element
    return out_BlPnK.flatten(2, 3)


def gather_views_to_owners(local_VlC: Tensor, parallel: ContextParallel) -> dict[int, Tensor]:
    """Bring each view together on its owner: view v on rank v % P. Collective.

    Returns this rank's views, {v: [L, C]}, in the clip's token order; empty on a rank beyond the number of views.
    """
    views, share, values = local_VlC.shape
    ranks = parallel.world_size
    if ranks == 1:
        return dict(enumerate(local_VlC))
    owned_by = [list(range(rank, views, ranks)) for rank in range(ranks)]
    mine = owned_by[parallel.rank]
    sent = _as_bytes(local_VlC[[view for owned in owned_by for view in owned]])
    received_PvlC = local_VlC.new_empty((ranks, len(mine), share, values))
    view_bytes = share * values * local_VlC.element_size()
    dist.all_to_all_single(
        _as_bytes(received_PvlC),
        sent,
        output_split_sizes=[len(mine) * view_bytes] * ranks,
        input_split_sizes=[len(owned) * view_bytes for owned in owned_by],
        group=parallel.group,
    )
    return {view: received_PvlC[:, i].flatten(0, 1) for i, view in enumerate(mine)}


def gather_all(local_VlC: Tensor, parallel: ContextParallel) -> Tensor:
    """The whole clip [V, L, C] from every rank's share [V, l, C], on every rank. Collective."""
    if parallel.world_size == 1:
        return local_VlC
    gathered_PVlC = local_VlC.new_empty((parallel.world_size, *local_VlC.shape))
    parts = [_as_bytes(part_VlC) for part_VlC in gathered_PVlC]
    dist.all_gather(parts, _as_bytes(local_VlC.contiguous()), group=parallel.group)
    return gathered_PVlC.transpose(0, 1).flatten(1, 2)


class _Exchange:
    """Row p of `sent_P` is on its way to rank p, in the background; row p of `received_P` comes from rank p."""

    def __init__(self, sent_P: Tensor, received_P: Tensor, parallel: ContextParallel) -> None:
        self._sent_P = sent_P  # not to be freed on its way
        self._work = dist.all_to_all_single(
            _as_bytes(received_P), _as_bytes(sent_P), group=parallel.group, async_op=True
        )

    def wait(self) -> None:
        """Until it is here (on a GPU: before whatever is launched from now on)."""
        self._work.wait()


def _as_bytes(x: Tensor) -> Tensor:
    """The memory of a contiguous tensor as a flat tensor of bytes."""
    return x.view(-1).view(torch.uint8)
