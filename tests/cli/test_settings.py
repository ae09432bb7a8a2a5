"""`config`: every setting with its default and words, as `--config` takes them; and a job that is all in a file."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import yaml
from support.command_line import assert_one_line

from cosmos_ray.config import build_config, setting_names

FLAGS = {"manifest": "m.parquet", "output": "out"}


def leaves(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in settings.items():
        found |= leaves(value, f"{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def test_every_setting_is_there_with_its_default(cosmos_ray: Any, tmp_path: Path) -> None:
    answer = cosmos_ray("config")
    assert (answer.code, answer.err) == (0, "")
    assert set(leaves(yaml.safe_load(answer.out))) == set(setting_names())
    (tmp_path / "job.yaml").write_text(answer.out)
    assert build_config(FLAGS, tmp_path / "job.yaml") == build_config(FLAGS)


def test_every_setting_has_words(cosmos_ray: Any) -> None:
    lines = cosmos_ray("config").out.splitlines()
    for before, line in itertools.pairwise(lines):
        if ":" in line and not line.lstrip().startswith("#"):
            assert before.lstrip().startswith("# "), f"{line!r} has no words above it: a string under the field"


def test_every_value_of_a_setting_that_has_few_is_named(cosmos_ray: Any) -> None:
    """Whoever reads the file need not guess what else can stand there."""
    shown, words, named = list[str](), "", dict[str, str]()
    for line in cosmos_ray("config").out.splitlines():
        name = line.strip().partition(":")[0]
        if line.lstrip().startswith("#"):
            shown.append(line.strip("# "))
        else:
            words, shown = " ".join(shown), []
            named[name] = named.get(name, "") + words
    for values in ("auto cuda cpu", "published unipc", "published karras9 karras12", "crop pad stretch", "keep fail"):
        settings = [name for name, words in named.items() if all(value in words for value in values.split())]
        assert settings, f"no setting names all of {values}"
    assert "any of: black, frozen" in named["redo"].lower()


def test_a_file_holds_a_whole_job(cosmos_ray: Any, tmp_path: Path, manifest: str, output: Path) -> None:
    """Manifest and output too; a flag wins over it. A plan without an output leaves nothing out."""
    job = tmp_path / "job.yaml"
    job.write_text(json.dumps({"manifest": manifest, "output": str(output), "model": "fake"}))
    assert json.loads(cosmos_ray("plan", "--config", job, "--json").out)["left"] == 2
    other = cosmos_ray("plan", "--config", job, "--output", tmp_path / "new", "--json")
    assert json.loads(other.out)["left"] == 4
    assert json.loads(cosmos_ray("plan", "--manifest", manifest, "--model", "fake", "--json").out)["left"] == 4
    job.write_text(json.dumps({"manifest": manifest, "model": "fake"}))
    assert_one_line(cosmos_ray("generate", "--config", job), 2, "output: not given; give --output URI")
    assert_one_line(cosmos_ray("plan", "--model", "fake"), 2, "manifest: not given; give --manifest URI")


def test_the_printed_file_takes_a_job_by_its_flags(cosmos_ray: Any, tmp_path: Path, manifest: str) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(cosmos_ray("config").out)
    answer = cosmos_ray("plan", "--config", job, "--manifest", manifest, "--model", "fake", "--json")
    assert json.loads(answer.out)["clips"] == 4
