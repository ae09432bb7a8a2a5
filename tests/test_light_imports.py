"""The core needs neither torch nor Ray: it is what `plan`, `status` and the gangs' leaders start with.

`lint-imports` holds what may import what; here a fresh process says what is really loaded.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.paths import ROOT

#: What loads neither torch nor Ray when it is imported; `cli` and `job` import them when they are called.
LIGHT = ("cli", "clip", "job", "ledger", "manifest", "output", "published", "store")
BUNDLES = ("bundle", "cache", "check", "fetch", "files", "headers", "hub", "memory", "shapes", "t5_files")
ELSEWHERE = ("config", "errors", "gang.idle", "models.noise", "pool.demand", "pool.health", "pool.workload")
#: The model in Python, and Ray Data's part of a job.
HEAVY = {"job.generator", "job.pipeline"}


def modules_of(room: str) -> list[str]:
    files = (ROOT / "cosmos_ray" / room).rglob("*.py")
    return [".".join(path.relative_to(ROOT / "cosmos_ray").with_suffix("").parts) for path in sorted(files)]


def imported_by(*modules: str) -> set[str]:
    """Top-level packages that a fresh process has after importing these modules of cosmos_ray."""
    code = f"import sys, {', '.join(f'cosmos_ray.{name}' for name in modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_core_imports_neither_torch_nor_ray() -> None:
    light = {name for room in LIGHT for name in modules_of(room)} - HEAVY
    found = imported_by(*sorted(light), *(f"models.bundle.{name}" for name in BUNDLES), *ELSEWHERE)
    assert "cosmos_ray" in found
    assert found & {"torch", "ray", "diffusers", "transformers"} == set()


@pytest.mark.slow
def test_the_model_needs_no_ray_and_its_network_no_libraries_of_models() -> None:
    """Those of the autoencoder and the text encoder take seconds: a rank imports them while it reads the network."""
    found = imported_by("models.generator", "models.parallel", "models.load", "models.imports")
    assert "torch" in found
    assert found & {"ray", "diffusers", "transformers", "pandas", "pyarrow"} == set()


@pytest.mark.slow
def test_a_rank_begins_with_nothing_that_it_does_not_need() -> None:
    """What it imports before it can answer; a gang waits for its slowest."""
    found = imported_by("gang.rank", "gang.leader")
    assert "ray" in found
    assert found & {"torch", "diffusers", "transformers", "pandas", "scipy", "cv2", "aiohttp"} == set()


@pytest.mark.slow
def test_a_spare_has_imported_all_that_loading_imports() -> None:
    """Nothing of a library is left to find when it takes a rank's place: neither by the parts nor by the text."""
    code = (
        "from cosmos_ray.models.imports import import_network, import_others; import_network(); import_others('t5'); "
        "import sys; before = set(sys.modules); "
        "from cosmos_ray import ClipRequest, Generator, load_bundle; "
        "generator = Generator.load(load_bundle('tiny')); "
        "generator.embed(ClipRequest('a', ('a street',), 'blurry', 1, 0, seed=0, guidance=3.0, num_steps=1)); "
        "late = {name for name in set(sys.modules) - before if name.startswith(('diffusers', 'transformers'))}; "
        "print(*late)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_the_public_names_are_these_and_no_others() -> None:
    """Asked of a fresh process, where nothing else has been imported yet, and again with everything used."""
    code = (
        "import cosmos_ray; first = dir(cosmos_ray); [getattr(cosmos_ray, name) for name in first]; "
        "assert dir(cosmos_ray) == first; print(*first)"
    )
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(names) == {
        "ClipRequest",
        "GenerateConfig",
        "Generator",
        "__version__",
        "generate",
        "load_bundle",
        "results",
    }


def test_a_name_that_is_not_public_is_not_there() -> None:
    import cosmos_ray

    with pytest.raises(AttributeError, match="Generatr"):
        _ = cosmos_ray.Generatr
