"""What a model is known by: its name, its fingerprint, and the places that its parts are fetched to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import files
from cosmos_ray.models.bundle.bundle import Bundle, FileKind, comes_with_us, load_bundle
from cosmos_ray.models.bundle.names import ALIASES, LISTED, aliases_of, built_in_name, nearest_name
from cosmos_ray.models.bundle.references import FileRef
from cosmos_ray.models.bundle.single import (
    LARGE_MULTIVIEW,
    PICTURE_SIZES,
    VIDEO_SIZES,
    gr00t_name,
    picture_name,
    video_name,
    world_name,
)

#: By name, the first digits. Outputs were begun with these: what changes one here makes them another model's.
FINGERPRINTS: dict[str, str] = json.loads((Path(__file__).parent / "fingerprints.json").read_text())
RATIOS = ("16:9", "9:16", "4:3", "3:4", "1:1")


def all_names() -> Iterator[str]:
    """Of every model that is known without a folder, by the functions that make names of parts."""
    yield from (*LISTED, LARGE_MULTIVIEW, *(f"tiny-text2world-distilled{steps}" for steps in range(1, 5)))
    for size, fps in itertools.product(("2B", "14B"), (16, 10)):
        cuts = [(resolution, ratio, False) for resolution in ("720", "480") for ratio in RATIOS]
        for resolution, ratio, natten in (*cuts, ("720", "16:9", True)):
            yield video_name(size, resolution, fps, ratio, natten)
            yield from (world_name(size, resolution, fps, steps, ratio, natten) for steps in range(5))
    for size, distilled, ratio in itertools.product(("0.6B", "2B", "14B"), (False, True), RATIOS):
        yield picture_name(size, distilled, ratio)
    yield from itertools.starmap(gr00t_name, itertools.product(("gr1", "droid"), RATIOS))


def test_every_model_is_the_one_that_it_was_under_its_own_name() -> None:
    """All that their bundles say: sizes, dimensions, files and revisions, steps, prompts."""
    found = {name: load_bundle(name) for name in all_names()}
    assert {name: bundle.fingerprint[:16] for name, bundle in found.items()} == FINGERPRINTS
    assert {name for name, bundle in found.items() if bundle.name != name} == set()
    assert all(map(comes_with_us, found))


def test_sizes_are_the_published_ones() -> None:
    assert {ratio: VIDEO_SIZES["720"][ratio] for ratio in RATIOS} == {
        "16:9": (1280, 704), "9:16": (704, 1280), "4:3": (960, 704), "3:4": (704, 960), "1:1": (960, 960),
    }  # fmt: skip
    assert {ratio: VIDEO_SIZES["480"][ratio] for ratio in RATIOS} == {
        "16:9": (768, 432), "9:16": (432, 768), "4:3": (640, 480), "3:4": (480, 640), "1:1": (480, 480),
    }  # fmt: skip
    assert {ratio: PICTURE_SIZES[ratio] for ratio in RATIOS} == {
        "16:9": (1360, 768), "9:16": (768, 1360), "4:3": (1168, 880), "3:4": (880, 1168), "1:1": (1024, 1024),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "cosmos-predict2-2b-video2world-480p-16fps-natten", "cosmos-predict2-2b-video2world-natten-1x1",
        "cosmos-predict2-2b-text2world-480p-10fps-natten", "cosmos-predict2-2b-text2world-distilled5",
        "cosmos-predict2-0.6b-video2world", "cosmos-predict2-2b-video2world-720p-24fps",
        "cosmos-predict2-2b-text2image-distilled2", "cosmos-predict2-2b-text2image-natten", "tiny-fake", "tiny-",
        "cosmos-predict2-14b-sample-gr00t-dreams-gr2", "cosmos-predict2-2b-sample-gr00t-dreams-gr1",
        "tiny-text2world-distilled0",
    ],
)  # fmt: skip
def test_a_combination_that_nobody_has_published_is_no_model(name: str) -> None:
    assert not comes_with_us(name)
    with pytest.raises(UsageError, match=f"model `{name}`"):
        load_bundle(name)


def test_names_of_the_hub_are_those_of_the_models_that_lie_there() -> None:
    assert ALIASES == {
        "nvidia/Cosmos-Predict2-2B-Multiview": "cosmos-predict2-2b-multiview",
        "nvidia/Cosmos-Predict2-2B-Video2World": "cosmos-predict2-2b-video2world",
        "nvidia/Cosmos-Predict2-14B-Video2World": "cosmos-predict2-14b-video2world",
        "nvidia/Cosmos-Predict2-0.6B-Text2Image": "cosmos-predict2-0.6b-text2image",
        "nvidia/Cosmos-Predict2-2B-Text2Image": "cosmos-predict2-2b-text2image",
        "nvidia/Cosmos-Predict2-14B-Text2Image": "cosmos-predict2-14b-text2image",
        "nvidia/Cosmos-Predict2-14B-Sample-GR00T-Dreams-GR1": "cosmos-predict2-14b-sample-gr00t-dreams-gr1",
        "nvidia/Cosmos-Predict2-14B-Sample-GR00T-Dreams-DROID": "cosmos-predict2-14b-sample-gr00t-dreams-droid",
        "nvidia/Cosmos-Predict2.5-2B": "cosmos-predict2.5-2b-multiview",
        "nvidia/Cosmos-Predict2.5-2B/auto/multiview": "cosmos-predict2.5-2b-multiview",
        "nvidia/Cosmos-Transfer2.5-2B": "cosmos-transfer2.5-2b-multiview",
        "nvidia/Cosmos-Transfer2.5-2B/auto/multiview": "cosmos-transfer2.5-2b-multiview",
    }
    for alias, name in ALIASES.items():
        for written in (alias, alias.upper(), f"hf://{alias}", f"https://huggingface.co/{alias}/"):
            assert built_in_name(written) == name
        assert alias in aliases_of(name)
        assert load_bundle(alias).name == name
    assert len([alias for name in LISTED for alias in aliases_of(name)]) == len(ALIASES)
    assert all(built_in_name(name) == name for name in LISTED)


@pytest.mark.parametrize(
    ("meant", "name"),
    [
        ("Tiny25", "tiny25"),
        ("cosmos-predict2-2b-multivew", "cosmos-predict2-2b-multiview"),
        ("nvidia/cosmos-predict2-14b-txt2image", "nvidia/Cosmos-Predict2-14B-Text2Image"),
        ("nothing like it", None),
    ],
)
def test_the_nearest_name_is_said_as_it_is_written(meant: str, name: str | None) -> None:
    assert nearest_name(meant) == name


# --- the fingerprint -------------------------------------------------------------------------------------------------


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The place of everything that a bundle says, its parts' parts too."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from leaves(getattr(value, name), (*path, name))
    else:
        yield path


def other(value: Any) -> Any:
    """Another value of its kind, as far as it has one."""
    if isinstance(value, bool):
        return not value
    if value is None:
        return 7
    return value + (1 if isinstance(value, int | float) else type(value)([3]) if isinstance(value, tuple) else "B")


def with_other(model: Any, path: tuple[str, ...]) -> Any:
    first, *rest = path
    value = getattr(model, first)
    return model.model_copy(update={first: with_other(value, tuple(rest)) if rest else other(value)})


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", ["tiny-text2world", "tiny25", "tiny", "cosmos-transfer2.5-2b-multiview"])
def test_whatever_a_bundle_says_is_in_its_fingerprint(name: str) -> None:
    """Whichever one thing differs, also one that a later release adds: no two models have one."""
    bundle = load_bundle(name)
    others = {".".join(path): with_other(bundle, path).fingerprint for path in leaves(bundle)}
    assert len(others) > 40
    by_fingerprint = {fingerprint: place for place, fingerprint in others.items()}
    assert [place for place, one in others.items() if one == bundle.fingerprint] == []
    assert [place for place, one in others.items() if by_fingerprint[one] != place] == []


# --- what a setting changes of a model -------------------------------------------------------------------------------


def own() -> Bundle:
    """Every part in a folder of its own, and another solver than the family's."""
    bundle = load_bundle("tiny-text2world").solved_by(Approximations(solver="unipc"))
    file = FileRef(uri="dit.pt", sha256="1" * 64)
    bundle = bundle.with_dit(file, "net_ema.", "/videos", "mine")
    return bundle.with_picture_dit(FileRef(uri="first.pt", sha256="2" * 64), "net_ema.", "/pictures", "both")


def test_one_setting_changes_one_thing_and_leaves_the_rest_where_it_is() -> None:
    bundle, flow = own(), load_bundle("tiny25")
    changes: list[tuple[Bundle, Bundle, dict[str, Any]]] = [
        (bundle, bundle.with_numerics("reference"), {"numerics": "reference"}),
        (bundle, bundle.with_text_encoder("cpu", None), {"text_encoder_device": "cpu"}),
        (bundle, bundle.with_text_encoder(None, "float32"), {"text_encoder_dtype": "float32"}),
        (bundle, bundle.with_size("128x96"), {"width": 128, "height": 96}),
        (flow, flow.with_camera_prefix(True), {"sampling": flow.sampling.model_copy(update={"camera_prefix": True})}),
    ]
    for before, after, expected in changes:
        found = {name: getattr(after, name) for name in Bundle.model_fields}
        assert {name: value for name, value in found.items() if value != getattr(before, name)} == expected
        assert {kind: after.root_of(kind) for kind in after.kinds} == {
            kind: before.root_of(kind) for kind in before.kinds
        }
        assert after.recipe == before.recipe
        assert after != before
    assert flow.with_camera_prefix(None) is flow.with_camera_prefix(False) is flow
    assert bundle.with_size(None) is bundle


def test_parts_of_ones_own_lie_where_they_were_put_and_the_others_where_they_were() -> None:
    bundle, tiny = own(), load_bundle("tiny")
    assert (bundle.name, bundle.dit_prefix, bundle.picture and bundle.picture.dit_prefix) == (
        "both", "net_ema.", "net_ema.",
    )  # fmt: skip
    assert {kind: bundle.root_of(kind) for kind in bundle.kinds} == {
        "dit": "/videos", "picture_dit": "/pictures",
        **dict.fromkeys(("vae", "text_encoder", "tokenizer"), tiny.root),
    }  # fmt: skip
    assert bundle.recipe.solver == "unipc-noise"


def test_the_model_of_the_picture_is_the_bundle_with_what_differs() -> None:
    bundle = own().with_numerics("reference").with_text_encoder("cpu", "float32")
    assert bundle.picture is not None
    assert bundle.files is not None
    shorter = bundle.picture.model_copy(update={"num_steps": 3, "guidance": 1.5})
    bundle = bundle.model_copy(update={"picture": shorter})
    picture = bundle.picture_bundle()
    of_picture = {
        name: getattr(bundle.picture, name) for name in ("family", "height", "width", "network", "dit_prefix")
    }
    expected = {
        **of_picture,
        "name": "both.picture",
        "state_t": 1,
        "picture": None,
        "sampling": bundle.sampling.model_copy(update={"num_steps": 3, "guidance": 1.5}),
        "files": bundle.files.model_copy(update={"dit": bundle.files.picture_dit, "picture_dit": None}),
    }
    for name in Bundle.model_fields:
        assert getattr(picture, name) == expected.get(name, getattr(bundle, name)), name
    assert (picture.root_of("dit"), picture.root_of("vae")) == ("/pictures", bundle.root)
    assert picture.recipe.solver == "ab2", "what a job has chosen is for the video"
    assert (picture.num_frames, bundle.num_frames) == (1, 29)


def test_a_views_shape_is_that_of_its_kind() -> None:
    world, views = load_bundle("tiny-text2world"), load_bundle("tiny25")
    assert world.picture is not None
    assert world.shape_of("picture", 3, 5) == (1, world.picture.height, world.picture.width, 3)
    assert world.shape_of("video", 3, 5) == (3 * (world.num_frames - 5) + 5, world.height, world.width, 3)
    assert views.shape_of("rear") == (29, 64, 112, 3)
    assert load_bundle("tiny-text2image").shape_of("picture")[0] == 1


# --- where parts are fetched to --------------------------------------------------------------------------------------


def test_a_remote_part_has_a_place_for_each_content_and_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two stores that hold other bytes under one name neither takes the other's place; the suffix says the form."""
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path))
    kind: FileKind = "dit"
    bundle = load_bundle("tiny")
    places = set()
    for digit in "12":
        file = FileRef(uri="weights/dit.pt", sha256=digit * 64)
        remote = bundle.with_dit(file, "net.", "s3://bucket/models", "mine")
        places.add(place := files._place(remote, kind, file))
        assert place.name == "dit.pt"
        assert place.is_relative_to(tmp_path / "bundles")
        local = bundle.with_dit(file, "net.", "/models", "mine")
        assert files._place(local, kind, file) == Path("/models/weights/dit.pt")
    assert len(places) == 2
