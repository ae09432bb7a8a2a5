"""Is a bundle usable here? The findings of `cosmos-ray model check`, before any GPU is taken. No torch, no Ray.

Files that are on this machine are verified; of files that are not, it is asked whether they could be fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import hub
from cosmos_ray.models.bundle.bundle import Bundle, FileKind, fitting_world_sizes
from cosmos_ray.models.bundle.cache import content_sha256
from cosmos_ray.models.bundle.checkpoint import of_numbers, select_dit, select_exactly
from cosmos_ray.models.bundle.dims import Qwen2Dims, T5Dims
from cosmos_ray.models.bundle.fetch import open_store, size_of
from cosmos_ray.models.bundle.files import NOT_PUBLISHED, cached_path, local_path
from cosmos_ray.models.bundle.headers import WEIGHT_SUFFIXES, Header, parse_header, read_header
from cosmos_ray.models.bundle.memory import parameters
from cosmos_ray.models.bundle.qwen2_files import Qwen2Files, read_dims, read_qwen2
from cosmos_ray.models.bundle.references import FileRef, OwnCheckpoint, RandomWeights
from cosmos_ray.models.bundle.shapes import Shapes, dit_shapes, qwen2_shapes, vae_shapes
from cosmos_ray.models.bundle.t5_files import T5Files, encoder_shapes, read_config, read_t5
from cosmos_ray.store.faults import explain
from cosmos_ray.words import byte_size, counted

#: Weights that are drawn are for tests: more of them would fill a machine.
_MOST_RANDOM = 10**9
#: Parts whose weights are one file.
_WEIGHTS = ("dit", "picture_dit", "vae")


@dataclass(frozen=True)
class Finding:
    """One result. `problem`: the bundle cannot be used; `unavailable`: it may be, but not offline on this machine."""

    level: Literal["ok", "problem", "unavailable"]
    subject: str
    message: str


def check_bundle(bundle: Bundle) -> list[Finding]:
    """Everything about a bundle that can be checked without a GPU.

    Files: present with the right sha256, or within reach (of this account, where the hub asks for one). Weights: names
    and shapes, as far as their headers are at hand. Gang sizes.
    """
    heads, tokens = bundle.network.num_heads, bundle.tokens_per_view
    sizes = ", ".join(map(str, fitting_world_sizes(heads, tokens)))
    findings = [Finding("ok", "gang sizes", f"{heads} heads, {tokens} tokens a view: {sizes}")]
    if bundle.files is None:
        return [*findings, Finding("ok", "files", f"generator `{bundle.generator}` needs none")]
    for kind in bundle.kinds:
        findings.extend(_check_file(bundle, kind))
    return findings


def text_encoder_parameters(bundle: Bundle) -> int | None:
    """How large the text encoder is, by the configuration beside its weights; None if that is not on this machine."""
    if bundle.files is None or isinstance(bundle.file("text_encoder"), RandomWeights):
        return None
    folder = cached_path(bundle, "text_encoder")
    if folder is None or not folder.is_dir():
        return None
    try:
        if bundle.recipe.text_encoder == "reason1":
            return parameters(qwen2_shapes(read_dims(folder)))
        return parameters(encoder_shapes(read_config(folder)))
    except ValueError:
        return None


def _shapes(bundle: Bundle, kind: FileKind) -> Shapes:
    """Of a part whose weights are one file; {} of the others."""
    if kind == "dit":
        return dit_shapes(bundle.network)
    if kind == "picture_dit" and bundle.picture:
        return dit_shapes(bundle.picture.network)
    return vae_shapes(bundle.vae) if kind == "vae" else {}


def _check_file(bundle: Bundle, kind: FileKind) -> list[Finding]:
    reference = bundle.file(kind)
    if isinstance(reference, RandomWeights):
        count = parameters(_shapes(bundle, kind))
        if count > _MOST_RANDOM:
            found = f"random weights of {count:,} parameters, expected at most {_MOST_RANDOM:,}"
            return [Finding("problem", kind, found)]
        return [Finding("ok", kind, f"random weights, seed {reference.random_seed}")]
    if isinstance(reference, OwnCheckpoint):
        return [Finding("problem", kind, NOT_PUBLISHED)]
    path = cached_path(bundle, kind)
    if path is None:
        return _check_remote(bundle, kind, reference)
    try:
        path = local_path(bundle, kind) if reference.hub() else path
        findings = [_check_sha256(reference, kind, path)]
        if findings[0].level == "problem" and "://" in bundle.root_of(kind):
            return _check_remote(bundle, kind, reference)  # no longer what was fetched: to be fetched again
    except (UsageError, OSError) as error:
        return [Finding("problem", kind, str(error))]
    return [*findings, *_check_content(bundle, kind, path)]


def _check_remote(bundle: Bundle, kind: FileKind, reference: FileRef) -> list[Finding]:
    """A part that is not on this machine."""
    hub_file = reference.hub()
    if hub_file is not None:
        answer = hub.ask(hub_file, kind)
        return [Finding(answer.level, kind, answer.message)]
    uri = f"{bundle.root_of(kind)}/{reference.uri}"
    if "://" not in bundle.root_of(kind):
        return [Finding("problem", kind, f"bundle `{bundle.name}`: files.{kind} not found at {uri}")]
    try:
        size = size_of(uri)
        found = Finding("ok", kind, f"to be fetched: {uri}, {byte_size(size, 2)}")
        if kind not in _WEIGHTS or "." not in reference.uri:
            return [found]
        filesystem, path = open_store(uri)
        with filesystem.open(path, "rb") as file:
            return [
                found,
                *_check_content(bundle, kind, Path(uri), lambda _: parse_header(file, size, Path(uri).suffix)),
            ]
    except FileNotFoundError as error:
        # fsspec calls a web server that does not answer "not found", too.
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            return [Finding("unavailable", kind, f"no answer about {uri}: {explain(error.__cause__)}")]
        return [Finding("problem", kind, f"{uri} not found")]
    except UsageError as error:
        return [Finding("problem", kind, str(error))]
    except OSError as error:
        return [Finding("unavailable", kind, f"no answer about {uri}: {explain(error)}")]


def _check_sha256(reference: FileRef, kind: FileKind, path: Path) -> Finding:
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    if reference.sha256 is None:
        return Finding("ok", kind, f"present: {path}, {byte_size(size, 2)} (pinned by its revision)")
    found = content_sha256(path)
    if found == reference.sha256:
        return Finding("ok", kind, f"present: {path}, {byte_size(size, 2)}, sha256 as expected")
    return Finding("problem", kind, f"{path}: found sha256 {found}, expected {reference.sha256}")


def _check_content(
    bundle: Bundle, kind: FileKind, path: Path, header_of: Callable[[Path], Header] = read_header
) -> list[Finding]:
    """Names and shapes of a part's weights, from headers alone."""
    if kind in _WEIGHTS and path.suffix not in WEIGHT_SUFFIXES:
        return [
            Finding("problem", kind, f"{path}: found suffix `{path.suffix}`, expected {', '.join(WEIGHT_SUFFIXES)}")
        ]
    try:
        if kind in ("dit", "picture_dit"):
            header = header_of(path)
            prefix = bundle.picture.dit_prefix if kind == "picture_dit" and bundle.picture else bundle.dit_prefix
            selection = select_dit(header.shapes, header.others, _shapes(bundle, kind), prefix)
        elif kind == "vae":
            header = header_of(path)
            selection = select_exactly(header.shapes, _shapes(bundle, kind))
        elif kind == "text_encoder":
            files = read_text_encoder(bundle, path)
            header, selection = files.header, files.selection
        else:
            _check_tokenizer(path)
            return []
    except (ValueError, OSError) as error:
        return [Finding("problem", kind, f"{path}: {error}")]
    selection = of_numbers(selection, header)
    if selection.faults:
        return [Finding("problem", kind, fault) for fault in selection.faults]
    ignored = f"; {selection.ignored_text()}" if selection.ignored else ""
    return [Finding("ok", kind, f"{counted(len(selection.names), 'tensor')}, names and shapes as expected{ignored}")]


def read_text_encoder(bundle: Bundle, path: Path) -> T5Files | Qwen2Files:
    """What the family's encoder consists of. Raises ValueError."""
    dims = bundle.text_encoder
    if bundle.recipe.text_encoder == "reason1":
        own = dims if isinstance(dims, Qwen2Dims) else None
        return read_qwen2(path, own, bundle.network.crossattn_proj_in_channels)
    return read_t5(path, dims if isinstance(dims, T5Dims) else None, bundle.text_width)


def _check_tokenizer(path: Path) -> None:
    """ValueError if there is nothing that a tokenizer could be made of."""
    if path.is_dir() and not any((path / name).exists() for name in hub.TOKENIZER_FILES):
        raise ValueError(f"found neither {' nor '.join(hub.TOKENIZER_FILES)}")
