"""What `doctor` finds: a plain rule over what was seen, and this machine seen through it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.job import doctor
from cosmos_ray.job.doctor import MEASURED, Finding, Gpu, Machine, examine, findings, look
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.network import toolchain

H100 = Gpu("NVIDIA H100 80GB HBM3", (9, 0), 79_000_000_000, 85_000_000_000)
HOPPER = Machine({"torch": "2.11.0+cu130", "ray": "2.60.0", "fa3-fwd": "0.0.3"}, "13.0", (H100,), "FA3, fused", ())


def by_subject(machine: Machine) -> dict[str, Finding]:
    return {one.subject: one for one in findings(machine)}


def levels(found: dict[str, Finding]) -> set[str]:
    return {one.level for one in found.values()}


def test_a_hopper_with_everything_is_fine_and_its_versions_were_measured() -> None:
    found = by_subject(HOPPER)
    assert levels(found) == {"ok"}
    assert found["attention"].message == "FA3"
    assert found["fused kernels"].message == "fused"
    assert "these were measured" in found["versions"].message


@pytest.mark.parametrize(
    "change",
    [
        {"versions": {**HOPPER.versions, "torch": "2.13.0+cu130"}},
        {"cuda": "12.8"},
        {"versions": {**HOPPER.versions, "fa3-fwd": "0.0.4"}},
    ],
    ids=["torch", "cuda", "fa3"],
)
def test_another_combination_of_versions_was_not_measured(change: dict[str, object]) -> None:
    said = by_subject(dataclasses.replace(HOPPER, **change))["versions"].message  # type: ignore[arg-type]
    assert "was not measured" in said
    assert all(version in said for version in MEASURED), "and which was"


def test_hopper_without_its_kernel_is_slower_and_told_by_how_much() -> None:
    versions = {name: version for name, version in HOPPER.versions.items() if name != "fa3-fwd"}
    found = by_subject(dataclasses.replace(HOPPER, versions=versions, kernels="cuDNN, fused"))
    assert found["attention"].level == "slower"
    assert "3.3 s more" in found["attention"].message
    assert "fa3-fwd is not installed" in found["attention"].message
    broken = by_subject(dataclasses.replace(HOPPER, kernels="cuDNN, fused"))
    assert "does not work here" in broken["attention"].message


def test_another_card_has_no_use_for_hoppers_kernel() -> None:
    ampere = dataclasses.replace(H100, name="NVIDIA A100", capability=(8, 0))
    found = by_subject(dataclasses.replace(HOPPER, gpus=(ampere,), kernels="cuDNN, fused"))
    assert found["attention"].level == "ok"


def test_a_gpu_without_a_c_compiler_costs_eight_percent() -> None:
    machine = dataclasses.replace(HOPPER, kernels="FA3, plain: no C compiler", tools=("no C compiler",))
    found = by_subject(machine)["fused kernels"]
    assert (found.level, "8 %" in found.message, "gcc" in found.message) == ("slower", True, True)


def test_without_a_gpu_the_image_still_says_whether_kernels_could_be_built() -> None:
    machine = dataclasses.replace(HOPPER, gpus=(), kernels="SDPA, plain: on a CPU")
    assert "could have them" in by_subject(machine)["fused kernels"].message
    lacking = dataclasses.replace(machine, tools=("no C compiler", "no Python headers"))
    assert "no C compiler, no Python headers" in by_subject(lacking)["fused kernels"].message


def test_without_torch_or_ray_a_job_could_not_run() -> None:
    found = by_subject(dataclasses.replace(HOPPER, torch_fault="libcudart.so.13: cannot open shared object file"))
    assert found["torch"].level == "missing"
    assert "libcudart" in found["torch"].message
    versions = {"torch": "2.11.0"}
    assert by_subject(dataclasses.replace(HOPPER, versions=versions))["ray"].level == "missing"


def test_what_is_missing_to_build_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing on the path, and headers elsewhere; then a compiler that CC names."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(toolchain.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert toolchain.missing_tools()[-2:] == ("no C compiler", "no Python headers")
    compiler = tmp_path / "my-cc"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    (tmp_path / "Python.h").write_text("")
    assert set(toolchain.missing_tools()) <= {"no Triton"}


@pytest.mark.parametrize("name", ["clang", "gcc", "cc"])
def test_any_compiler_that_triton_looks_for_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    (tmp_path / name).write_text("#!/bin/sh\n")
    (tmp_path / name).chmod(0o755)
    assert "no C compiler" not in toolchain.missing_tools()


def test_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A job would run; with a broken ffmpeg, a store or a cache that cannot be written, it could not."""
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    seen = look()
    monkeypatch.setattr("cosmos_ray.job.doctor.look", lambda: seen)
    every = list(examine("tiny", str(tmp_path / "store")))
    assert [one for one in every if one.level == "missing"] == []
    assert {"ffmpeg", "store", "cache", "versions", "tiny dit"} <= {one.subject for one in every}
    assert not list((tmp_path / "store").rglob("*.*")), "what was written is removed"

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "file" / "cache"))
    missing = {one.subject for one in examine(None, str(tmp_path / "file" / "store")) if one.level == "missing"}
    assert missing == {"ffmpeg", "store", "cache"}


def test_a_model_that_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files aside: too little memory, and no GPU at all."""
    monkeypatch.setattr("cosmos_ray.job.doctor.check_bundle", lambda bundle: [])
    name = "cosmos-predict2-2b-multiview"

    def of_the_model(*gpus: Gpu) -> list[Finding]:
        machine = dataclasses.replace(HOPPER, gpus=gpus)
        monkeypatch.setattr("cosmos_ray.job.doctor.look", lambda: machine)
        return [one for one in examine(name, None) if one.subject.startswith(name)]

    (fine,) = of_the_model(H100)
    assert (fine.level, "gang of 1" in fine.message) == ("ok", True)
    small = dataclasses.replace(H100, total=50_000_000_000)
    (together,) = of_the_model(*[small] * 8)
    assert (together.level, "gang of 4" in together.message) == ("ok", True)
    assert [one.level for one in of_the_model(dataclasses.replace(H100, total=24_000_000_000))] == ["missing"]
    assert [one.level for one in of_the_model()] == ["missing"]


def test_a_store_is_tried_with_one_object_that_goes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._tried(str(tmp_path)) == Finding("ok", "store", f"{tmp_path}: one write, one read")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    monkeypatch.setattr(doctor.Storage, "read", lambda self, path: b"other")
    found = doctor._tried(str(tmp_path))
    assert (found.level, found.message) == ("missing", f"{tmp_path}: wrote 17 bytes and read 5 others")
    (tmp_path / "file").touch()
    assert doctor._tried(str(tmp_path / "file" / "folder")).level == "missing"


def test_stores_libraries_are_named_by_what_brings_them() -> None:
    found = list(doctor._stores({"s3fs": "1.0"}))
    assert [one.subject for one in found] == ["store s3", "store gcs", "store azure"]
    assert found[0].message == "s3fs 1.0"
    assert found[2].message == "adlfs is not installed: pip install '.[azure]', if you use it"
    assert {one.level for one in found} == {"ok"}, "nobody needs all of them"


def test_a_cache_on_a_small_disk_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path))
    for free, words in ((60e9 + 1, "60 GB free;"), (60e9, "60 GB free: less than the published model's files take")):
        disk = type("Usage", (), {"free": free})
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, disk=disk: disk)
        found = doctor._cache()
        assert found.level == "ok"
        assert found.message.startswith(f"{tmp_path}, one write, one read, {words}")


def test_a_models_memory_is_that_of_the_largest_gang_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the smallest of this machine's GPUs."""
    monkeypatch.setattr(doctor, "check_bundle", lambda bundle: [])
    bundle = load_bundle("cosmos-predict2-2b-multiview")
    for sizes, level in (((80, 80), "ok"), ((80, 10), "missing")):
        gpus = tuple(Gpu("card", (9, 0), 0, size * 10**9) for size in sizes)
        (found,) = doctor._model(bundle, dataclasses.replace(HOPPER, gpus=gpus), 0)
        assert (found.level, found.subject) == (level, f"{bundle.name} memory")
        assert f"2 GPUs here with at least {min(sizes)}.0 GB each" in found.message
    (found,) = doctor._model(bundle, dataclasses.replace(HOPPER, gpus=()), 0)
    assert (found.level, found.message) == ("missing", "there is no GPU here, and this is no model for CPUs")
    assert list(doctor._model(load_bundle("tiny"), dataclasses.replace(HOPPER, gpus=()), 0)) == []
    assert list(doctor._model(load_bundle("fake"), HOPPER, 0)) == []


def test_guardrails_take_their_part_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """66 GB of a gang of one fit a card of 80, 86 with them do not."""
    monkeypatch.setattr(doctor, "check_bundle", lambda bundle: [])
    bundle, machine = load_bundle("cosmos-predict2-2b-multiview"), dataclasses.replace(HOPPER, gpus=(H100,))
    assert [one.level for one in doctor._model(bundle, machine, 0)] == ["ok"]
    assert [one.level for one in doctor._model(bundle, machine, 20 * 10**9)] == ["missing"]
    monkeypatch.setattr(doctor, "look", lambda: machine)
    said = list(doctor.examine(bundle.name, None, guardrails=GuardrailRules(enabled=True)))
    assert [one.level for one in said if one.subject == f"{bundle.name} memory"] == ["missing"]


def test_a_network_of_neighbourhoods_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "check_bundle", lambda bundle: [])
    bundle = load_bundle("cosmos-predict2-2b-video2world-natten")
    without, plain, whole = (
        None,
        SimpleNamespace(HAS_LIBNATTEN=False, __version__="0"),
        SimpleNamespace(HAS_LIBNATTEN=True),
    )
    for installed, said in ((without, "takes the package natten"), (plain, "without its kernels"), (whole, None)):
        monkeypatch.setitem(sys.modules, "natten", installed)
        found = [one for one in doctor._model(bundle, HOPPER, 0) if one.level == "missing"]
        assert [said in one.message for one in found] == ([True] if said else [])
