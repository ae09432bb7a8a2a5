"""`model check`: what it finds of models that are here, unknown or not fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.command_line import assert_one_line
from support.pages import commands_of, shown_to

from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, load_bundle
from cosmos_ray.models.bundle.names import LISTED


@pytest.mark.parametrize("model", ["tiny", "fake"])
def test_a_model_that_needs_no_download_is_fine(cosmos_ray: Any, model: str) -> None:
    answer = cosmos_ray("model", "check", model)
    assert answer.code == 0
    assert answer.out.startswith(f"{model}: 7 views x 29 frames, ")


def test_a_model_that_is_not_known(cosmos_ray: Any) -> None:
    assert_one_line(cosmos_ray("model", "check", "no-such-model"), 2, "no-such-model")


@pytest.mark.parametrize(
    ("name", "near"),
    [("tinny", "tiny"), ("cosmos-predict2-2b-multivew", "cosmos-predict2-2b-multiview"), ("/nowhere/bundle", None)],
)
def test_a_model_that_is_misspelt_names_the_nearest(cosmos_ray: Any, name: str, near: str | None) -> None:
    answer = cosmos_ray("model", "check", name)
    assert_one_line(answer, 2, f"model `{name}`: ", "found no readable bundle.json there")
    assert ("the nearest is" in answer.err) == (near is not None)
    assert near is None or f"the nearest is `{near}`" in answer.err
    assert ("`cosmos-ray model derive` makes one of a checkpoint" in answer.err) == (near is None)


def test_a_model_whose_files_are_not_there(cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    answer = cosmos_ray("model", "check", "cosmos-predict2-2b-multiview")
    assert answer.code == 2
    assert "not available offline" in answer.out


def test_a_refiner_that_stays_or_comes_between_clips_takes_its_memory(cosmos_ray: Any) -> None:
    """On a processor it takes none of a GPU's."""
    of_refiner = ["--set", "refiner.backend=local", "--set"]
    told = {
        device: [
            line
            for line in cosmos_ray("model", "check", "tiny", *of_refiner, f"refiner.device={device}").out.splitlines()
            if "GiB" in line or "GB" in line
        ]
        for device in ("gang", "between", "cpu")
    }
    assert told["gang"] == told["between"] != told["cpu"]


def test_the_models_that_there_are(cosmos_ray: Any) -> None:
    answer = cosmos_ray("model", "list")
    assert answer.code == 0
    assert [line.partition(":")[0] for line in answer.out.splitlines()] == list(LISTED)
    assert "7 views x 29 frames, 1280x704" in answer.out
    random = [line.partition(":")[0] for line in answer.out.splitlines() if "weights are random" in line]
    assert random == [
        "tiny25",
        "tiny-transfer25",
        "tiny-video2world",
        "tiny-text2image",
        "tiny-text2image-distilled",
        "tiny-text2world",
    ]
    assert "also nvidia/Cosmos-Predict2-2B-Multiview" in answer.out
    assert "also nvidia/Cosmos-Transfer2.5-2B, nvidia/Cosmos-Transfer2.5-2B/auto/multiview" in answer.out
    lines = [json.loads(line) for line in cosmos_ray("model", "list", "--json").out.splitlines()]
    assert {line["name"]: line["here"] for line in lines}.items() >= {"tiny": True, "fake": True}.items()


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("nvidia/Cosmos-Predict2-2B-Multiview", "cosmos-predict2-2b-multiview"),
        ("https://huggingface.co/nvidia/cosmos-predict2-2b-multiview/", "cosmos-predict2-2b-multiview"),
        ("nvidia/Cosmos-Predict2.5-2B", "cosmos-predict2.5-2b-multiview"),
        ("hf://nvidia/Cosmos-Predict2.5-2B/auto/multiview", "cosmos-predict2.5-2b-multiview"),
        ("nvidia/cosmos-transfer2.5-2b", "cosmos-transfer2.5-2b-multiview"),
        ("https://huggingface.co/nvidia/Cosmos-Transfer2.5-2B/auto/multiview/", "cosmos-transfer2.5-2b-multiview"),
    ],
)
def test_a_model_goes_by_the_hubs_name_too(alias: str, name: str) -> None:
    assert load_bundle(alias) == load_bundle(name)


def test_a_folder_of_ones_own_wins_over_the_hubs_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "nvidia" / "Cosmos-Predict2-2B-Multiview"
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_bytes((BUILT_IN_FOLDER / "fake" / "bundle.json").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert load_bundle("nvidia/Cosmos-Predict2-2B-Multiview").generator == "fake"


def test_a_bundle_of_ones_own_checkpoint_in_one_command(cosmos_ray: Any, tmp_path: Path) -> None:
    """What it prints is what `--model` takes."""
    own = BUILT_IN_FOLDER / "tiny" / "dit.safetensors"
    answer = cosmos_ray("model", "derive", "--from", "tiny", "--dit", own, "--to", tmp_path / "mine")
    assert answer.code == 0
    name, _, folder = answer.out.strip().partition(": --model ")
    assert (name.startswith("tiny."), folder) == (True, str(tmp_path / "mine"))
    assert cosmos_ray("model", "check", folder).code == 0
    again = cosmos_ray("model", "derive", "--from", "tiny", "--dit", own, "--to", tmp_path / "mine")
    assert_one_line(again, 2, "is there already")


def test_adapters_become_a_model_as_shown(cosmos_ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With half of the network in the file: adapters of two layers, all else as it was."""
    own = load_file(BUILT_IN_FOLDER / "tiny" / "dit.safetensors")
    layers = ("net.blocks.0.self_attn.q_proj", "net.blocks.5.mlp.layer2")
    for layer in layers:
        weight = own.pop(f"{layer}.weight")
        own[f"{layer}.base_layer.weight"] = weight
        own[f"{layer}.lora_A.default.weight"] = torch.ones(16, weight.shape[1])
        own[f"{layer}.lora_B.default.weight"] = torch.ones(weight.shape[0], 16)
    monkeypatch.chdir(tmp_path)
    torch.save(own, "iter_000001000.pt")
    (block,) = shown_to(__file__, "test_adapters_become_a_model_as_shown")
    ((_, *words),) = commands_of(block)
    answer = cosmos_ray(*words)
    assert answer.code == 0, answer.err
    merged = load_file(tmp_path / "adapted" / "merged.safetensors")
    base = own[f"{layers[0]}.base_layer.weight"].float()
    torch.testing.assert_close(merged["blocks.0.self_attn.q_proj.weight"].float(), base + 16, rtol=0, atol=0.1)
    assert load_bundle(str(tmp_path / "adapted")).name.startswith("tiny.")
    assert cosmos_ray("model", "derive", "--from", "tiny", "--to", "other").code == 2
