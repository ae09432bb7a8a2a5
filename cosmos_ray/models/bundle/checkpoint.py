"""Which entries of a checkpoint are the network's parameters, and what the others are. No torch, no Ray."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cosmos_ray.models.bundle.bundle import DIT_PREFIXES, DitPrefix
from cosmos_ray.models.bundle.headers import FLOATS, Header
from cosmos_ray.models.bundle.leads import chosen_lead, has_known_prefix, leads_of, plain, why_none
from cosmos_ray.models.bundle.shapes import Shapes
from cosmos_ray.words import counted

#: Entries that are no parameters, by what they are; matched without the prefix.
_EXTRAS = (
    (re.compile(r"accum_"), "training counters"),
    (re.compile(r"pos_embedder(_options)?\."), "position buffers"),
    (re.compile(r"(.*\.)?_extra_state$"), "engine states"),
    (re.compile(r"optim|(lr_)?sched|(grad_)?scaler"), "training states"),
)
_UNKNOWN = "unknown entries"
_ONE = {"entries": "entry"} | {f"{one}s": one for one in ("counter", "buffer", "state", "weight")}
_MANY = re.compile("|".join(_ONE))
_LISTED, _UNKNOWN_LISTED = 40, 5


@dataclass(frozen=True)
class Selection:
    """Of a checkpoint: the file's name of each parameter; what is ignored, by kind; what is wrong."""

    names: Mapping[str, str]
    ignored: Mapping[str, tuple[str, ...]]
    faults: tuple[str, ...]

    @property
    def unknown(self) -> tuple[str, ...]:
        """Ignored entries of which nobody knows what they are for."""
        return self.ignored.get(_UNKNOWN, ())

    def ignored_text(self) -> str:
        """`25 ignored (21 position buffers, 4 unknown entries: a, b, c, d)`; "" if there is nothing."""
        kinds = ", ".join(
            _listed(_number(names, kind), names, _UNKNOWN_LISTED) if kind == _UNKNOWN else _number(names, kind)
            for kind, names in self.ignored.items()
        )
        return f"{sum(map(len, self.ignored.values()))} ignored ({kinds})" if kinds else ""


def select_dit(
    found: Mapping[str, tuple[int, ...]], others: Iterable[str], expected: Shapes, prefix: DitPrefix
) -> Selection:
    """The parameters `expected` among a DiT checkpoint's entries `found` (name -> shape); `others` are no tensors.

    Parameters have the prefix; in a file where no name has any of the known ones, none is expected, or whatever
    training code has put before all of them (`model.`, `module.`, `model_ema.`), if that leaves no choice.
    """
    everything = [*found, *others]
    leads = leads_of(found, expected)
    has_prefixes = has_known_prefix(everything)
    lead = prefix if has_prefixes else chosen_lead(leads, prefix)
    if lead is None:
        why = why_none(everything, leads, prefix, next(iter(expected)))
        return Selection({name: name for name in expected}, {}, (why,))
    stored = leads.get(lead, {})
    names = {name: stored.get(name, lead + name) for name in expected}
    used = set(names.values())
    ignored = _by_kind((name for name in everything if name not in used), lambda name: _kind(name, lead, has_prefixes))
    missing = [names[name] for name in expected if names[name] not in found]
    faults = []
    if len(missing) == len(expected) and has_prefixes:
        there = sorted({lead for lead in DIT_PREFIXES if any(plain(name).startswith(lead) for name in everything)})
        faults.append(f"no parameter has the prefix `{prefix}` (dit_prefix); found {', '.join(there)}")
    elif missing:
        faults.append(_listed(f"{len(missing)} of {counted(len(expected), 'parameter')} missing", missing))
    if misshapen := _misshapen(found, expected, names):
        faults.append(_listed(f"{counted(len(misshapen), 'parameter')} of another shape", misshapen))
    return Selection(names, ignored, tuple(faults))


def select_exactly(found: Mapping[str, tuple[int, ...]], expected: Shapes) -> Selection:
    """As `select_dit`, of a file that must hold just these tensors (the video tokenizer's)."""
    names = {name: name for name in expected}
    missing = [name for name in expected if name not in found]
    unexpected = sorted(found.keys() - expected.keys())
    faults = [_listed(f"{len(missing)} of {counted(len(expected), 'tensor')} missing", missing)] if missing else []
    if unexpected:
        faults.append(_listed(f"{len(unexpected)} unexpected tensors", unexpected))
    if misshapen := _misshapen(found, expected, names):
        faults.append(_listed(f"{counted(len(misshapen), 'tensor')} of another shape", misshapen))
    return Selection(names, {}, tuple(faults))


def select_t5_encoder(found: Mapping[str, tuple[int, ...]], expected: Shapes) -> Selection:
    """The encoder in a T5 checkpoint. The embedding table is tied: either of its two names may be the stored one."""
    names = {name: name for name in expected}
    if "shared.weight" not in found and "encoder.embed_tokens.weight" in found:
        names["shared.weight"] = "encoder.embed_tokens.weight"
    used = {*names.values(), "encoder.embed_tokens.weight"}
    ignored = _by_kind(
        (name for name in found if name not in used),
        lambda name: "decoder weights" if re.match(r"decoder\.|lm_head\.", name) else _UNKNOWN,
    )
    missing = [name for name in expected if names[name] not in found]
    faults = [_listed(f"{len(missing)} of {counted(len(expected), 'parameter')} missing", missing)] if missing else []
    if misshapen := _misshapen(found, expected, names):
        faults.append(_listed(f"{counted(len(misshapen), 'parameter')} of another shape", misshapen))
    return Selection(names, ignored, tuple(faults))


def select_text_tower(found: Mapping[str, tuple[int, ...]], expected: Shapes) -> Selection:
    """The text tower in a checkpoint of a model of language and pictures, whatever its names begin with."""
    leads = ("model.language_model.", "language_model.model.", "model.", "")
    lead = next((lead for lead in leads if f"{lead}embed_tokens.weight" in found), "")
    names = {name: lead + name for name in expected}
    used = set(names.values())
    others = re.compile(r"(model\.)?visual\.|(language_model\.)?lm_head\.")
    ignored = _by_kind(
        (name for name in found if name not in used),
        lambda name: "weights for pictures and words" if others.match(name) else _UNKNOWN,
    )
    missing = [names[name] for name in expected if names[name] not in found]
    faults = [_listed(f"{len(missing)} of {counted(len(expected), 'parameter')} missing", missing)] if missing else []
    if misshapen := _misshapen(found, expected, names):
        faults.append(_listed(f"{counted(len(misshapen), 'parameter')} of another shape", misshapen))
    return Selection(names, ignored, tuple(faults))


def of_numbers(selection: Selection, header: Header) -> Selection:
    """The same, with a fault for parameters that are no numbers to compute with as they are: whole ones, and those of
    eight bits, which mean nothing without their scales."""
    found = {entry: header.tensors[entry].dtype for entry in selection.names.values() if entry in header.tensors}
    strange = [f"{entry} found {dtype}" for entry, dtype in found.items() if dtype not in FLOATS]
    if not strange:
        return selection
    what = f"{counted(len(strange), 'parameter')} of another type than {', '.join(FLOATS)}"
    return replace(selection, faults=(*selection.faults, _listed(what, strange)))


def _misshapen(found: Mapping[str, tuple[int, ...]], expected: Shapes, names: Mapping[str, str]) -> list[str]:
    """`NAME found [..], expected [..]` for each entry of another shape than expected."""
    return [
        f"{names[name]} found {list(found[names[name]])}, expected {list(shape)}"
        for name, shape in expected.items()
        if names[name] in found and tuple(found[names[name]]) != shape
    ]


def _kind(name: str, lead: str, has_prefixes: bool) -> str:
    bare = plain(name)
    if has_prefixes and (other := next((one for one in DIT_PREFIXES if bare.startswith(one) and one != lead), None)):
        return f"weights under `{other}`"
    if lead and not has_prefixes and not bare.startswith(lead):
        return f"beside `{lead}`"
    bare = bare.removeprefix(lead)
    return next((kind for pattern, kind in _EXTRAS if pattern.match(bare)), _UNKNOWN)


def _number(names: Sequence[str], kind: str) -> str:
    """`4 training counters`, `1 training counter`."""
    return f"{len(names)} {kind}" if len(names) != 1 else f"1 {_MANY.sub(lambda many: _ONE[many[0]], kind)}"


def _by_kind(names: Iterable[str], kind_of: Callable[[str], str]) -> dict[str, tuple[str, ...]]:
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(kind_of(name), []).append(name)
    return {kind: tuple(kinds[kind]) for kind in sorted(kinds)}


def _listed(what: str, names: Sequence[str], limit: int = _LISTED) -> str:
    rest = f", and {len(names) - limit} more" if len(names) > limit else ""
    return f"{what}: {', '.join(names[:limit])}{rest}"
