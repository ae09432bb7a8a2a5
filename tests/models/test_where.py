"""On which device things are, and for how long: seen without a GPU, on torch's `meta` device and by what is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from cosmos_ray.clip.approximations import EXACT
from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.models import warm_up
from cosmos_ray.models.ab2 import AdamsBashforth
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.distilled import Distilled
from cosmos_ray.models.guardrails import reference
from cosmos_ray.models.guardrails.networks import on_device
from cosmos_ray.models.network import passes
from cosmos_ray.models.network.dit import Grid
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.text.qwen_vl import QwenVL
from cosmos_ray.models.text.reason1 import Reason1Encoder
from cosmos_ray.models.unipc import UniPC
from cosmos_ray.models.unipc_noise import NoiseUniPC


class Moved:
    """Remembers where it was moved to."""

    def __init__(self) -> None:
        self.to_: list[str] = []

    def to(self, device: str) -> Moved:
        self.to_.append(device)
        return self


@pytest.mark.parametrize(
    ("device", "offload", "places"),
    [("cuda", True, ["cuda", "cpu"]), ("cuda", False, ["cuda"]), ("cpu", True, ["cpu"]), ("cpu", False, ["cpu"])],
)
def test_a_network_leaves_a_gpu_after_use_where_it_is_to_be_off_it(
    device: str, offload: bool, places: list[str]
) -> None:
    network: Any = Moved()
    with contextlib.suppress(ValueError), on_device(network, device, offload) as found:
        assert found is network
        assert network.to_ == places[:1]
        raise ValueError  # whatever happens
    assert network.to_ == places


@pytest.mark.parametrize("offload", [True, False])
def test_a_guardrails_networks_are_on_its_device_from_loading_on_unless_they_are_to_be_off_it(
    monkeypatch: pytest.MonkeyPatch, offload: bool
) -> None:
    made: list[Moved] = []

    def network(*_: Any) -> Moved:
        made.append(Moved())
        return made[-1]

    package = "cosmos_ray.models.guardrails."
    monkeypatch.setattr(package + "llama_guard.read_llama_guard", lambda folder: (None, network()))
    for name in ("content_filter.read_siglip", "content_filter.read_classifier", "face_blur.read_retinaface"):
        monkeypatch.setattr(package + name, network)
    monkeypatch.setattr(reference.Place, "folder", lambda self: _Folder())
    rules = GuardrailRules(enabled=True, offload=offload, siglip="there")
    for check in (reference.LlamaGuardCheck, reference.ContentFilter, reference.FaceBlur):
        check(rules).load("cuda")
    assert len(made) == 4
    assert [one.to_ for one in made] == [[] if offload else ["cuda"]] * 4


class _Folder:
    def __truediv__(self, name: str) -> _Folder:
        return self


@pytest.mark.parametrize(("home", "moves"), [("cpu", ["cuda", "cpu"]), ("cuda", [])])
def test_a_refiner_is_on_its_gpu_while_it_writes_and_then_where_it_stays(
    monkeypatch: pytest.MonkeyPatch, home: str, moves: list[str]
) -> None:
    happened: list[str] = []

    @contextlib.contextmanager
    def stream(which: Any) -> Iterator[None]:
        happened.append(which.name)
        yield

    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: happened.append("emptied"))
    model: Any = object.__new__(QwenVL)
    model.model, model._home, model._works_on = Moved(), home, "cuda"
    model._stream = SimpleNamespace(name="its own", synchronize=lambda: happened.append("waited"))
    with contextlib.suppress(ValueError), model._at_work():
        assert model.model.to_ == moves[:1]
        assert happened == ["its own"]
        raise ValueError
    assert model.model.to_ == moves
    assert happened == ["its own", "waited", *(["emptied"] if moves else [])]


def test_an_encoder_moves_with_all_its_parts() -> None:
    made: Any = object.__new__(Reason1Encoder)
    made.encoder = nn.Linear(2, 2)
    made._weight_DW, made._bias_D = torch.zeros(2, 2), torch.zeros(2)
    assert made.to("meta") is made
    devices = {one.device.type for one in (*made.encoder.parameters(), made._weight_DW, made._bias_D)}
    assert devices == {"meta"}


@pytest.mark.parametrize("given", [0, 1])
@pytest.mark.parametrize("solver", ["ab2", "unipc", "unipc-noise", "distilled"])
def test_times_are_made_where_the_network_is(solver: str, given: int) -> None:
    recipe = load_bundle("tiny").recipe
    made: Any = {
        "ab2": lambda: AdamsBashforth(2, recipe.noise_levels, recipe.exponent),
        "unipc": lambda: UniPC(2),
        "unipc-noise": lambda: NoiseUniPC(2, recipe.noise_levels, recipe.exponent),
        "distilled": lambda: Distilled(2, lambda number: torch.zeros(1)),
    }[solver]()
    found = made.timesteps(0, given, Grid(2, 3, 1, 1), torch.device("meta"))
    assert found.device.type == "meta"
    assert torch.broadcast_shapes(found.shape, (2, 3)) == (2, 3)


PASSES = {
    "modulated_norm": ((2, 3), (2, 1), (2, 1)),
    "add_gated": ((2, 3), (2, 1), (2, 3)),
    "norm_and_rotate": ((4, 1, 4), (4,), (4, 1, 2), (4, 1, 2)),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_is_the_fused_kernels_where_there_is_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """With everything in its order; without one it is computed here."""
    given = [torch.full(shape, number + 1.0) for number, shape in enumerate(PASSES[name])]
    eps = [] if name == "add_gated" else [passes.NORM_EPS]
    fused = SimpleNamespace(**{name: lambda *told: ("fused", *told)})
    monkeypatch.setattr(passes, "fused_kernels", lambda x: fused if x is given[0] else None)
    told: Any = getattr(passes, name)(*given)
    assert told[0] == "fused"
    assert all(found is expected for found, expected in zip(told[1:], [*given, *eps], strict=True))
    monkeypatch.setattr(passes, "fused_kernels", lambda x: None)
    assert isinstance(getattr(passes, name)(*given), torch.Tensor)


@pytest.mark.parametrize("error", [ImportError("no Triton"), OSError("no file"), RuntimeError("no compiler")])
def test_kernels_that_cannot_be_built_are_done_without_and_it_is_said_why(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any) -> None:
        raise error

    cpu = torch.device("cpu")
    tried = passes._working_kernels.__wrapped__
    monkeypatch.setattr(passes, "missing_tools", list)
    monkeypatch.setattr(passes.importlib, "import_module", lambda name: SimpleNamespace(add_gated=fails))
    assert tried(cpu) == (None, str(error))
    monkeypatch.setattr(passes, "missing_tools", lambda: ["no C compiler", "no headers"])
    assert tried(cpu) == (None, "no C compiler, no headers")
    kernels = SimpleNamespace(add_gated=lambda x, gate, y: x + gate * y)
    monkeypatch.setattr(passes.importlib, "import_module", lambda name: kernels)
    assert tried(cpu) == (kernels, "")


def test_a_gpu_is_warmed_up_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[Any] = []
    cuda = torch.device("cuda")
    monkeypatch.setattr(warm_up, "short_run", lambda *given: happened.append(given))
    monkeypatch.setattr(torch.cuda, "synchronize", happened.append)
    seconds: dict[str, float] = {}
    network: Any = SimpleNamespace(device=cuda)
    bundle, alone = load_bundle("tiny"), ContextParallel()
    warm_up.warm_up(network, bundle, alone, EXACT, seconds)
    assert happened == [(network, bundle, alone, EXACT), cuda]
    assert seconds.keys() == {"warming up"}
