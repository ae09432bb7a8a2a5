"""What people install: the wheel holds what the package needs and nothing else, and makes a clip outside the checkout.

Nothing is downloaded. The wheel's environment is a new one, which finds the dependencies, and them alone, among the
packages of the tests' own: this package is installed there too, from the checkout, which must stay out of sight.
"""

from __future__ import annotations

import email.parser
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import imageio_ffmpeg
import pyarrow.parquet as pq
import pytest
from make_sample import demo_rows, demo_scenes, write_clip, write_manifest
from support.paths import ROOT

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.version import VERSION

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as a fresh clone has it, with what is about to be committed: setuptools builds in the tree, where
    a former build would be packed too."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    copy = tmp_path_factory.mktemp("sources")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():  # one that is removed is listed until that is committed
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sources)
    [found] = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it. A line of a .pth file adds a folder, but not what that folder's own .pth
    files add, of which one leads to the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    [site_packages] = folder.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip("--python", folder / "bin" / "python", "install", "--no-deps", wheel)
    return folder


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, env=os.environ | {"PIP_NO_INDEX": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def outside(folder: Path, *command: str | Path) -> tuple[str, str]:
    """What a command prints and says that is run in `folder`, where nothing leads to the checkout."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_the_wheel_holds_all_files_of_the_package_and_no_others(sources: Path, wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == {str(path.relative_to(sources)) for path in (sources / "cosmos_ray").rglob("*") if path.is_file()}
    built_in = "cosmos_ray/models/bundle/built_in"
    assert {
        "cosmos_ray/py.typed",
        "cosmos_ray/output/report/assets/report.html",
        f"{built_in}/tiny/bundle.json",
    } <= packed
    assert any(name.startswith(f"{built_in}/tiny/") and name.endswith(".safetensors") for name in packed)


def test_the_wheel_has_the_version_that_clips_record(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    assert email.parser.Parser().parsestr(archive.read(metadata).decode())["Version"] == VERSION


def test_the_environment_has_the_package_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    code = "import cosmos_ray, importlib.metadata as m; print(cosmos_ray.__file__, m.version('cosmos-ray'), sep='\\n')"
    file, version = outside(tmp_path, environment / "bin" / "python", "-c", code)[0].splitlines()
    assert Path(file).is_relative_to(environment)
    assert version == VERSION


@pytest.mark.ray
def test_the_installed_command_makes_a_clip(environment: Path, tmp_path: Path) -> None:
    """Of the demo's rows one that is made, from an input, and the one that is bad on purpose; on a Ray of its own, of
    which nothing is heard."""
    day = demo_scenes(0)["day"]
    write_clip(tmp_path / "clips" / "day", day, 64, 112)
    rows = [row for row in demo_rows(demo_scenes(0), 0) if row["id"] in ("image2world-day", "missing-input")]
    write_manifest(tmp_path / "manifest.parquet", rows)
    flags = ("--model", "tiny", "--gang-size", "1", "--max-failed", "1", "--set", "sampling.num_steps=2")
    command = (environment / "bin" / "cosmos-ray", "generate", "--manifest", "manifest.parquet", "--output", "out")
    printed, said = outside(tmp_path, *command, *flags)
    assert "1 ok, 1 failed" in said
    assert [line for line in (printed + said).splitlines() if "WARNING" in line or "token" in line] == []
    [row] = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    assert row["id"] == "image2world-day"
    [folder] = (tmp_path / "out" / "clips" / "image2world-day").iterdir()
    assert {file.name for file in folder.iterdir()} == {"clip.json", *(f"{view}.mp4" for view in VIEWS)}
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(folder / "rear.mp4"))
    assert frames == 29
    assert (tmp_path / "out" / "report.html").is_file()
