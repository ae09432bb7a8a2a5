"""Checkpoints as training code wraps them: what is taken without a word from people, and what is said of the others."""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.bundle.checkpoint import Selection, select_dit
from cosmos_ray.models.bundle.convert import load_dit_state
from cosmos_ray.models.bundle.derive import with_dit
from cosmos_ray.models.bundle.headers import read_header
from cosmos_ray.models.bundle.leads import leads_of, leaves
from cosmos_ray.models.bundle.lora import MERGED, merge
from cosmos_ray.models.bundle.weights import read_pickled
from cosmos_ray.store.storage import Storage

SHAPES = {"blocks.0.mlp.layer1.weight": (4, 3), "blocks.0.norm.weight": (3,), "final.weight": (2, 4)}
FIRST = next(iter(SHAPES))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))


def state(value: float = 1.0, lead: str = "") -> dict[str, torch.Tensor]:
    return {lead + name: torch.full(shape, value) for name, shape in SHAPES.items()}


def training(**more: Any) -> dict[str, Any]:
    """What stands beside a network in a training's file."""
    adam = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(4, 3)}}, "param_groups": [{"lr": 1e-4}]}
    return {**more, "optimizer": adam, "scheduler": {"last_epoch": 3}, "epoch": 3, "config": None}


def fsdp(lead: str = "") -> dict[str, torch.Tensor]:
    names = {name: f"_fsdp_wrapped_module.{name}".replace("mlp.", "_checkpoint_wrapped_module.mlp.") for name in SHAPES}
    return {lead + names[name]: tensor for name, tensor in state().items()}


TAKEN = {
    "model": training(model=state()),
    "state_dict": training(state_dict=OrderedDict(state())),
    "state_dict, net.": {"state_dict": state(lead="net.")},
    "state_dict, model.": {"state_dict": state(lead="model.")},
    "module (DeepSpeed)": training(module=state(), ds_version="0.14", buffer_names=[]),
    "module, module.": training(module=state(lead="module.")),
    "module. (DDP)": state(lead="module."),
    "module.net.": state(lead="module.net."),
    "FSDP": fsdp(),
    "net., FSDP": fsdp("net."),
    "torch.compile": state(lead="_orig_mod."),
    "net. before torch.compile": state(lead="net._orig_mod."),
    "lightning's": {"state_dict": state(lead="model.net.") | {"loss.weight": torch.ones(2)}, "pytorch-lightning": "2"},
    "three deep": {"checkpoint": {"model": {"network": state()}}},
    "with its average": training(model=state(), model_ema=state(2.0), ema={"decay": 0.99}),
    "net. beside a dictionary": state(lead="net.") | training(),
    "an optimizer by names": {"model": state(), "optim": {"exp_avg": state(3.0)}},
    "an old part of it": {"model": state(), "old": {"final.weight": torch.zeros(2, 4)}},
}


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("name", TAKEN)
def test_a_wrapped_network_is_taken(name: str, is_zip: bool, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save(TAKEN[name], path, _use_new_zipfile_serialization=is_zip)
    loaded = load_dit_state(path, "source", SHAPES, "net.", None)
    assert loaded.keys() == SHAPES.keys()
    assert all(torch.equal(loaded[one], tensor) for one, tensor in state().items())


AVERAGES = {
    "ema": training(model=state(), ema=state(2.0)),
    "model_ema": training(model=state(), model_ema=state(2.0)),
    "state_dict_ema": training(state_dict=state(), state_dict_ema=state(2.0)),
    "ema alone": {"ema": state(2.0)},
    "ema_model.module.": {"model": state(), "ema_model": state(2.0, "module.")},
    "net_ema. in a dictionary": {"model": state(lead="net.") | state(2.0, "net_ema.")},
    "bare beside it": {**state(), "ema": state(2.0)},
    "wrapped in net_ema.": state(lead="net.") | state(2.0, "net_ema._orig_mod."),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_its_running_average_is_taken_where_it_is_asked_for(name: str, tmp_path: Path) -> None:
    torch.save(AVERAGES[name], tmp_path / "mine.pt")
    loaded = load_dit_state(tmp_path / "mine.pt", "source", SHAPES, "net_ema.", None)
    assert all(torch.equal(loaded[one], tensor) for one, tensor in state(2.0).items())


def test_names_of_a_safetensors_file_may_have_a_lead_too(tmp_path: Path) -> None:
    safetensors.torch.save_file(state(lead="model.diffusion_model."), tmp_path / "mine.safetensors")
    loaded = load_dit_state(tmp_path / "mine.safetensors", "source", SHAPES, "net.", torch.bfloat16)
    assert loaded.keys() == SHAPES.keys()


def chosen(saved: dict[str, Any], prefix: Any, path: Path) -> Selection:
    torch.save(saved, path)
    header = read_header(path)
    return select_dit(header.shapes, header.others, SHAPES, prefix)


REFUSED = {
    "another network": (
        {"epoch": 3, "model": {f"transformer.{n}": torch.ones(2) for n in range(60)}},
        "net.",
        "found no parameter of this network among `model` (60 entries), `epoch`, expected "
        f"`net.{FIRST}` and so on (`net_ema.` of a running average): save it alone, "
        "`torch.save({f'net.{name}': value for name, value in network.state_dict().items()}, FILE)`",
    ),
    "many keys": (
        {f"{n}.x": torch.ones(1) for n in "abcdefgh"},
        "net_ema.",
        "among `a`, `b`, `c`, `d`, `e`, `f` and 2 more, expected",
    ),
    "nothing": ({}, "net.", "found no entries, expected `net."),
    "two networks": (
        {"generator": state(), "teacher": state(2.0)},
        "net.",
        "found weights under `generator.` and `teacher.`, expected one of them: save it alone, `torch.save(",
    ),
    "one twice": ({"model": state(), **state(2.0)}, "net.", "found weights under no key and `model.`, expected one"),
    "two averages": (
        {"ema": state(), "ema.2": state()},
        "net_ema.",
        "found running averages under `ema.` and `ema.2.`, expected one",
    ),
    "its average alone": (
        {"model_ema": state()},
        "net.",
        "found a running average alone, under `model_ema.`: --ema takes it (model.ema=true, --load_ema)",
    ),
    "no average": (
        {"model": state()},
        "net_ema.",
        "found no running average, only weights under `model.`: they are taken without --ema",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_leaves_a_choice_or_none_is_said_in_a_line(name: str, tmp_path: Path) -> None:
    saved, prefix, words = REFUSED[name]
    (fault,) = chosen(saved, prefix, tmp_path / "mine.pt").faults
    assert words in fault
    assert "\n" not in fault
    assert len(fault) < 400


def test_what_lacks_in_a_wrapped_network_is_listed_as_the_file_calls_it(tmp_path: Path) -> None:
    some = state() | {"final.weight": torch.ones(4, 2)}
    del some[FIRST]
    assert chosen(training(model=some), "net.", tmp_path / "mine.pt").faults == (
        f"1 of 3 parameters missing: model.{FIRST}",
        "1 parameter of another shape: model.final.weight found [4, 2], expected [2, 4]",
    )


def test_what_lies_beside_the_network_is_counted(tmp_path: Path) -> None:
    selection = chosen(training(model=state() | {"accum_iteration": torch.ones(1)}), "net.", tmp_path / "mine.pt")
    assert selection.ignored_text() == "7 ignored (6 beside `model.`, 1 training counter)"
    assert selection.unknown == ()
    beside = chosen(state(lead="net.") | training(), "net.", tmp_path / "mine.pt")
    assert beside.ignored_text() == "6 ignored (4 training states, 2 unknown entries: epoch, config)"
    averaged = {"net_ema.final": torch.ones(1), "iteration": torch.ones(1)}
    several = chosen(state(lead="net.") | averaged, "net.", tmp_path / "mine.pt")
    assert several.ignored_text() == "2 ignored (1 unknown entry: iteration, 1 weight under `net_ema.`)"


def test_adapters_are_found_in_a_wrapped_file_too(tmp_path: Path) -> None:
    layer = "blocks.0.mlp.layer1"
    lora = {f"{layer}.lora_A.default.weight": torch.ones(2, 3), f"{layer}.lora_B.default.weight": torch.ones(4, 2)}
    torch.save({"model": state()}, tmp_path / "base.pt")
    for saved in ({"state_dict": lora}, {f"base_model.model.{name}": one for name, one in lora.items()}):
        torch.save(saved, tmp_path / "lora.pt")
        merge(str(tmp_path / "lora.pt"), 2, 2, SHAPES, Storage(str(tmp_path)), base=str(tmp_path / "base.pt"))
        merged = safetensors.torch.load_file(tmp_path / MERGED)
        assert (merged[f"{layer}.weight"] == 3).all(), "1 and, of each of two ranks, 1"
        assert (merged["final.weight"] == 1).all()
    torch.save({f"net.{name}": one for name, one in lora.items()}, tmp_path / "lora.pt")
    with pytest.raises(UsageError, match=r"found no adapters under `net_ema\.`"):
        merge(str(tmp_path / "lora.pt"), 2, 2, SHAPES, Storage(str(tmp_path)), prefix="net_ema.")


def test_a_folder_of_a_distributed_checkpoint_is_told_what_makes_a_file_of_it(tmp_path: Path) -> None:
    (tmp_path / "iter_000001000").mkdir()
    with pytest.raises(UsageError, match=r"found suffix ``, expected .*format_utils dcp_to_torch FOLDER FILE\.pt"):
        with_dit(load_bundle("tiny"), str(tmp_path / "iter_000001000"))


def test_dictionaries_without_an_end_are_refused(tmp_path: Path) -> None:
    """Three levels of a thousand entries, all of them one dictionary, are a pickle of some kilobytes."""
    bomb: dict[str, Any] = {"a": torch.ones(1)}
    for _ in range(3):
        bomb = {str(n): bomb for n in range(1000)}
    torch.save(bomb, tmp_path / "bomb.pt")
    assert (tmp_path / "bomb.pt").stat().st_size < 2**17
    with pytest.raises(ValueError, match="found more than 262144 entries"):
        read_header(tmp_path / "bomb.pt")
    itself: dict[object, object] = {"a": 1}
    itself["b"] = itself
    assert [name for name, _ in leaves(itself)] == ["a", "b.a", "b.b.a", "b.b.b.a", "b.b.b.b"]


def test_an_empty_dictionary_is_an_entry_like_any_other() -> None:
    """Of a file with nothing else people are told what is in it."""
    assert list(leaves({"a": {}, "b": {"c": 1}})) == [("a", {}), ("b.c", 1)]


def test_the_longest_name_that_a_parameter_can_have_is_its_own() -> None:
    assert leads_of(["net.b.c", "c"], {"b.c", "c"}) == {"net.": {"b.c": "net.b.c"}, "": {"c": "c"}}


def test_tensors_in_dictionaries_are_read_by_their_whole_names(tmp_path: Path) -> None:
    torch.save({"a": {"b": torch.ones(2)}, "c": torch.zeros(1)}, tmp_path / "x.pt")
    assert set(read_pickled(tmp_path / "x.pt")) == {"a.b", "c"} == set(read_header(tmp_path / "x.pt").tensors)
    assert set(read_pickled(tmp_path / "x.pt", only={"a.b"})) == {"a.b"}


def test_names_of_a_million_parts_are_looked_at_in_no_time() -> None:
    """A file's header may have 16 MiB of them; each part was one try, and each try a copy of all that follows."""
    names = ["a." * 100_000 + f"{number}.b.c" for number in range(30)]
    before = time.process_time()
    found = leads_of([*names, "x.y.z"], {"b.c", "y.z", "w"})
    assert time.process_time() - before < 5
    assert [(lead[:4], own) for lead, own in found.items() if len(own) == 1][-1] == ("x.", {"y.z": "x.y.z"})
    assert len(found) == 31
