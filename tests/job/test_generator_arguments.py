"""What the public calls of Python say of arguments of another kind: one documented error that names the argument."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import cosmos_ray
from cosmos_ray import ClipRequest, GenerateConfig, Generator, generate, load_bundle, results
from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.errors import UsageError
from cosmos_ray.job.made_clip import MadeClip
from cosmos_ray.models import generator as of_a_gang
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.sampler import SamplerState

TINY = load_bundle("tiny")
CONFIG = GenerateConfig(manifest="m", output="o")
REQUEST = ClipRequest("a", ("p",), "", 1, 0, 0, 3.0, 1)
CLIP = MadeClip(REQUEST, {}, 10)


class Unloaded(Generator):
    """Without its weights, which no call of these comes to."""

    def __init__(self) -> None:
        pass


MODEL = Unloaded()
#: (the call, the arguments that it is well with, what each is wrong with)
CALLS: list[tuple[Callable[..., Any], dict[str, Any], dict[str, tuple[Any, ...]]]] = [
    (load_bundle, {}, {"name_or_uri": (None, 3, True, b"tiny", ["tiny"], {}, object)}),
    (results, {"output": "o"}, {"output": (None, 3, ["o"], b"o", {}), "where": (3, ["seed"], {"seed": 3}, True)}),
    (generate, {"config": CONFIG}, {"config": (None, "m", 3, {"manifest": "m"}), "say": (None, "x", 3)}),
    (
        Generator.load,
        {"bundle": TINY},
        {
            "bundle": (None, 3, b"tiny", ["tiny"], {}),
            "device": ("gpu", "", None, 0, "mps", "cpu:3", "meta", "CUDA", torch.device("meta"), ["cpu"], "cuda:99"),
            "parallel": (None, 2, (0, 1)),
            "numerics": ("x", 3, [], True),
            "approximations": (None, "fast", {}),
            "seconds": ([], 3, "x"),
        },
    ),
    (MODEL.generate, {}, {"request": ("x", 3, {"prompt": "x"}, ["x"]), "rules": (None, 3, "x", {})}),
    (MODEL.embed, {}, {"request": (None, "x", 3)}),
    (
        MODEL.denoise,
        {"request": REQUEST},
        {"request": (None, "x"), "on_step": (3, "x"), "on_state": (3, "x"), "resume": (3, "x", {})},
    ),
    (MODEL.decode, {"latents": {}}, {"latents": (None, 3, "x", [1]), "overlap": (None, "x", 1.5, -1)}),
    (CLIP.save, {"path": "a.mp4"}, {"path": (None, 3, b"a.mp4", ["a.mp4"]), "layout": (None, 3, "row", ["grid"])}),
    (CLIP.together, {}, {"layout": (None, 3, "row", "views")}),
    (CLIP.show, {}, {"layout": (None, 3, "row", "views")}),
]


def wrong() -> Iterator[Any]:
    for call, well, arguments in CALLS:
        for name, values in arguments.items():
            for value in values:
                yield pytest.param(call, {**well, name: value}, name, id=f"{call.__qualname__}({name}={value!r})"[:60])


@pytest.mark.parametrize(("call", "arguments", "name"), [*wrong()])
def test_a_wrong_argument_is_named(call: Callable[..., Any], arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: found .*expected "):
        call(**arguments)


def test_no_argument_is_left_out() -> None:
    """Of the public calls; a configuration's and a request's have their tests by field."""
    told = {call.__qualname__.replace("Unloaded", "Generator"): set(arguments) for call, _, arguments in CALLS}
    for name in {*cosmos_ray.__all__} - {"ClipRequest", "GenerateConfig", "Generator"}:
        assert told[name] == {*inspect.signature(getattr(cosmos_ray, name)).parameters}
    for name in ("load", "generate", "embed", "denoise", "decode"):
        there = {*inspect.signature(getattr(Generator, name)).parameters} - {"self", "columns"}
        assert told[f"Generator.{name}"] == there


def test_what_is_said_reaches_the_gangs_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every argument, in its place; none is checked and then forgotten."""
    told: list[tuple[Any, ...]] = []

    def tell(name: str) -> Callable[..., Any]:
        def call(given: Any, *rest: Any) -> Any:
            told.append((name, *rest))
            return MODEL if isinstance(given, type) else rest[0]

        return call

    for name in ("embed", "denoise", "decode"):
        monkeypatch.setattr(of_a_gang.Generator, name, tell(name))
    monkeypatch.setattr(of_a_gang.Generator, "load", classmethod(tell("load")))
    parallel, approximations, seconds = ContextParallel(1, 2), Approximations(guidance_interval=(0.0, 0.5)), {"a": 1.0}
    state = SamplerState(1, {})
    Generator.load(TINY, "cpu", parallel, "reference", approximations, seconds)
    MODEL.embed(REQUEST)
    MODEL.denoise(REQUEST, print, state, repr)
    for overlap in (0, 5):
        MODEL.decode({}, overlap)
    assert told == [
        ("load", TINY, "cpu", parallel, "reference", approximations, seconds), ("embed", REQUEST),
        ("denoise", REQUEST, print, state, repr), ("decode", {}, 0), ("decode", {}, 5),
    ]  # fmt: skip
    assert told[0][-1] is seconds


def test_places_may_be_paths(tmp_path: Path) -> None:
    for call in (load_bundle, Generator.load):
        with pytest.raises(UsageError, match="found no readable bundle"):
            call(tmp_path)
    with pytest.raises(UsageError, match="there is no run at"):
        results(tmp_path)


@pytest.mark.parametrize(("device", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_gpu_that_is_not_here_is_told(device: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    with pytest.raises(UsageError, match=f"device: found '{device}', expected .*torch finds {count} GPU"):
        Generator.load(TINY, device)


def test_a_generator_is_written_short() -> None:
    found = Unloaded()
    object.__setattr__(found, "bundle", TINY)
    object.__setattr__(found, "network", dataclasses.make_dataclass("Network", ["device"])("cpu"))
    assert repr(found) == "<Generator tiny on cpu>"
