"""Tables of what solvers, networks and bundles give, beside how they were (`tests/golden-surfaces/models`).

Every pass of a small network is looked at: what it is told, and what it answers; so that a change of any value is seen.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import Any

import pytest
import torch
from support.networks import caption, small_network
from support.surfaces import assert_as_it_was, assert_numbers_as_they_were
from torch import Tensor

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.family import FAMILIES, Family
from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, Bundle, fitting_world_sizes, load_bundle
from cosmos_ray.models.bundle.dims import NetworkDims
from cosmos_ray.models.bundle.memory import guardrail_bytes, memory_plans, refiner_line, runs_on_cpus, stays_beside
from cosmos_ray.models.bundle.shapes import dit_shapes, vae_shapes
from cosmos_ray.models.network.dit import Grid, MultiviewDiT, patchify, unpatchify
from cosmos_ray.models.network.rope import RopeAxes, angle_table, rotate
from cosmos_ray.models.network.windows import keys_of, window_of
from cosmos_ray.models.noise import clip_noise
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.sampler import denoise
from cosmos_ray.models.text.layout import caption_texts, negative_texts
from cosmos_ray.models.text.tokens import chat_text, cut_captions, is_surely_read, overhead_of, texts_of
from cosmos_ray.models.vae.pixels import normalise_frames, signed_to_uint8, truncated_to_uint8

BUNDLES = sorted(folder.name for folder in BUILT_IN_FOLDER.iterdir() if (folder / "bundle.json").is_file())
GRID = Grid(views=2, frames=3, height=2, width=4)


def of(x: Tensor) -> list[float]:
    """Norm, a sum that tells places apart, and some values."""
    flat = x.detach().double().flatten()
    weights = torch.cos(torch.arange(len(flat), dtype=torch.float64))
    return [float(flat.norm()), float((flat * weights).sum()), *flat[:: max(len(flat) // 5, 1)].tolist()]


class Watched:
    """A network, and what it was told on each pass."""

    def __init__(self, network: MultiviewDiT) -> None:
        self.network, self.told = network, list[list[float]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def forward_tokens(self, x: Tensor, mask: Tensor, times: Tensor, texts: Tensor, share: Any, **more: Any) -> Tensor:
        cameras = more.get("view_indices_BVT")
        facts = [float(mask.sum()), float(len(texts)), float(texts.double().sum()), float(len(more["fp8_blocks"]))]
        facts += [*times.flatten().tolist(), float(-1 if cameras is None else cameras.double().sum())]
        self.told.append([*facts, *of(x)])
        return self.network.forward_tokens(x, mask, times, texts, share, **(more | {"fp8_blocks": frozenset()}))


def run(family: Family, approximations: Approximations, given: int, **more: Any) -> dict[str, list[float]]:
    network = Watched(small_network())
    generator = torch.Generator().manual_seed(5)
    condition = torch.randn(GRID.views, GRID.tokens_per_view, 64, generator=generator)
    asked: dict[str, Any] = {
        "grid": GRID, "condition_VlP": condition if given else None, "num_condition_latents": given,
        "positive_VMC": caption(GRID, seed=1), "negative_VMC": caption(GRID, seed=2), "guidance": 2.5, "num_steps": 4,
        "seed": 3, "model_fps": 12.0, "parallel": ContextParallel(), "view_ids": (3, 6),
    }  # fmt: skip
    states: list[Any] = []
    solved = family.solved_by(approximations)
    clean = denoise(
        network,
        family=solved,
        approximations=approximations,
        on_state=states.append,
        **(asked | more),  # type: ignore[arg-type]
    )
    found = {f"pass {number}": numbers for number, numbers in enumerate(network.told)}
    for state in states:
        found |= {f"state {state.step} {name}": of(tensor) for name, tensor in sorted(state.tensors.items())}
    return found | {"clean": of(clean)}


CHOICES = (
    Approximations(),
    Approximations(solver="unipc", guidance_interval=(0.3, 0.7)),
    Approximations(schedule="karras9", attention="fp8", fp8_interval=(0.2, 0.6), fp8_exact_blocks=(0,)),
)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_pass_of_each_solver(name: str) -> None:
    found: dict[str, list[float]] = {}
    for number, choice in enumerate(CHOICES):
        if FAMILIES[name].solver != "ab2" and (choice.solver, choice.schedule) != ("published", "published"):
            choice = Approximations(guidance_interval=choice.guidance_interval)
        for given in (0, 1, 2):
            ran = run(FAMILIES[name], choice, given)
            found |= {f"{number} given {given} {key}": numbers for key, numbers in ran.items()}
    noise = torch.randn(4, 16, 2, 3, 4, 8, generator=torch.Generator().manual_seed(9))
    found |= {f"drawn {key}": numbers for key, numbers in run(FAMILIES[name], CHOICES[0], 1, noise_CVTHW=noise).items()}
    alone = run(FAMILIES[name], CHOICES[0], 0, negative_VMC=None, view_ids=None, num_steps=3)
    another = [Approximations(solver="unipc", schedule="karras9")] if FAMILIES[name].solver == "ab2" else []
    for steps, choice in itertools.product((1, 2), (CHOICES[0], *another)):
        few = run(FAMILIES[name], choice, 1, num_steps=steps)
        found |= {f"{steps} of {choice.solver} {key}": numbers for key, numbers in few.items() if "pass" not in key}
    assert_numbers_as_they_were(
        f"models/passes-{name}.json", found | {f"alone {key}": numbers for key, numbers in alone.items()}
    )


NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {}, "without fps": {"rope_enable_fps_modulation": False}, "wan": {"use_wan_fp32_strategy": True},
    "ratios": {"rope_h_extrapolation_ratio": 1.0, "rope_w_extrapolation_ratio": 2.0, "rope_t_extrapolation_ratio": 1.5},
    "one view": {"n_cameras_emb": 0, "view_condition_dim": 0}, "no mask": {"has_condition_mask": False},
    "steered": {"vace_block_every_n": 2, "num_blocks": 3}, "steered each": {"vace_block_every_n": 1},
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_networks_of_every_kind(dtype: torch.dtype) -> None:
    found = {}
    for name, changes in NETWORKS.items():
        plain = small_network(head_dim=16).config
        network = MultiviewDiT(type(plain).model_validate(plain.model_dump() | changes)).to(dtype)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for _, parameter in sorted(network.named_parameters()):
                drawn = torch.randn(parameter.shape, generator=generator) * 0.3
                parameter.copy_(drawn + float(parameter.dim() == 1))
        x = torch.randn(2, GRID.views, GRID.tokens_per_view, 64, generator=generator)
        mask = torch.zeros(2, GRID.views, GRID.tokens_per_view, 4)
        mask[:, :, : GRID.tokens_per_frame] = 1
        cameras = torch.tensor([4, 1])[None, :, None].expand(1, 2, 3) if network.config.n_cameras_emb else None
        share = network.share(GRID, 12.0, ContextParallel(), given_frames=1)
        more = {"control_BVlP": x[:1] * 0.5, "control_weight": 0.75} if "steered" in name else {}
        texts = torch.stack([caption(GRID, seed=1), caption(GRID, seed=2)]).to(dtype)
        times = torch.rand(1, 2, 3, generator=generator)
        with torch.no_grad():
            answer = network.forward_tokens(
                x[:1], mask[:1], times, texts, share, view_indices_BVT=cameras, fp8_blocks=frozenset(), **more
            )
        if dtype == torch.float32:  # what bfloat16 rounds depends on the order of a processor's sums
            found[name] = of(answer)
        found[f"{name} turned"] = [*of(share.cos_l1k), *of(share.sin_l1k)]
    assert_numbers_as_they_were(f"models/networks-{str(dtype)[6:]}.json", found)


def test_angles_pixels_and_windows() -> None:
    found: dict[str, list[float]] = {}
    axes = RopeAxes(24, ratio_t=0.5, ratio_h=3.0, ratio_w=2.0)
    for fps, dtype, wide in ((None, torch.float32, None), (10.0, torch.float32, None), (10.0, torch.bfloat16, None),
                             (30.0, torch.bfloat16, torch.float32),
                             (29.97, torch.bfloat16, torch.float32)):  # fmt: skip
        table = angle_table(axes, 3, 2, 4, fps, dtype, wide)
        found[f"{fps} {dtype} {wide}"] = of(table)
        x = torch.linspace(-2, 3, 24 * 2 * 24).view(24, 2, 24)
        found[f"{fps} {dtype} {wide} turned"] = of(rotate(x, table.cos()[:, None], table.sin()[:, None]))
    tokens = patchify(torch.arange(2 * 3 * 4 * 8.0).view(2, 3, 4, 8))
    found["patches"] = of(tokens)
    found["back"] = of(unpatchify(tokens, Grid(1, 3, 2, 4)))
    levels = torch.linspace(-1.2, 1.2, 33)
    found["signed"], found["cut"] = signed_to_uint8(levels).tolist(), truncated_to_uint8(levels).tolist()
    found["cut in bfloat16"] = truncated_to_uint8(levels, torch.bfloat16).tolist()
    frames = torch.arange(0, 240, 10, dtype=torch.uint8).view(1, 2, 2, 2, 3)
    found["normal"] = normalise_frames(frames, torch.float32).flatten().tolist()
    found["noise"] = of(torch.from_numpy(clip_noise(7, load_bundle("tiny"), 2)))
    assert_numbers_as_they_were("models/angles.json", found)
    lines = [f"{letter} {grid}: {window_of(letter, grid)} {keys_of(letter, grid)}"
             for letter in "ABCEFG"
             for grid in ((1, 44, 80), (2, 44, 80), (8, 44, 80), (24, 44, 80), (3, 20, 12))]  # fmt: skip
    assert_as_it_was("models/windows.txt", "\n".join(lines))


def said(make: Any) -> str:
    try:
        return str(make())
    except (RowError, UsageError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("name", BUNDLES)
def test_what_follows_from_a_bundle(name: str) -> None:
    bundle: Bundle = load_bundle(name)
    lines = [f"{bundle.fingerprint} {bundle.num_frames} {bundle.tokens_per_view} {bundle.file_fps} {bundle.text_width}"]
    lines += [f"{view} {chunks} {overlap}: {said(lambda v=view, c=chunks, o=overlap: bundle.shape_of(v, c, o))}"
              for view in bundle.recipe.files for chunks, overlap in ((1, 1), (3, 1), (3, 5))]  # fmt: skip
    for size in (None, "480p", "720p", "128x192", "100x100", "x"):
        lines.append(f"size {size}: {said(lambda s=size: (bundle.with_size(s).height, bundle.with_size(s).width))}")
    for numerics, device, dtype in itertools.product(("reference", "float32"), (None, "cpu"), (None, "float32")):
        made = bundle.with_numerics(numerics).with_text_encoder(device, dtype)  # type: ignore[arg-type]
        lines.append(f"{numerics} {device} {dtype}: {made.fingerprint}")
        for plan in memory_plans(made, refiner=7, guardrails=9):
            lines.append(f"    {asdict(plan)} {plan.total} {[stays_beside(plan, n * 10**9) for n in (24, 80, 141)]}")
            lines.append(f"    {plan.line()}; {refiner_line(plan)}")
    lines.append(
        f"cpus {runs_on_cpus(bundle)}, {fitting_world_sizes(bundle.network.num_heads, bundle.tokens_per_view)}"
    )
    rules = GuardrailRules(enabled=True)
    for changes in ({}, {"enabled": False}, {"provider": "package"}, {"provider": "none"}, {"device": "cpu"},
                    {"checks": ("face_blur",)}, {"checks": ("blocklist", "llama_guard")}):  # fmt: skip
        some = rules.model_copy(update=changes)
        lines.append(f"guardrails {changes}: {guardrail_bytes(some, bundle)} {guardrail_bytes(some, bundle, 200)}")
    for on in (None, True, False):
        lines.append(f"prefix {on}: {said(lambda o=on: bundle.with_camera_prefix(o).fingerprint)}")
    assert_as_it_was(f"models/bundle-{name}.txt", "\n".join(lines))


def test_shapes_of_networks() -> None:
    dims = NetworkDims(model_channels=64, num_blocks=3, num_heads=4, adaln_lora_dim=8, crossattn_emb_channels=10)
    kinds: dict[str, dict[str, Any]] = {
        "plain": {}, "raw text": {"crossattn_proj_in_channels": 20}, "steered": {"vace_block_every_n": 2},
        "one view": {"n_cameras_emb": 0, "view_condition_dim": 0}, "no mask": {"has_condition_mask": False},
    }  # fmt: skip
    lines = [f"{kind} {key} {list(shape)}" for kind, changes in kinds.items()
             for key, shape in dit_shapes(dims.model_copy(update=changes)).items()]  # fmt: skip
    lines += [f"vae {key} {list(shape)}" for key, shape in vae_shapes(load_bundle("tiny").vae).items()]
    assert_as_it_was("models/shapes.txt", "\n".join(lines))


def test_whose_text_is_whose() -> None:
    lines = []
    for (name, family), prefix, views in itertools.product(
        FAMILIES.items(), (False, True), (VIEWS[:1], VIEWS[:3], ("rear", "front_wide"), ("front_tele", "rear"))
    ):
        for captions in (("a",), ("", "b"), (" ", "b", "c")):
            one = said(lambda c=captions, v=views, f=family, p=prefix: caption_texts(c, v, f, p))
            other = said(lambda c=captions, v=views, f=family, p=prefix: negative_texts("n", c, v, f, p))
            lines.append(f"{name} {prefix} {views} {captions}: {one}; {other}")
        lines.append(f"{name}: {overhead_of(family)} {list(texts_of(views, ('a', 'b'), 'n'))}")
    lines.append(repr(chat_text("a caption")))
    for text, overhead in itertools.product(("a" * 509, "a" * 510, "a" * 511, "é" * 42, "é" * 43), (0, 100)):
        cut = cut_captions([("rear", text)], lambda text: len(text) + 2, overhead)
        lines.append(f"{text[0]} {len(text)} {overhead}: {is_surely_read(text, overhead)} {cut}")
    assert_as_it_was("models/texts.txt", "\n".join(lines))
