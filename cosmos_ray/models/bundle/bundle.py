"""What a model is: a validated `bundle.json` beside (or pointing to) its weights. No torch, no Ray.

Some bundles are built in, under the names that `names.py` and `single.py` know; any folder or URI that holds a
`bundle.json` is another. `docs/bundle.md` describes every field.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.family import FAMILIES, PREDICT2, TEXT2IMAGE, Family
from cosmos_ray.clip.request import PICTURE, VIEWS
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.dims import (
    PIXELS_PER_TOKEN,
    Count,
    NetworkDims,
    Qwen2Dims,
    Ratio,
    Side,
    Strict,
    T5Dims,
    VaeDims,
    family_problems,
    picture_problems,
)
from cosmos_ray.models.bundle.fetch import read_small
from cosmos_ray.models.bundle.names import BUILT_IN, LISTED, MAX_NAME, built_in_name, name_in_fingerprint, nearest_name
from cosmos_ray.models.bundle.references import FileRef, OwnCheckpoint, RandomWeights
from cosmos_ray.models.bundle.single import TINY_TRANSFER, published, tiny, tiny_transfer
from cosmos_ray.models.bundle.words import faults_in_words
from cosmos_ray.store.uris import normalise_uri, path_text

Numerics = Literal["reference", "float32"]
FileKind = Literal["dit", "picture_dit", "vae", "text_encoder", "tokenizer"]
DitPrefix = Literal["net.", "net_ema."]
TextDtype = Literal["bfloat16", "float32"]
#: The GPU (or CPU) of the gang's first rank, or the CPU of its node.
TextDevice = Literal["gang", "cpu"]

BUNDLE_FILE = "bundle.json"
#: What published checkpoints put before the network's names: the weights, and their running average.
DIT_PREFIXES: tuple[DitPrefix, ...] = ("net.", "net_ema.")
BUILT_IN_FOLDER = Path(__file__).parent / "built_in"

#: Pixels a latent cell spans in height and width.
PIXELS_PER_LATENT = 8

#: Largest `bundle.json`, bytes.
_MAX_BYTES = 2**20


class Files(Strict):
    """picture_dit: of the network that makes the picture that a clip begins with, where there is one."""

    dit: FileRef | RandomWeights | OwnCheckpoint
    picture_dit: FileRef | RandomWeights | None = None
    vae: FileRef | RandomWeights
    text_encoder: FileRef | RandomWeights
    tokenizer: FileRef


class Sampling(Strict):
    """What a manifest row that says nothing gets. camera_prefix: captions are told which way their camera faces."""

    num_steps: Count
    guidance: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
    negative_prompt: Annotated[str, Field(max_length=20_000)]
    camera_prefix: bool = False


class Picture(Strict):
    """The model that makes the picture that each clip of a bundle begins with: what differs from the bundle."""

    family: str = TEXT2IMAGE.name
    height: Side
    width: Side
    network: NetworkDims
    num_steps: Count
    guidance: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
    dit_prefix: DitPrefix = "net."


#: Fields of a bundle that earlier releases did not have.
_NEWER = ("family", "fps", "picture")
_NEWER_OF_NETWORK = (
    "crossattn_proj_in_channels", "vace_block_every_n", "num_max_modalities", "has_condition_mask", "natten",
)  # fmt: skip


class Bundle(Strict):
    """One model. height and width in pixels, state_t in latent frames, model_fps in frames a second; fps: of the files
    that are written, where it is not the family's."""

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=MAX_NAME)]
    generator: Literal["cosmos", "fake"]
    family: str = PREDICT2.name
    height: Side
    width: Side
    state_t: Side
    n_views: Annotated[int, Field(gt=0, le=len(VIEWS))] = len(VIEWS)
    model_fps: Ratio = 30.0
    fps: Annotated[int, Field(gt=0, le=120)] | None = None
    numerics: Numerics
    sampling: Sampling
    network: NetworkDims
    vae: VaeDims
    text_encoder: T5Dims | Qwen2Dims | None = None
    text_encoder_dtype: TextDtype = "bfloat16"
    text_encoder_device: TextDevice = "gang"
    dit_prefix: DitPrefix = "net."
    picture: Picture | None = None
    files: Files | None = None

    _root: str = PrivateAttr(default="")
    _built_in: str = PrivateAttr(default="")  # whose folder it is, where that is not the name's
    _dit_root: str | None = PrivateAttr(default=None)
    _picture_root: str | None = PrivateAttr(default=None)
    _recipe: Family | None = PrivateAttr(default=None)  # where a job has chosen another solver

    @model_validator(mode="after")
    def _check(self) -> Bundle:
        network = self.network
        problems = []
        if self.height % PIXELS_PER_TOKEN or self.width % PIXELS_PER_TOKEN:
            problems.append(f"height x width {self.height}x{self.width}: expected multiples of {PIXELS_PER_TOKEN}")
        if self.height > network.max_img_h * PIXELS_PER_LATENT or self.width > network.max_img_w * PIXELS_PER_LATENT:
            problems.append(f"height x width {self.height}x{self.width}: more than network.max_img_h, max_img_w allow")
        if self.state_t > network.max_frames:
            problems.append(f"state_t {self.state_t}: expected at most network.max_frames {network.max_frames}")
        if network.model_channels % (2 * network.num_heads):
            problems.append(f"network.model_channels {network.model_channels}: expected an even width a head")
        if self.recipe.has_cameras and self.n_views > network.n_cameras_emb:
            problems.append(f"n_views {self.n_views}: expected at most n_cameras_emb {network.n_cameras_emb}")
        if network.in_channels != self.vae.z_dim or network.out_channels != self.vae.z_dim:
            problems.append(f"network.in_channels and out_channels: expected vae.z_dim {self.vae.z_dim}")
        if self.generator == "cosmos" and self.files is None:
            problems.append("files: required for generator `cosmos`")
        if self.files and isinstance(self.files.text_encoder, RandomWeights) and self.text_encoder is None:
            problems.append("text_encoder: its dimensions are required for random weights")
        problems += family_problems(self.recipe, self.n_views, network, self.text_encoder)
        if self.recipe.makes_picture != (self.picture is not None):
            problems.append(f"picture: expected {'the model of' if self.recipe.makes_picture else 'no'} picture")
        elif self.files and (self.picture is None) != (self.files.picture_dit is None):
            problems.append("files.picture_dit: expected just where there is a `picture`")
        elif self.picture is not None and self.files is not None:
            sides = self.picture.height, self.picture.width
            problems += picture_problems(self.picture.family, self.picture.network, sides, self.text_encoder)
        if self.sampling.camera_prefix and self.recipe.text_encoder != "reason1":
            problems.append(f"sampling.camera_prefix: family {self.family} was not trained with it")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @field_validator("family")
    @classmethod
    def _check_family(cls, found: str) -> str:
        if found not in FAMILIES:
            raise ValueError(f"found {found!r}, expected one of {', '.join(FAMILIES)}")
        return found

    @property
    def recipe(self) -> Family:
        """All that its kind of model does in its own way."""
        return self._recipe or FAMILIES[self.family]

    @property
    def root(self) -> str:
        """Folder (path or URI) that relative files lie in. A built-in bundle's is this package's, on whatever node."""
        return self._root or str(BUILT_IN_FOLDER / (self._built_in or self.name))

    @property
    def kinds(self) -> tuple[FileKind, ...]:
        """The parts that it has files of, or random weights."""
        return tuple(kind for kind in get_args(FileKind) if getattr(self.files, kind, None) is not None)

    def root_of(self, kind: FileKind) -> str:
        """Folder that one part's relative file lies in: a checkpoint of one's own may lie elsewhere than the rest."""
        own = {"dit": self._dit_root, "picture_dit": self._picture_root}.get(kind)
        return self.root if own is None else own

    def picture_bundle(self) -> Bundle:
        """The model of the picture that its clips begin with, as a bundle of its own; it shares all other parts."""
        picture, files = self.picture, self.files
        assert picture is not None, "the family makes pictures"
        assert files is not None, "no fake model makes pictures"
        own = {name: getattr(picture, name) for name in ("family", "height", "width", "network", "dit_prefix")}
        sampling = self.sampling.model_copy(update={"num_steps": picture.num_steps, "guidance": picture.guidance})
        parts = files.model_copy(update={"dit": files.picture_dit, "picture_dit": None})
        name = f"{self.name}.picture"
        found = self.model_copy(
            update={**own, "name": name, "sampling": sampling, "files": parts, "state_t": 1, "picture": None}
        )
        found._built_in, found._dit_root, found._recipe = self._built_in or self.name, self._picture_root, None
        return found

    def with_picture_dit(self, file: FileRef, prefix: DitPrefix, root: str, name: str) -> Bundle:
        """As `with_dit`, of the network that makes the picture."""
        assert self.files is not None
        assert self.picture is not None
        files = self.files.model_copy(update={"picture_dit": file})
        picture = self.picture.model_copy(update={"dit_prefix": prefix})
        found = self.model_copy(update={"files": files, "picture": picture, "name": name})
        found._built_in, found._picture_root = self._built_in or self.name, root
        return found

    def with_dit(self, file: FileRef, prefix: DitPrefix, root: str, name: str) -> Bundle:
        """Another network's weights, `file` of the folder `root`, and with them another name (another fingerprint)."""
        assert self.files is not None
        files = self.files.model_copy(update={"dit": file})
        found = self.model_copy(update={"files": files, "dit_prefix": prefix, "name": name})
        found._built_in, found._dit_root = self._built_in or self.name, root
        return found

    def shape_of(self, view: str, num_chunks: int = 1, overlap: int = 1) -> tuple[int, int, int, int]:
        """Frames, height, width and colours of a view of a clip; overlap: frames that neighbouring chunks share."""
        if view == PICTURE and self.picture is not None:
            return (1, self.picture.height, self.picture.width, 3)
        return (self.recipe.frames(self.num_frames, num_chunks, overlap), self.height, self.width, 3)

    @property
    def file_fps(self) -> int:
        """Frames a second of the files that are written, where a row does not say."""
        return self.fps or self.recipe.fps

    @property
    def text_width(self) -> int:
        return self.network.crossattn_emb_channels

    @property
    def tokens_per_view(self) -> int:
        return self.state_t * (self.height // PIXELS_PER_TOKEN) * (self.width // PIXELS_PER_TOKEN)

    @property
    def num_frames(self) -> int:
        return 4 * (self.state_t - 1) + 1

    @property
    def fingerprint(self) -> str:
        """sha256 of everything the bundle says, the files' hashes and revisions included (not where it lies)."""
        facts = self.model_dump(mode="json") | {"name": name_in_fingerprint(self.name)}
        for name in _NEWER:  # bundles that do not use them keep the fingerprint that they had before
            if facts[name] == type(self).model_fields[name].default:
                del facts[name]
        for name in _NEWER_OF_NETWORK:
            if facts["network"][name] == NetworkDims.model_fields[name].default:
                del facts["network"][name]
        if facts["files"] and facts["files"]["picture_dit"] is None:
            del facts["files"]["picture_dit"]
        if not facts["sampling"]["camera_prefix"]:
            del facts["sampling"]["camera_prefix"]
        canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def with_numerics(self, numerics: Numerics | None) -> Bundle:
        """The same bundle with other numerics (another fingerprint); None keeps its own."""
        if numerics in (None, self.numerics):
            return self
        if numerics not in ("reference", "float32"):
            raise UsageError(f"numerics: found {numerics!r}, expected `reference` or `float32`")
        return self.model_copy(update={"numerics": numerics})

    def with_text_encoder(self, device: TextDevice | None, dtype: TextDtype | None) -> Bundle:
        """The same bundle with the text encoder elsewhere or in another dtype (another fingerprint); None: its own."""
        found = {"text_encoder_device": device, "text_encoder_dtype": dtype}
        changed = {name: value for name, value in found.items() if value not in (None, getattr(self, name))}
        return self.model_copy(update=changed) if changed else self

    def with_camera_prefix(self, is_on: bool | None) -> Bundle:
        """The same bundle with captions that are told their camera, or not (another fingerprint); None: its own."""
        if is_on in (None, self.sampling.camera_prefix):
            return self
        if self.recipe.text_encoder != "reason1":
            raise UsageError(f"sampling.camera_prefix: model `{self.name}` was not trained with it")
        return self.model_copy(update={"sampling": self.sampling.model_copy(update={"camera_prefix": is_on})})

    def with_size(self, size: str | None) -> Bundle:
        """The same bundle for another size, `WIDTHxHEIGHT` in pixels (another fingerprint); None: its own. UsageError
        for one that its network cannot have."""
        if size is None:
            return self
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
        width, height = (int(match[1]), int(match[2])) if match else (0, 0)
        network = self.network
        if not match or min(width, height) < PIXELS_PER_TOKEN or width % PIXELS_PER_TOKEN or height % PIXELS_PER_TOKEN:
            raise UsageError(f"resolution: found {size!r}, expected WIDTHxHEIGHT, multiples of {PIXELS_PER_TOKEN}")
        if height > network.max_img_h * PIXELS_PER_LATENT or width > network.max_img_w * PIXELS_PER_LATENT:
            most = f"{network.max_img_w * PIXELS_PER_LATENT}x{network.max_img_h * PIXELS_PER_LATENT}"
            raise UsageError(
                f"resolution: found {size}, expected at most {most}, as the network of `{self.name}` allows"
            )
        return self.model_copy(update={"width": width, "height": height})

    def solved_by(self, approximations: Approximations) -> Bundle:
        """The same bundle with the solver and schedule that a job has chosen, which its fingerprint does not tell:
        what was chosen goes into a clip's key by itself. UsageError where there is nothing to choose."""
        recipe = FAMILIES[self.family].solved_by(approximations)
        if recipe == self.recipe:
            return self
        solved = self.model_copy()
        solved._recipe = recipe
        return solved

    @property
    def is_random(self) -> bool:
        """Its network was never trained: whatever it makes shows nothing."""
        return self.files is not None and isinstance(self.files.dit, RandomWeights)

    def file(self, kind: FileKind) -> FileRef | RandomWeights | OwnCheckpoint:
        """Where one part's weights come from. UsageError if the bundle has none (generator `fake`)."""
        if self.files is None:
            raise UsageError(f"bundle `{self.name}` has no files (its generator is `{self.generator}`)")
        return getattr(self.files, kind)


def load_bundle(name_or_uri: str | os.PathLike[str]) -> Bundle:
    """A built-in bundle by name (also the hub's), or that of a folder (path or URI) that holds a `bundle.json`.

    Raises UsageError that says what is wrong with it.
    """
    name_or_uri = path_text("name_or_uri", name_or_uri)
    built_in = built_in_name(name_or_uri)
    if (by_name := _by_name(built_in or name_or_uri)) is not None:
        return by_name
    if built_in and (name_or_uri in BUILT_IN or not Path(name_or_uri, BUNDLE_FILE).exists()):
        return parse_bundle((BUILT_IN_FOLDER / built_in / BUNDLE_FILE).read_bytes(), "")
    root = name_or_uri.removesuffix("/").removesuffix("/" + BUNDLE_FILE)
    if root.lower().startswith("file://"):
        root = normalise_uri(root)
    if "://" not in root:
        root = str(Path(root).absolute())
    try:
        data = read_small(f"{root}/{BUNDLE_FILE}", _MAX_BYTES)
    except (OSError, ValueError, ImportError) as error:
        near = None if os.path.exists(root) else nearest_name(name_or_uri)
        raise UsageError(
            f"model `{name_or_uri}`: "
            + (f"there is none of this name, the nearest is `{near}`; " if near else "")
            + f"found no readable {BUNDLE_FILE} there ({type(error).__name__}); "
            f"expected one of {', '.join(LISTED)}, or a folder or URI that holds one"
            + ("" if near else " (`cosmos-ray model derive` makes one of a checkpoint)")
        ) from error
    return parse_bundle(data, root)


def comes_with_us(name: str) -> bool:
    """Whether a model of this name is known, without a folder."""
    return name in BUILT_IN or _by_name(name) is not None


def _by_name(name: str) -> Bundle | None:
    """Of the models whose bundles no file says: the published ones of one view, and small ones beside tiny ones."""
    if (said := published(name)) is not None:
        return parse_bundle(json.dumps(said), "")
    if not name.startswith("tiny-"):
        return None
    beside = "tiny25" if name == TINY_TRANSFER else "tiny"
    known = json.loads((BUILT_IN_FOLDER / beside / BUNDLE_FILE).read_bytes())
    if (said := tiny_transfer(known) if name == TINY_TRANSFER else tiny(name, known)) is None:
        return None
    bundle = parse_bundle(json.dumps(said), "")
    bundle._built_in = beside
    return bundle


def parse_bundle(data: bytes | str, root: str) -> Bundle:
    """The bundle that a `bundle.json` says, its files being relative to `root` ("": built in). Raises UsageError."""
    try:
        bundle = Bundle.model_validate_json(data)
    except ValidationError as error:
        faults = faults_in_words(error, Bundle, data)
        raise UsageError(f"{root or 'built-in'}/{BUNDLE_FILE}: {faults}") from error
    bundle._root = root
    return bundle


def fitting_world_sizes(num_heads: int, tokens_per_view: int, limit: int = 64) -> list[int]:
    """Gang sizes up to `limit` that divide both the heads and each view's tokens."""
    return [n for n in range(1, limit + 1) if num_heads % n == 0 and tokens_per_view % n == 0]


def check_world_size(bundle: Bundle, world_size: int) -> None:
    """Raises UsageError, naming the sizes that fit, if a gang of `world_size` cannot run this bundle."""
    heads, tokens = bundle.network.num_heads, bundle.tokens_per_view
    fitting = fitting_world_sizes(heads, tokens, limit=max(64, heads))
    if world_size not in fitting:
        raise UsageError(
            f"gang size {world_size} does not fit model `{bundle.name}` ({heads} heads, {tokens} tokens a view); "
            f"sizes that fit: {', '.join(map(str, fitting))}"
        )
