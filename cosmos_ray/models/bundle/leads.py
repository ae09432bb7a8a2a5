"""What training code puts round a network's parameters: dictionaries that they lie in, beginnings of their names.

Nobody has to unpack a file by hand whose parameters can be only one thing. No torch, no Ray.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from cosmos_ray.models.bundle.bundle import DIT_PREFIXES, DitPrefix

#: Dictionaries in dictionaries, so deep and no deeper; and all their entries: a small pickle may stand for any number.
_DEEPEST, _MOST_ENTRIES = 4, 2**18
#: Wrappers that torch puts between the parts of a name (FSDP, activation checkpoints, torch.compile): no part of it.
_WRAPPER = re.compile(r"(?<![^.])(?:_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\.")
_AVERAGE = re.compile(r"(?<![^._])ema(?![^._])", re.IGNORECASE)
_OPTIMIZER = re.compile(r"(?<![^._])optim", re.IGNORECASE)
_TOPS_LISTED = 6

#: {lead: {a parameter's name in the network: its name in the file}}
Leads = Mapping[str, Mapping[str, str]]


def leaves(value: Mapping[object, object]) -> Iterator[tuple[str, object]]:
    """What lies in a dictionary and in those within it, as (`outer.inner`, value). ValueError if that has no end."""
    stack = [("", value, 1)]
    count = 0
    while stack:
        lead, inner, depth = stack.pop()
        count += len(inner)
        if count > _MOST_ENTRIES:
            raise ValueError(f"found more than {_MOST_ENTRIES} entries, in dictionaries within dictionaries")
        for key, one in inner.items():
            if isinstance(one, dict) and one and depth < _DEEPEST:
                stack.append((f"{lead}{key}.", one, depth + 1))
            else:
                yield f"{lead}{key}", one


def plain(name: str) -> str:
    """A file's name without wrappers that mean nothing."""
    return _WRAPPER.sub("", name)


def leads_of(names: Iterable[str], parameters: Collection[str]) -> Leads:
    """By what each name has before a parameter's own."""
    found: dict[str, dict[str, str]] = collections.defaultdict(dict)
    most = max((name.count(".") for name in parameters), default=0) + 1
    for name in names:
        parts = plain(name).split(".")
        # Not one part after the other of a name that a stranger made of a million.
        for at in range(max(0, len(parts) - most), len(parts)):
            if (own := ".".join(parts[at:])) in parameters:
                found[".".join((*parts[:at], ""))].setdefault(own, name)
                break
    return found


def has_known_prefix(names: Iterable[str]) -> bool:
    return any(plain(name).startswith(DIT_PREFIXES) for name in names)


def chosen_lead(leads: Leads, prefix: DitPrefix) -> str | None:
    """Of a file without the known prefixes: under which lead the weights (or, with `net_ema.`, their average) are.

    The one that can be meant, or, of several, the one that has most; None if there is none, or they have as many. In a
    file of parameters that stand alone, without a lead, those are taken for either.
    """
    if set(leads) == {""}:
        return ""
    meant = _meant(leads, prefix)
    most = max((len(leads[lead]) for lead in meant), default=0)
    best = [lead for lead in meant if len(leads[lead]) == most]
    return best[0] if len(best) == 1 else None


def why_none(names: Collection[str], leads: Leads, prefix: DitPrefix, example: str) -> str:
    """What is found in a file in which `chosen_lead` finds nothing, what is expected, and the way out, in one line.

    example: a parameter's own name.
    """
    of_average = prefix == "net_ema."
    if meant := _meant(leads, prefix):
        what = "running averages" if of_average else "weights"
        return f"found {what} under {_listed(meant)}, expected one of them: {_WAY_OUT}"
    if others := _meant(leads, "net." if of_average else "net_ema."):
        if of_average:
            return f"found no running average, only weights under {_listed(others)}: they are taken without --ema"
        return f"found a running average alone, under {_listed(others)}: --ema takes it (model.ema=true, --load_ema)"
    found = f"no parameter of this network among {_tops(names)}" if names else "no entries"
    return f"found {found}, expected `net.{example}` and so on (`net_ema.` of a running average): {_WAY_OUT}"


_WAY_OUT = "save it alone, `torch.save({f'net.{name}': value for name, value in network.state_dict().items()}, FILE)`"


def _meant(leads: Leads, prefix: DitPrefix) -> list[str]:
    of_average = prefix == "net_ema."
    return [lead for lead in leads if bool(_AVERAGE.search(lead)) == of_average and not _OPTIMIZER.search(lead)]


def _listed(leads: Collection[str]) -> str:
    return " and ".join(f"`{lead}`" if lead else "no key" for lead in sorted(leads))


def _tops(names: Collection[str]) -> str:
    """`model (568 entries), epoch`: a file's outermost keys."""
    tops = collections.Counter(name.split(".", 1)[0] for name in names)
    listed = [f"`{top}`" if count == 1 else f"`{top}` ({count} entries)" for top, count in tops.items()]
    rest = f" and {len(listed) - _TOPS_LISTED} more" if len(listed) > _TOPS_LISTED else ""
    return ", ".join(listed[:_TOPS_LISTED]) + rest
