"""Adapters merged into the network that they adapt: what is computed, which files fit, and what is said of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle, parse_bundle
from cosmos_ray.models.bundle.lora import MERGED, derive_merged, merge
from cosmos_ray.models.bundle.shapes import dit_shapes
from cosmos_ray.store.storage import Storage

RANK, ALPHA = 3, 6.0
LAYERS = ("self_attn.q_proj", "self_attn.output_proj", "cross_attn.k_proj", "mlp.layer1", "mlp.layer2")


def small() -> Bundle:
    bundle = load_bundle("tiny-video2world")
    said = bundle.model_dump(mode="json")
    said["network"] |= {"num_blocks": 1, "model_channels": 32, "num_heads": 2, "adaln_lora_dim": 4}
    return parse_bundle(json.dumps(said), bundle.root)


NETWORK = dit_shapes(small().network)


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    """As the training framework writes them, without prefix; in two of seven kinds of layers there are no adapters."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in NETWORK.items():
        layer = name.removesuffix(".weight")
        weight = torch.randn(shape, generator=generator)
        if layer.removeprefix("blocks.0.") in LAYERS:
            found[f"{layer}.base_layer.weight"] = weight
            found[f"{layer}.lora_A.default.weight"] = torch.randn(RANK, shape[1], generator=generator)
            found[f"{layer}.lora_B.default.weight"] = torch.randn(shape[0], RANK, generator=generator)
        else:
            found[name] = weight
    return found


def write(path: Path, tensors: dict[str, Tensor], lead: str = "net.") -> str:
    save_file({lead + name: tensor for name, tensor in tensors.items()}, path)
    return str(path)


def test_a_merged_layer_answers_as_the_layer_with_its_adapters(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    merge(write(tmp_path / "l.safetensors", tensors), RANK, ALPHA, NETWORK, Storage(str(tmp_path)))
    merged = load_file(tmp_path / MERGED)
    assert {name: tuple(one.shape) for name, one in merged.items()} == NETWORK
    for layer in (f"blocks.0.{name}" for name in LAYERS):
        base, a, b = (tensors[f"{layer}.{end}.weight"] for end in ("base_layer", "lora_A.default", "lora_B.default"))
        x = torch.randn(5, base.shape[1], generator=torch.Generator().manual_seed(1))
        expected = F.linear(x, base) + ALPHA / RANK * F.linear(F.linear(x, a), b)
        torch.testing.assert_close(F.linear(x, merged[f"{layer}.weight"]), expected, rtol=1e-5, atol=1e-4)
    plain = "blocks.0.self_attn.v_proj.weight"
    assert torch.equal(merged[plain], tensors[plain])


def test_a_bundle_of_it_is_one_like_any_other(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    average = {name: tensor + 1 for name, tensor in tensors.items()}
    both = {f"net.{name}": one for name, one in tensors.items()} | {f"net_ema.{n}": one for n, one in average.items()}
    lora = write(tmp_path / "l.safetensors", both, "")
    found = [derive_merged(small(), lora, RANK, ALPHA, str(tmp_path / str(ema)), None, ema) for ema in (False, True)]
    for bundle, expected in zip(found, (tensors, average), strict=True):
        weights = load_file(Path(bundle.root) / MERGED)
        assert torch.equal(weights["t_embedding_norm.weight"], expected["t_embedding_norm.weight"])
    assert found[0].fingerprint != found[1].fingerprint


def test_adapters_may_be_added_to_another_base(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    base = {name: torch.zeros(shape) for name, shape in NETWORK.items()}
    others = {name: one for name, one in tensors.items() if "lora_" in name}
    merge(
        write(tmp_path / "l.safetensors", others), RANK, ALPHA, NETWORK, Storage(str(tmp_path)),
        base=write(tmp_path / "base.safetensors", base),
    )  # fmt: skip
    merged = load_file(tmp_path / MERGED)
    layer = "blocks.0.mlp.layer2"
    expected = ALPHA / RANK * tensors[f"{layer}.lora_B.default.weight"] @ tensors[f"{layer}.lora_A.default.weight"]
    torch.testing.assert_close(merged[f"{layer}.weight"], expected)
    assert not merged["blocks.0.self_attn.v_proj.weight"].any()


def test_of_another_base_the_same_weights_are_taken_and_no_half_of_an_adapter(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    """The running average of both files; what lacks one of its two matrices would be left out without a word."""
    average = {f"net_ema.{name}": one for name, one in tensors.items() if "lora_" in name}
    base = {f"net.{name}": torch.zeros(shape) for name, shape in NETWORK.items()}
    base |= {f"net_ema.{name}": torch.ones(shape) for name, shape in NETWORK.items()}
    base_uri = write(tmp_path / "base.safetensors", base, "")
    to = Storage(str(tmp_path))
    lora = write(tmp_path / "l.safetensors", average, "")
    merge(lora, RANK, ALPHA, NETWORK, to, base=base_uri, prefix="net_ema.")
    assert (load_file(tmp_path / MERGED)["t_embedding_norm.weight"] == 1).all()
    del average["net_ema.blocks.0.mlp.layer2.lora_B.default.weight"]
    half = write(tmp_path / "half.safetensors", average, "")
    with pytest.raises(UsageError, match=r"missing: net_ema\.blocks\.0\.mlp\.layer2\.lora_B"):
        merge(half, RANK, ALPHA, NETWORK, to, base=base_uri, prefix="net_ema.")


@pytest.mark.parametrize(
    ("changes", "rank", "words"),
    [
        (
            {},
            4,
            r"l\.safetensors: adapters of rank 3 found, 4 given: expected the rank \(--rank, of jobs/ --lora_rank\)",
        ),
        (
            {"blocks.0.mlp.layer1.lora_B.default.weight": None},
            RANK,
            "parameters missing: net.blocks.0.mlp",
        ),
        ({}, 0, "--rank 0, --alpha 6: expected those of the training"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    changes: dict[str, Any], rank: int, words: str, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    kept = {name: one for name, one in tensors.items() if name not in changes}
    with pytest.raises(UsageError, match=words):
        merge(write(tmp_path / "l.safetensors", kept), rank, ALPHA, NETWORK, Storage(str(tmp_path)))


@pytest.mark.parametrize(
    "name",
    [
        "blocks.0.adaln_modulation_mlp.1.lora_A.default.weight",
        "blocks.0.mlp.layer1.lora_A.other.weight",
        "blocks.0.mlp.layer1.lora_B.default.bias",
        "blocks.0.mlp.layer1.lora_magnitude_vector.default.weight",
    ],
    ids=["another layer", "another name", "a bias", "a magnitude"],
)
@pytest.mark.parametrize("has_base", [False, True], ids=["whole", "with a base"])
def test_no_part_of_what_was_trained_is_left_out(
    name: str, has_base: bool, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    base = write(tmp_path / "base.safetensors", {n: torch.zeros(s) for n, s in NETWORK.items()}) if has_base else None
    lora = write(tmp_path / "l.safetensors", tensors | {name: torch.ones(RANK, 32)})
    with pytest.raises(UsageError, match=rf"l\.safetensors: found net\.{name}, expected .* not what was trained"):
        merge(lora, RANK, ALPHA, NETWORK, Storage(str(tmp_path)), base)
    average = {f"net_ema.{one}": tensor for one, tensor in tensors.items()}
    other = write(tmp_path / "e.safetensors", average | {f"net.{name}": torch.ones(RANK, 32)}, "")
    merge(other, RANK, ALPHA, NETWORK, Storage(str(tmp_path)), base and _under_ema(tmp_path), "net_ema.")


def _under_ema(folder: Path) -> str:
    zeros = {name: torch.zeros(shape) for name, shape in NETWORK.items()}
    return write(folder / "ema.safetensors", zeros, "net_ema.")


def test_of_adapters_of_two_ranks_those_that_differ_are_listed(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    layer = "blocks.0.mlp.layer1"
    for end, axis in (("lora_A", 0), ("lora_B", 1)):
        name = f"{layer}.{end}.default.weight"
        tensors[name] = tensors[name].narrow(axis, 0, 2).contiguous()
    lora = write(tmp_path / "l.safetensors", tensors)
    with pytest.raises(UsageError, match=r"2 parameters of another shape: .*layer1\.lora_A.* found \[2, 32\]"):
        merge(lora, RANK, ALPHA, NETWORK, Storage(str(tmp_path)))
    with pytest.raises(UsageError, match="adapters of rank 2 and 3 found, 16 given"):
        merge(lora, 16, ALPHA, NETWORK, Storage(str(tmp_path)))


def test_adapters_alone_say_what_is_missing_and_how_it_is_given(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    alone = write(tmp_path / "l.safetensors", {name: one for name, one in tensors.items() if "lora_" in name})
    words = r"found 5 adapters alone, expected the network .*: `cosmos-ray model derive --lora FILE --dit NETWORK`"
    with pytest.raises(UsageError, match=words):
        merge(alone, RANK, ALPHA, NETWORK, Storage(str(tmp_path)))


def test_other_weights_have_another_name(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    """Whatever of rank, alpha, average and base was another: the name is that of the merged file."""
    average = {name: tensor + 1 for name, tensor in tensors.items()}
    both = {f"net.{name}": one for name, one in tensors.items()} | {f"net_ema.{n}": one for n, one in average.items()}
    lora = write(tmp_path / "l.safetensors", both, "")
    base = write(tmp_path / "base.safetensors", {name: torch.ones(shape) for name, shape in NETWORK.items()})
    options: list[dict[str, Any]] = [{}, {"alpha": 2 * ALPHA}, {"ema": True}, {"base": base}, {}]
    made = [
        derive_merged(small(), lora, to=str(tmp_path / str(number)), **({"rank": RANK, "alpha": ALPHA} | said))
        for number, said in enumerate(options)
    ]
    assert len({one.name for one in made}) == 4
    assert made[0].name == made[-1].name


def test_weights_without_end_are_never_written(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="merged it has numbers that are not finite"):
        merge(write(tmp_path / "l.safetensors", tensors), RANK, 1e308, NETWORK, Storage(str(tmp_path / "to")))
    assert not (tmp_path / "to" / "merged.safetensors").exists()


def test_an_alpha_without_end_is_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--alpha inf: expected those of the training"):
        merge(write(tmp_path / "l.safetensors", tensors), RANK, float("inf"), NETWORK, Storage(str(tmp_path)))


def test_a_file_without_adapters_is_refused(tmp_path: Path) -> None:
    plain = {name: torch.zeros(shape) for name, shape in NETWORK.items()}
    with pytest.raises(UsageError, match=r"found no adapters under `net\.`"):
        merge(write(tmp_path / "l.safetensors", plain), RANK, ALPHA, NETWORK, Storage(str(tmp_path)))
    with pytest.raises(UsageError, match="there is no such file"):
        merge(str(tmp_path / "no.pt"), RANK, ALPHA, NETWORK, Storage(str(tmp_path)))
