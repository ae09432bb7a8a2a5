"""What a job, and what looks at one, says and tells: of machines, of clips made again, of tables, of costs. No Ray."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.job_runs import fake_config, write_manifest
from support.surfaces import as_lines, assert_as_it_was, masked
from support.whole_output import ROWS, write_whole_output

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.errors import CosmosRayError
from cosmos_ray.job import check as check_module
from cosmos_ray.job import compare as compare_module
from cosmos_ray.job import cost, doctor, refine, reproduce
from cosmos_ray.job import job as job_module
from cosmos_ray.job.compare import first_rows
from cosmos_ray.job.compared import read_settings
from cosmos_ray.job.cost import ClipGroup, estimates
from cosmos_ray.job.doctor import Gpu, Machine
from cosmos_ray.job.generator import Generator, clip_of
from cosmos_ray.job.plan import survey
from cosmos_ray.job.refiner_cost import outrun_line, refiner_cost
from cosmos_ray.job.table import keep
from cosmos_ray.ledger.lease import LeaseTimes
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.pool.own_ray import is_there
from cosmos_ray.store.storage import Storage

H100 = Gpu("H100", (9, 0), 79_000_000_000, 85_000_000_000)
SMALL = Gpu("A10", (8, 6), 20_000_000_000, 24_000_000_000)
ALL = {"torch": "2.11.0+cu130", "ray": "2.60.0", "fa3-fwd": "0.0.3", "s3fs": "1"}


def test_what_doctor_finds_of_each_machine() -> None:
    lines = []
    for versions, gpus, kernels, tools in itertools.product(
        (ALL, {"torch": "2.12.0", "ray": "2.60.0"}), ((), (H100,), (SMALL, H100)),
        ("FA3, fused", "SDPA, plain: no Triton"), ((), ("gcc",)),
    ):  # fmt: skip
        machine = Machine(versions, "13.0" if gpus else None, gpus, kernels, tools)
        lines.append(f"== {versions.get('fa3-fwd')}, {[one.name for one in gpus]}, {kernels}, {tools}")
        lines += [f"{one.level} {one.subject}: {one.message}" for one in doctor.findings(machine)][1:]
    for machine in (Machine({}, None, (), "", (), "no CUDA"), Machine({"ray": "2.60.0"}, None, (), "", (), "broken")):
        lines += [f"{one.level} {one.subject}: {one.message}" for one in doctor.findings(machine)][1:]
    assert_as_it_was("job/machines.txt", masked("\n".join(lines)))


@pytest.mark.parametrize(
    "model", [None, "fake", "tiny", "cosmos-predict2-2b-multiview", "cosmos-predict2-2b-video2world"]
)
def test_what_doctor_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str | None) -> None:
    """In the order in which a job meets it; of a model also whether it would run here."""
    found = SimpleNamespace(level="ok", subject="asked", message="answered")
    lacks = SimpleNamespace(level="lacks", subject="asked", message="not there")
    monkeypatch.setattr(doctor, "check_bundle", lambda bundle: [found, lacks])
    monkeypatch.setattr(doctor, "text_encoder_parameters", lambda bundle: 1_000_000)
    monkeypatch.setattr(doctor, "findings_of", lambda rules: [found] if rules.is_on else [])
    monkeypatch.setattr(doctor, "look_at_guardrails", lambda rules, family: [lacks, found])
    monkeypatch.setattr(doctor, "check_ffmpeg", lambda: SimpleNamespace(version="7", path="/ffmpeg"))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: SimpleNamespace(free=50_000_000_000))
    monkeypatch.setattr(doctor, "cache_folder", lambda name: tmp_path)
    monkeypatch.setattr(doctor, "cache_root", lambda: tmp_path)
    monkeypatch.delenv("HF_HOME", raising=False)
    lines = []
    for gpus in ((), (H100,), (SMALL, SMALL)):
        monkeypatch.setattr(doctor, "look", lambda gpus=gpus: Machine(ALL, "13.0", gpus, "FA3, fused", ()))
        refiner, guardrails = RefinerRules(backend="local"), GuardrailRules(enabled=True)
        for told in ((model, None), (model, str(tmp_path / "store"), refiner, guardrails)):
            lines.append(f"== {[one.name for one in gpus]}, {len(told)} told")
            lines += [f"{one.level} {one.subject}: {one.message}" for one in doctor.examine(*told)][1:]  # type: ignore[arg-type]
    assert list(tmp_path.glob("doctor-*")) == []
    assert_as_it_was(f"job/doctor_{model}.txt", masked("\n".join(lines), tmp_path))


def test_what_doctor_finds_of_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    lines = [str(doctor._tried(str(place))) for place in (tmp_path / "in", tmp_path / "file" / "in", "ftp://x/y")]
    lines += [str(one) for one in doctor._stores({"s3fs": "1", "adlfs": "2"})]
    assert_as_it_was("job/places.txt", masked("\n".join(lines), tmp_path))


CLIPS = {
    "text": Clip("a", "a", ("p",), n_views=7, num_steps=35, guidance=7.0),
    "stacked": Clip("a", "a", ("p",), inputs=("/v.mp4",), is_stacked=True, n_views=7, num_conditional_frames=5, fps=12),
    "cameras": Clip("a", "a", ("p", "q"), inputs=("/v.mp4", "/w.mp4"), n_views=2, views=("rear", "front_wide"), seed=4),
    "pictures": Clip("a", "a", ("p",), frames=(("/1.png", "/2.png"),), n_views=1, num_conditional_frames=1),
    "embedding": Clip("a", "a", (), prompt_embedding="/e.pt", n_views=7, negative_prompt="grey"),
    "control": Clip("a", "a", ("p",), controls=("/c.mp4",), control_weight=0.5, n_views=1, num_chunks=3,
    chunk_overlap=1),
}  # fmt: skip


def test_what_a_clip_that_is_made_again_is_asked_for_by() -> None:
    lines = []
    for name, clip in CLIPS.items():
        (row,) = pq.read_table(pa.BufferReader(reproduce._manifest_of(clip))).to_pylist()
        lines += [f"== {name}", *as_lines(row)]
    before: dict[str, Any] = {
        "inputs": [{"uri": "u", "size": 1, "version": "v"}], "versions": {"torch": "1", "ray": "2"},
        "gang": {"size": 2, "device": "cuda", "node": "n"},
    }  # fmt: skip
    for change in ({}, {"inputs": [{"uri": "u", "size": 2, "version": "w", "new": 1}]}, {"versions": {"torch": "3"}},
                   {"gang": {"size": 4, "device": "cpu", "node": "m"}}):  # fmt: skip
        lines.append(f"{change}: {list(reproduce._other_circumstances(before, {**before, **change}))}")
    for one in (reproduce.Difference("rear", True, None, 0), reproduce.Difference("rear", False, None, 0),
                reproduce.Difference("rear", False, 41.26, 3)):  # fmt: skip
        lines.append(one.in_words())
    assert_as_it_was("job/made_again.txt", "\n".join(lines))


def test_what_becomes_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"x")
    rows = [
        {"id": "a", "prompt": "p", "input_video": "a.mp4", "x": 1.5},
        {"id": "b", "prompt": "q", "input_video": None, "x": None},
    ]
    frames = {
        "columns": pd.DataFrame(rows), "index": pd.DataFrame(rows).set_index("id"),
        "numbers": pd.DataFrame(rows).assign(id=[1, 2], seed=[3, None]), "mixed": pd.DataFrame(rows).assign(x=["one",
        2]),
        "no id": pd.DataFrame(rows).drop(columns="id"), "nothing": pd.DataFrame({"id": [], "prompt": []}),
        "twice": pd.DataFrame(rows * 2), "a set": pd.DataFrame(rows).assign(x=[{1}, {2}]),
        "number": pd.DataFrame({1: [2]}),
    }  # fmt: skip
    lines = []
    for name, frame in frames.items():
        said: list[str] = []
        storage = Storage(str(tmp_path / name))
        try:
            uri = keep(frame, storage, LeaseTimes(), said.append)
            keep(frame, storage, LeaseTimes(), said.append)
            lines += [f"== {name}: {uri}", *said, *as_lines(pq.read_table(uri).to_pylist())]
        except CosmosRayError as error:
            lines += [f"== {name}: {error}", *said]
    assert_as_it_was("job/tables.txt", masked("\n".join(lines), tmp_path))


BUNDLES = ("cosmos-predict2-2b-multiview", "cosmos-predict2.5-2b-multiview", "cosmos-predict2-14b-video2world",
           "cosmos-predict2-0.6b-text2image", "cosmos-predict2-2b-text2world", "cosmos-predict2-2b-video2world",
           "tiny")  # fmt: skip


@pytest.mark.parametrize("gpu", ["h100", "h200"])
def test_what_clips_cost(gpu: Any) -> None:
    """Of each model, size of gang, number of views and steps; with what is cheaper."""
    lines = []
    for name, (views, steps, guided, frames), chosen in itertools.product(
        BUNDLES, ((1, 35, True, 0), (7, 35, True, 1), (3, 10, False, 5)),
        (Approximations(), Approximations(attention="fp8"), Approximations(guidance_interval=(0.0, 0.5),
        solver="unipc")),
    ):  # fmt: skip
        bundle = load_bundle(name)
        if gpu == "h200" and chosen.chosen:
            continue
        if views > bundle.n_views or (views == 1 and bundle.n_views > 1 and not guided):
            continue
        group = ClipGroup(views, steps, guided, frames, 3)
        try:
            found = estimates([group], bundle, gpu, chosen)
        except CosmosRayError as error:
            lines.append(f"{name} {group}: {error}")
            continue
        told = [(one.gang_size, one.is_measured, round(one.clip_seconds, 3), one.memory_bytes) for one in found]
        calls = cost.exact_calls(group, chosen, bundle.recipe)
        lines.append(f"{name} {views} {steps} {guided} {frames} {list(chosen.chosen)}: {told}, {calls:g} calls")
        rules = RefinerRules(backend="local", captions="each")
        words = refiner_cost([group], rules)
        lines.append(f"  {words and words.line()} | {outrun_line([group], rules, found)}")
    assert_as_it_was(f"job/costs_{gpu}.txt", "\n".join(lines))


def test_what_a_job_says_before_it_begins(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [*ROWS, {"id": "bad", "prompt": None}])
    said: list[str] = []
    for changes in ({}, {"model": "tiny25"}, {"sampling": {"preset": "fast"}}, {"refiner": {"backend": "endpoint",
    "model": "m",
                    "url": "http://h/v1"}},
                    {"model": "cosmos-predict2-2b-multiview", "gang_size": 4}):  # fmt: skip
        said.append(f"== {changes}")
        config = fake_config(manifest, tmp_path / "out", **changes)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(check_module, "check_refiner", lambda refining, say: None)
                patch.setattr(check_module, "check_bundle", lambda bundle: [])
                job, plan = check_module.check(config, said.append)
            said += job_module._opening(job, plan)
        except CosmosRayError as error:
            said.append(f"! {error}")
    for given in ((3,), (config, 3)):
        try:
            job_module.generate(*given)  # type: ignore[arg-type]
        except CosmosRayError as error:
            said.append(str(error))
    assert not is_there()
    assert_as_it_was("job/opening.txt", masked("\n".join(said), tmp_path))


def test_which_rows_are_left_of_the_first_ones(tmp_path: Path) -> None:
    output, run, manifest = write_whole_output(tmp_path)
    opened, state, lines = open_manifest(manifest), Ledger(output).state(), []
    found = survey(opened, cost_defaults(run), state)
    for limit in (1, 2, 3, 5, 12, 13, 100):
        groups, left = first_rows(opened, found.work, state, limit)
        lines.append(f"{limit}: {[(one.number, one.left.hex()) for one in groups]}, {left} left")
    lines.append(str(dataclasses.asdict(found.plan) | {"work": len(found.work)}))
    assert_as_it_was("job/first_rows.txt", masked("\n".join(lines), tmp_path))


def cost_defaults(run: Any) -> Any:
    from cosmos_ray.ledger.run import row_defaults_of

    return row_defaults_of(run)


def test_settings_that_are_compared(tmp_path: Path) -> None:
    common = {
        "manifest": "m",
        "output": f"{tmp_path}/o/",
        "model": "fake",
        "sampling": {"num_steps": 9, "solver": "unipc"},
    }
    texts = {
        "a.yaml": "sampling: {preset: fast}", "b.yml": "model: tiny", "c": "sampling: {num_steps: 5}",
        "A.yaml": "model: tiny",
        "report.yaml": "model: tiny", "-x.yaml": "", "limit.yaml": "limit: 3", "bad.yaml": "sampling: {steps: 1}",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    lines = []
    for chosen in (("a.yaml", "b.yml", "c"), ("a.yaml",), ("a.yaml", "A.yaml"), ("a.yaml", "report.yaml"), ("a.yaml",
    "-x.yaml"),
                   ("a.yaml", "limit.yaml"), ("a.yaml", "bad.yaml"), ("a.yaml", "none.yaml")):  # fmt: skip
        try:
            for one in read_settings(common, [tmp_path / name for name in chosen]):
                sampling = one.config.sampling
                made_with = one.config.model, sampling.num_steps, sampling.solver
                lines.append(f"{one.name} {one.given} {one.config.output} {made_with}")
        except CosmosRayError as error:
            lines.append(f"{chosen}: {error}")
    loaded = (("a", 1, "f", "tiny"), ("b", 2, "f", "tiny"), ("c", 1, "g", "fake"), ("d", 1, "f", "tiny"))
    works = [
        SimpleNamespace(
            setting=SimpleNamespace(name=name, config=SimpleNamespace(gang_size=size)),
            job=SimpleNamespace(bundle=SimpleNamespace(fingerprint=fingerprint, name=model, numerics="n")),
        )
        for name, size, fingerprint, model in loaded
    ]
    for some in (works[:1], works[::3], works):
        lines += compare_module._loads(some, 3)  # type: ignore[arg-type]
        lines.append(str([compare_module._first_like(some, one) for one in some]))  # type: ignore[arg-type]
    assert_as_it_was("job/compared.txt", masked("\n".join(lines), tmp_path))


def test_columns_that_make_one_clip_in_python() -> None:
    bundle, lines = load_bundle("tiny"), []
    given: tuple[dict[str, Any], ...] = (
        {"prompt": "p"}, {"prompt": "p", "seed": 3, "n_views": 2}, {"prompt": ["p", "q"], "n_views": 2},
        {"prompt": 3}, {},
        {"prompt": "p", "sed": 1}, {"prompt": "p", "seed": "x"}, {"prompt": "p", "input_video": Path("/v.mp4")},
        {"prompt": "p", "num_samples": 2}, {"prompt": "p", "guidance": 101}, {"id": "x", "prompt": "p"},
        {"prompt": "p", "input_videos": {"rear": Path("/r.mp4")}, "views": ["rear"]}, {"prompt": {1}},
    )  # fmt: skip
    for columns in given:
        try:
            clip = clip_of(columns, bundle)
            facts = json.loads(clip.to_json())
            lines.append(f"{columns}: { {name: one for name, one in facts.items() if one} }")
        except CosmosRayError as error:
            lines.append(f"{columns}: {error}")
    lines += [
        f"{name}{inspect.signature(getattr(Generator, name))}" for name in ("load", "generate", "denoise", "decode")
    ]
    assert_as_it_was("job/columns.txt", "\n".join(lines))


def test_words_of_refining() -> None:
    kinds = (
        pa.string(),
        pa.list_(pa.string()),
        pa.large_list(pa.string()),
        pa.list_(pa.string(), 7),
        pa.large_string(),
    )
    lines = [f"{kind}: {refine._is_list(kind)}" for kind in kinds]
    lines += [refine.Refined(*counts).in_words() for counts in ((1, 1), (5, 2, 1, 1, 1), (3, 0, 3))]
    found = refine.Refined(4)
    for name in ("a", "b", "c", "d"):
        found.faults.add(name, f"of {name}")
    lines.append(refine._examples(found))
    assert_as_it_was("job/refining.txt", "\n".join(lines))
