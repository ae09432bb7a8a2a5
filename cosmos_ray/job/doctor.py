"""What this machine would use for a job, what it lacks, and what that costs: the findings of `cosmos-ray doctor`.

`look` asks the machine, `findings` judges what was seen; the second is a plain rule. Imports torch, if it is there.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cosmos_ray.clip.family import PREDICT2
from cosmos_ray.clip.ffmpeg import check_ffmpeg
from cosmos_ray.clip.guardrail_rules import NO_GUARDRAILS, GuardrailRules
from cosmos_ray.clip.refiner_rules import NOT_REFINED, RefinerRules
from cosmos_ray.errors import CosmosRayError, UsageError, first_line
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.bundle.cache import cache_folder, cache_root
from cosmos_ray.models.bundle.check import check_bundle, text_encoder_parameters
from cosmos_ray.models.bundle.memory import guardrail_bytes, memory_plans, runs_on_cpus
from cosmos_ray.models.guardrails.checks import look as look_at_guardrails
from cosmos_ray.models.network.toolchain import missing_tools
from cosmos_ray.refine.check import findings_of
from cosmos_ray.store.faults import explain
from cosmos_ray.store.storage import PROBES, Storage
from cosmos_ray.version import VERSION
from cosmos_ray.words import byte_size, counted

#: Versions of torch, its CUDA and fa3-fwd whose speed was measured (benchmarks/results/, README's table).
MEASURED = ("2.11.0", "13.0", "0.0.3")
_STORES = {"s3": "s3fs", "gcs": "gcsfs", "azure": "adlfs"}
#: What a job asks of a cache's disk at least: less than the published models' files.
_SMALL_DISK = 60e9


@dataclass(frozen=True)
class Finding:
    """`slower`: a job runs, at a price that the message says. `missing`: a job could not run."""

    level: Literal["ok", "slower", "missing"]
    subject: str
    message: str


@dataclass(frozen=True)
class Gpu:
    """capability: compute capability, (9, 0) on Hopper. free, total: bytes."""

    name: str
    capability: tuple[int, int]
    free: int
    total: int


@dataclass(frozen=True)
class Machine:
    """What was seen. versions: of installed packages, by name; kernels: what the network would run with on the first
    GPU; tools: what is missing to build fused kernels."""

    versions: dict[str, str]
    cuda: str | None
    gpus: tuple[Gpu, ...]
    kernels: str
    tools: tuple[str, ...]
    torch_fault: str = ""


def examine(
    model: str | None,
    store: str | None,
    refiner: RefinerRules = NOT_REFINED,
    guardrails: GuardrailRules = NO_GUARDRAILS.rules,
) -> Iterator[Finding]:
    """Everything, in the order in which a job meets it. model: also whether that one would run here. refiner,
    guardrails: also whether prompts could be refined so, and checked, videos too."""
    machine = look()
    yield from findings(machine)
    yield _ffmpeg()
    yield from _stores(machine.versions)
    if store is not None:
        yield _tried(store)
    yield _cache()
    if model is not None:
        bundle = load_bundle(model)
        yield from _model(bundle, machine, guardrail_bytes(guardrails, bundle))
    for found in findings_of(refiner):
        yield Finding("ok" if found.level == "ok" else "missing", found.subject, found.message)
    if guardrails.enabled:
        family = load_bundle(model).recipe if model is not None else PREDICT2
        for one in look_at_guardrails(guardrails, family):
            yield Finding("ok" if one.level == "ok" else "missing", one.subject, one.message)


def look() -> Machine:
    """Asks the packages that are installed, and torch for its GPUs."""
    names = ("torch", "ray", "fa3-fwd", "diffusers", "transformers", *_STORES.values())
    versions = {name: found for name in names if (found := _version(name))}
    try:
        import torch

        from cosmos_ray.models.network.kernels import in_words
    except (ImportError, OSError) as error:
        return Machine(versions, None, (), "", missing_tools(), first_line(error))
    gpus = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(number)
        name, capability = torch.cuda.get_device_name(number), torch.cuda.get_device_capability(number)
        gpus.append(Gpu(name, capability, free, total))
    device = torch.device("cuda" if gpus else "cpu")
    kernels = in_words(device, torch.bfloat16, 128)  # as published networks have them
    return Machine(versions, torch.version.cuda, tuple(gpus), kernels, missing_tools())


def findings(machine: Machine) -> Iterator[Finding]:
    """What versions, GPUs and kernels mean for a job."""
    has = machine.versions
    yield Finding("ok", "cosmos_ray", f"{VERSION}, Python {platform.python_version()}, ray {has.get('ray', 'none')}")
    if "ray" not in has:
        yield Finding(
            "missing", "ray", "is not installed: pip install -c constraints.txt . brings all that a job needs"
        )
    if machine.torch_fault:
        yield Finding("missing", "torch", f"does not load: {machine.torch_fault}")
        return
    yield _versions(machine)
    if not machine.gpus:
        yield Finding("ok", "GPUs", "none: gangs of CPU ranks, for small models such as `tiny` alone")
    for gpu in machine.gpus:
        memory = f"{byte_size(gpu.free)} of {byte_size(gpu.total)} free"
        yield Finding("ok", "GPU", f"{gpu.name}, {memory}")
    yield _attention(machine)
    yield _fused(machine)


def _versions(machine: Machine) -> Finding:
    fa3 = machine.versions.get("fa3-fwd")
    found = (_plain(machine.versions["torch"]), machine.cuda or "", fa3 or "")
    says = f"torch {machine.versions['torch']}, CUDA {machine.cuda or 'none'}, fa3-fwd {fa3 or 'none'}"
    torch, cuda, wheel = MEASURED
    measured = "these were measured" if found == MEASURED else "this combination was not measured"
    return Finding(
        "ok", "versions", f"{says}: {measured} (README's figures: torch {torch}, CUDA {cuda}, fa3-fwd {wheel})"
    )


def _attention(machine: Machine) -> Finding:
    attention = machine.kernels.partition(",")[0]
    hopper = [gpu for gpu in machine.gpus if gpu.capability[0] == 9]
    if hopper and attention != "FA3":
        why = "fa3-fwd does not work here" if "fa3-fwd" in machine.versions else "fa3-fwd is not installed"
        cost = "about 3.3 s more on each guided step of 26.2 s (2B, one H100)"
        return Finding("slower", "attention", f"{attention}: {why}; {cost}. pip install '.[hopper]' brings it")
    return Finding("ok", "attention", attention)


def _fused(machine: Machine) -> Finding:
    why = machine.kernels.partition("plain: ")[2]
    if machine.gpus and why:
        mend = "; install gcc and Python's headers (python3-dev)" if machine.tools else ""
        return Finding("slower", "fused kernels", f"plain: {why}; 8 % more of every GPU-hour{mend}")
    if machine.gpus:
        return Finding("ok", "fused kernels", "fused")
    if machine.tools:
        return Finding("ok", "fused kernels", f"not used on a CPU; with a GPU: plain, {', '.join(machine.tools)}")
    return Finding("ok", "fused kernels", "not used on a CPU; a GPU could have them")


def _ffmpeg() -> Finding:
    try:
        able = check_ffmpeg()
    except CosmosRayError as error:
        return Finding("missing", "ffmpeg", str(error))
    return Finding("ok", "ffmpeg", f"{able.version}, all that a job needs: {able.path}")


def _stores(versions: dict[str, str]) -> Iterator[Finding]:
    for extra, package in _STORES.items():
        found = versions.get(package)
        lacks = f"{package} is not installed: pip install '.[{extra}]', if you use it"
        yield Finding("ok", f"store {extra}", f"{package} {found}" if found else lacks)


def _tried(uri: str) -> Finding:
    """One write, one read, one removal."""
    try:
        storage = Storage(uri)
        path, data = f"{PROBES}/{uuid.uuid4().hex}", b"cosmos-ray doctor"
        storage.write(path, data)
        if (found := storage.read(path)) != data:
            return Finding("missing", "store", f"{uri}: wrote {len(data)} bytes and read {len(found)} others")
        storage.delete(path)
    except (OSError, CosmosRayError) as error:
        return Finding("missing", "store", f"{uri}: {explain(error)}")
    return Finding("ok", "store", f"{uri}: one write, one read")


def _cache() -> Finding:
    try:
        probe = cache_folder("locks") / f"doctor-{uuid.uuid4().hex}"
        probe.write_bytes(b"cosmos-ray doctor")
        whole = probe.read_bytes() == b"cosmos-ray doctor"
        probe.unlink()
        free = shutil.disk_usage(cache_root()).free
    except (OSError, CosmosRayError) as error:
        return Finding("missing", "cache", str(error))
    if not whole:
        return Finding("missing", "cache", f"{cache_root()}: what was written is not what is read")
    room = "" if free > _SMALL_DISK else ": less than the published model's files take; COSMOS_RAY_CACHE moves it"
    hub = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    return Finding("ok", "cache", f"{cache_root()}, one write, one read, {byte_size(free, 0)} free{room}; hub: {hub}")


def _model(bundle: Bundle, machine: Machine, guardrails: int) -> Iterator[Finding]:
    """Its files, and whether a GPU of this machine has the memory. guardrails: their bytes there."""
    for one in check_bundle(bundle):
        yield Finding("ok" if one.level == "ok" else "missing", f"{bundle.name} {one.subject}", one.message)
    if bundle.generator == "fake":
        return
    if bundle.network.natten is not None:
        yield from _natten(bundle, "cuda" if machine.gpus else "cpu")
    if not machine.gpus:
        if not runs_on_cpus(bundle):
            yield Finding("missing", bundle.name, "there is no GPU here, and this is no model for CPUs")
        return
    has = min(gpu.total for gpu in machine.gpus)
    plans = memory_plans(bundle, text_encoder_parameters(bundle), len(machine.gpus), guardrails=guardrails)
    fits = [plan for plan in plans if plan.total <= has]
    best = (fits or plans)[0]
    says = f"a gang of {best.gang_size} needs {byte_size(best.total)} a GPU, {counted(len(machine.gpus), 'GPU')} here"
    level: Literal["ok", "missing"] = "ok" if fits else "missing"
    yield Finding(level, f"{bundle.name} memory", f"{says} with at least {byte_size(has)} each")


def _natten(bundle: Bundle, device: str) -> Iterator[Finding]:
    from cosmos_ray.models.network.neighbourhood import check_natten

    try:
        check_natten(device)
    except UsageError as error:
        yield Finding("missing", f"{bundle.name} natten", str(error))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _plain(version: str) -> str:
    """Without the build's name: 2.11.0+cu130 is 2.11.0."""
    return version.partition("+")[0]
