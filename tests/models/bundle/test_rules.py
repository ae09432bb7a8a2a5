"""Plain rules of bundles: sizes, names, hashes of folders, what memory is planned, how an adapter is added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.bundle.cache import folder_sha256
from cosmos_ray.models.bundle.dims import family_problems
from cosmos_ray.models.bundle.lora import _Merged
from cosmos_ray.models.bundle.memory import activation_bytes, memory_plan, parameters
from cosmos_ray.models.bundle.names import built_in_name
from cosmos_ray.models.bundle.references import RandomWeights
from cosmos_ray.models.bundle.shapes import dit_shapes
from cosmos_ray.models.parts import load_text_encoder


@pytest.mark.parametrize("size", ["0x0", "0x64", "64x0", "8x64", "64x72", "64", "64x64x3"])
def test_a_size_is_a_multiple_of_a_tokens_pixels_and_more_than_none(size: str) -> None:
    with pytest.raises(UsageError, match="resolution: found"):
        load_bundle("tiny").with_size(size)


def test_a_size_is_width_by_height_and_each_has_its_own_limit() -> None:
    """Of a network that knows 16 rows and 32 columns of latents."""
    tiny = load_bundle("tiny")
    network = tiny.network.model_copy(update={"max_img_h": 16, "max_img_w": 32})
    wide = tiny.model_copy(update={"network": network})
    largest = wide.with_size("256x128")
    assert (largest.width, largest.height) == (256, 128)
    for size in ("272x128", "256x144", "128x256"):
        with pytest.raises(UsageError, match=f"resolution: found {size}, expected at most 256x128"):
            wide.with_size(size)


@pytest.mark.parametrize(("blocks", "every"), [(4, 1), (4, 2), (5, 2), (28, 4), (7, 7), (3, 5)])
def test_each_block_that_is_steered_has_a_control_block(blocks: int, every: int) -> None:
    network = load_bundle("tiny").network.model_copy(update={"num_blocks": blocks, "vace_block_every_n": every})
    steered = [block for block in range(blocks) if network.is_steered(block)]
    assert steered == list(range(0, blocks, every))
    assert network.num_control_blocks == len(steered)


def test_the_hub_takes_names_in_any_case() -> None:
    for name in ("NVIDIA/cosmos-predict2-2b-multiview/", "hf://nvidia/Cosmos-Predict2-2B-Multiview"):
        assert built_in_name(name) == "cosmos-predict2-2b-multiview"
    assert built_in_name("TINY") is None


def test_a_folders_hash_is_that_of_what_sha256sum_prints(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_text("two")
    (tmp_path / "a.txt").write_text("one")
    expected = "27cf4fabb62b5bc86b6842969f6f46cf934bd67e8038b04a37808abf1bfb0dc3"
    assert folder_sha256(tmp_path) == expected
    assert folder_sha256(tmp_path, ["b/c.txt", "a.txt"]) == expected, "whatever order they are named in"


def test_a_control_branch_and_a_pictures_network_take_memory() -> None:
    plain, steered = load_bundle("cosmos-predict2.5-2b-multiview"), load_bundle("cosmos-transfer2.5-2b-multiview")
    assert plain.tokens_per_view == steered.tokens_per_view
    tokens = plain.n_views * plain.tokens_per_view // 4
    more = activation_bytes(steered, 4, 2) - activation_bytes(plain, 4, 2)
    assert more == 2 * 2 * tokens * plain.network.model_channels * 2, (
        "two numbers of the width, of both texts, of 2 bytes"
    )
    world = load_bundle("cosmos-predict2-2b-text2world")
    assert world.picture is not None
    both = [parameters(dit_shapes(one)) for one in (world.network, world.picture.network)]
    assert memory_plan(world, 1).network == 2 * sum(both)


def test_an_adapter_is_added_in_float32_and_the_sum_is_rounded_once() -> None:
    """1 and a little more than half of bfloat16's step there: rounded first, what is added would be the half."""
    half = 2.0**-8
    tensors = {
        "layer.base_layer.weight": torch.ones(1, 1, dtype=torch.bfloat16),
        "layer.lora_A.default.weight": torch.full((1, 1), half * (1 + 2.0**-10)),
        "layer.lora_B.default.weight": torch.ones(1, 1),
    }
    merged = _Merged(tensors, ("layer.weight",), frozenset({"layer.weight"}), 1.0)["layer.weight"]
    assert (merged.dtype, merged.item()) == (torch.bfloat16, 1 + 2 * half)


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        ("tiny", {"vace_block_every_n": 2}, "network.vace_block_every_n 2: expected nothing"),
        ("tiny-transfer25", {"vace_block_every_n": None}, "network.vace_block_every_n None: expected a number"),
        ("tiny", {"has_condition_mask": False}, "network.has_condition_mask: expected true"),
        ("tiny", {"n_cameras_emb": 0}, "network.n_cameras_emb, view_condition_dim"),
        ("tiny", {"view_condition_dim": 0}, "network.n_cameras_emb, view_condition_dim"),
        ("tiny-video2world", {"n_cameras_emb": 7}, "network.n_cameras_emb, view_condition_dim"),
        ("tiny", {"crossattn_proj_in_channels": 8}, "network.crossattn_proj_in_channels 8: expected nothing"),
        ("tiny25", {"crossattn_proj_in_channels": None}, "network.crossattn_proj_in_channels None: expected the width"),
    ],
)
def test_a_network_has_what_its_family_has_and_nothing_else(model: str, changes: dict[str, Any], said: str) -> None:
    bundle = load_bundle(model)
    asked = bundle.recipe, bundle.n_views
    assert family_problems(*asked, bundle.network, bundle.text_encoder) == []
    found = family_problems(*asked, bundle.network.model_copy(update=changes), bundle.text_encoder)
    assert len([one for one in found if one.startswith(said)]) == 1, found


def test_random_parts_have_the_seeds_that_their_bundle_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else two bundles that differ in a seed alone would have one model under two names."""
    seeds: list[int] = []

    def tower(dims: Any, seed: int) -> Any:
        seeds.append(seed)
        raise NotImplementedError

    monkeypatch.setattr("cosmos_ray.models.text.reason1.random_tower", tower)
    monkeypatch.setattr("cosmos_ray.models.text.t5.random_encoder", lambda dims, width, seed: tower(dims, seed))
    for model, seed in (("tiny", 31), ("tiny25", 32)):
        bundle = load_bundle(model)
        files = bundle.files.model_copy(update={"text_encoder": RandomWeights(random_seed=seed)})
        with pytest.raises(NotImplementedError):
            load_text_encoder(bundle.model_copy(update={"files": files}), dict)
    assert seeds == [31, 32]
