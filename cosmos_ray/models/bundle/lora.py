"""Adapters (LoRA, arXiv 2106.09685) of the training framework, merged into the network that they adapt.

A file of theirs holds the whole network: adapted layers as `LAYER.base_layer.weight`, `LAYER.lora_A.default.weight` and
`LAYER.lora_B.default.weight`, all others as ever. Rank and alpha are not in it. Merged, a layer's weight is
W + (alpha / rank) B A, computed in float32; the network is then one like any other.

Legend: W [out, in], A [rank, in], B [out, rank].
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import Bundle, DitPrefix
from cosmos_ray.models.bundle.checkpoint import Selection, of_numbers, select_dit
from cosmos_ray.models.bundle.convert import selected, write_safetensors
from cosmos_ray.models.bundle.derive import derive, suffixes_expected, why_unread, with_dit
from cosmos_ray.models.bundle.headers import WEIGHT_SUFFIXES, Header, read_header
from cosmos_ray.models.bundle.leads import chosen_lead, has_known_prefix, leads_of
from cosmos_ray.models.bundle.shapes import Shapes, dit_shapes
from cosmos_ray.scratch import scratch
from cosmos_ray.store.storage import Storage, fetch_to_file
from cosmos_ray.store.uris import normalise_uri
from cosmos_ray.words import counted

_BASE, _A, _B = ".base_layer.weight", ".lora_A.default.weight", ".lora_B.default.weight"
_LAYER = re.compile(r"blocks\.\d+\.(?:(?:self|cross)_attn\.(?:q|k|v|output)_proj|mlp\.layer[12])\.weight")
#: Tensors that an error names.
_NAMED = 3
#: Name of the file that is written.
MERGED = "merged.safetensors"


def merge(
    lora: str,
    rank: int,
    alpha: float,
    network: Shapes,
    to: Storage,
    base: str | None = None,
    prefix: DitPrefix = "net.",
) -> str:
    """Write the merged network of the file `lora` to `MERGED` in the folder `to`; its URI.

    base: a checkpoint whose weights the adapters are added to, in place of those in their own file. network: what the
    parameters are. prefix: which weights of the files. UsageError for files that are not there or do not fit, rank
    among the reasons.
    """
    if rank < 1 or not 0 < alpha < math.inf:
        raise UsageError(f"--rank {rank}, --alpha {alpha:g}: expected those of the training, more than 0")
    with scratch() as folder:
        path, header = _here(lora, folder / "lora")
        adapted = _adapted(network, header, prefix)
        if not adapted:
            raise UsageError(f"{lora}: found no adapters under `{prefix}`, expected LAYER{_A} and LAYER{_B}")
        _check_rank(lora, network, adapted, header, rank)
        if base is None and not leads_of(header.shapes, _whole_shapes(network, adapted)):
            raise UsageError(
                f"{lora}: found {counted(len(adapted), 'adapter')} alone, expected the network that they adapt too: "
                "`cosmos-ray model derive --lora FILE --dit NETWORK` adds them to that of another file"
            )
        expected = _adapter_shapes(network, adapted, rank)
        if base is None:
            expected = _whole_shapes(network, adapted) | expected
        chosen = _selection(lora, header, expected, prefix)
        _check_all_used(lora, header, chosen)
        tensors = selected([path], chosen.names)
        if base is not None:
            base_path, base_header = _here(base, folder / "base")
            plain = selected([base_path], _selection(base, base_header, network, prefix).names)
            tensors |= {_renamed(name, adapted): tensor for name, tensor in plain.items()}
        merged = _Merged(tensors, tuple(network), frozenset(adapted), alpha / rank)
        target = folder / MERGED
        write_safetensors(target, merged, None)
        to.write_file(MERGED, target)
    return to.uri_of(MERGED)


def derive_merged(
    bundle: Bundle, lora: str, rank: int, alpha: float, to: str, base: str | None = None, ema: bool = False
) -> Bundle:
    """As `derive.derive`, of `bundle` with the network that `merge` makes."""
    prefix: DitPrefix = "net_ema." if ema else "net."
    with scratch() as folder:
        merged = merge(lora, rank, alpha, dit_shapes(bundle.network), Storage(str(folder)), base, prefix)
        return derive(with_dit(bundle, merged), to)


class _Merged(Mapping[str, Tensor]):
    """The network's tensors, each merged when it is asked for: memory stays that of one layer."""

    def __init__(self, tensors: Mapping[str, Tensor], names: tuple[str, ...], adapted: frozenset[str], scale: float):
        self._tensors, self._names, self._adapted, self._scale = tensors, names, adapted, scale

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._adapted:
            return self._tensors[name]
        layer = name.removesuffix(".weight")
        weight = self._tensors[layer + _BASE]
        a, b = (self._tensors[layer + end].to(torch.float32) for end in (_A, _B))
        merged = (weight.to(torch.float32) + self._scale * (b @ a)).to(weight.dtype)
        if not torch.isfinite(merged).all():
            raise UsageError(f"{layer}: merged it has numbers that are not finite: --alpha, or the file, is not right")
        return merged

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _adapted(network: Shapes, header: Header, prefix: DitPrefix) -> list[str]:
    """Which of the network's weights have adapters among those that `prefix` means."""
    layers = {name: name.removesuffix(".weight") for name in network if _LAYER.fullmatch(name)}
    leads = leads_of(header.shapes, {layer + end for layer in layers.values() for end in (_A, _B)})
    lead = prefix if has_known_prefix(header.shapes) else chosen_lead(leads, prefix)
    there = leads.get(lead, {}) if lead is not None else {}
    return [name for name, layer in layers.items() if layer + _A in there or layer + _B in there]


def _check_rank(lora: str, network: Shapes, adapted: list[str], header: Header, rank: int) -> None:
    """UsageError where all adapters have another rank than was said, which would be a fault of each of them."""
    inputs = {name.removesuffix(".weight") + _A: network[name][1] for name in adapted}
    shapes = [
        (header.shapes[name], inputs[layer])
        for there in leads_of(header.shapes, inputs).values()
        for layer, name in there.items()
    ]
    ranks = {shape[0] for shape, width in shapes if len(shape) == 2 and shape[1] == width}
    if ranks and rank not in ranks:
        found = " and ".join(map(str, sorted(ranks)))
        raise UsageError(
            f"{lora}: adapters of rank {found} found, {rank} given: expected the rank (--rank, of jobs/ --lora_rank) "
            "and the alpha of their training"
        )


def _check_all_used(lora: str, header: Header, chosen: Selection) -> None:
    """UsageError for what was trained and would be left out: adapters of other layers or names, biases, magnitudes."""
    name, stored = next(iter(chosen.names.items()))
    lead, used = stored.removesuffix(name), set(chosen.names.values())
    left = [one for one in header.shapes if "lora_" in one and one.startswith(lead) and one not in used]
    if left:
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        raise UsageError(
            f"{lora}: found {', '.join(left[:_NAMED])}{more}, expected {_A} and {_B} of projections of attention and "
            "of the MLP alone: the network without them is not what was trained"
        )


def _adapter_shapes(network: Shapes, adapted: list[str], rank: int) -> Shapes:
    shapes: Shapes = {}
    for name in adapted:
        layer, (outputs, inputs) = name.removesuffix(".weight"), network[name]
        shapes |= {layer + _A: (rank, inputs), layer + _B: (outputs, rank)}
    return shapes


def _whole_shapes(network: Shapes, adapted: list[str]) -> Shapes:
    """The network's, as a file with adapters names them."""
    return {_renamed(name, adapted): shape for name, shape in network.items()}


def _renamed(name: str, adapted: list[str]) -> str:
    return name.removesuffix(".weight") + _BASE if name in adapted else name


def _selection(uri: str, header: Header, expected: Shapes, prefix: DitPrefix) -> Selection:
    found = of_numbers(select_dit(header.shapes, header.others, expected, prefix), header)
    if found.faults:
        raise UsageError(f"{uri}: {'; '.join(found.faults)}")
    return found


def _here(uri: str, path: Path) -> tuple[Path, Header]:
    """The file on this machine, and what it holds."""
    suffix = posixpath.splitext(uri)[1]
    if suffix not in WEIGHT_SUFFIXES:
        raise UsageError(f"checkpoint {uri}: found suffix `{suffix}`, expected {suffixes_expected(suffix)}")
    path = path.with_suffix(suffix)
    try:
        where = normalise_uri(uri)
        if "://" in where:
            fetch_to_file(where, path)
        else:
            path = Path(where)
        return path, read_header(path)
    except FileNotFoundError:
        raise UsageError(f"checkpoint {uri}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"checkpoint {uri}: {why_unread(uri, error)}") from error
