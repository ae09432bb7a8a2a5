"""Files of settings that are to be compared: what they may say, and what they are called."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support.job_runs import fake_config, write_manifest
from support.outcomes import DEFAULTS, clips, settle

from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.job.compare import Comparison, _first_like, _loads, _overruled, _work, compare, first_rows
from cosmos_ray.job.compared import Setting, read_settings
from cosmos_ray.job.plan import manifest_clips, row_defaults, survey
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.run import Run, open_run
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.rows import Clip, RowDefaults
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.storage import Storage

COMMON: dict[str, Any] = {"manifest": "m.parquet", "output": "judged/", "model": "tiny", "sampling": {"guidance": 3.0}}


@pytest.fixture
def file(tmp_path: Path) -> Any:
    def write(name: str, text: str) -> Path:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_each_file_is_an_output_of_its_name(file: Any) -> None:
    exact, fast = read_settings(COMMON, [file("exact.yaml", ""), file("fast.v2.yml", "sampling: {preset: fast}")])
    assert (exact.name, exact.config.output) == ("exact", "judged/exact")
    assert (fast.name, fast.config.output) == ("fast.v2", "judged/fast.v2")
    assert exact.config.sampling.preset == "exact"
    assert fast.config.sampling.preset == "fast"
    assert exact.config.sampling.guidance == fast.config.sampling.guidance == 3.0  # of the rest of the group
    assert fast.given == {"sampling": {"preset": "fast"}}


def test_a_whole_file_of_settings_may_repeat_what_is_said_for_all(file: Any) -> None:
    whole = "manifest: null\noutput: null\ngangs: '1'\nmodel: fake\n"
    _, other = read_settings(COMMON, [file("a.yaml", ""), file("b.yaml", whole)])
    assert other.config.model == "fake"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gangs: 2", "gangs is of the whole comparison: found '2', expected '1'"),
        ("output: elsewhere", "output is of the whole comparison: found 'elsewhere'"),
        ("limit: 3", "limit is of the whole comparison"),
        ("checks: {redo_at_most: 3}", "checks is of the whole comparison"),
        ("sampling: {num_step: 3}", "the nearest is `sampling.num_steps`"),
        ("smapling: {num_steps: 3}", "smapling: there is no such setting; the nearest is `sampling`"),
        ("- a list", "expected a mapping of settings"),
        ("sampling: {num_steps: many}", "sampling.num_steps"),
    ],
)
def test_what_a_file_cannot_say_is_refused_with_its_name(file: Any, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_settings(COMMON, [file("a.yaml", ""), file("b.yaml", text)])
    assert said in str(caught.value)
    assert "b.yaml" in str(caught.value)


@pytest.mark.parametrize("name", ["compare.yaml", "Report.yaml", "-a.yaml", "a b.yaml", ".yaml"])
def test_a_name_that_cannot_be_an_outputs_is_refused(file: Any, name: str) -> None:
    with pytest.raises(UsageError, match="the file's name becomes a folder's"):
        read_settings(COMMON, [file("a.yaml", ""), file(name, "model: fake")])


def test_one_name_twice_and_too_few_are_refused(file: Any) -> None:
    with pytest.raises(UsageError, match="found the name 'A' twice"):
        read_settings(COMMON, [file("a.yaml", ""), file("other/A.yaml", "model: fake")])
    with pytest.raises(UsageError, match="found 1 file, expected two or more"):
        read_settings(COMMON, [file("a.yaml", "")])
    with pytest.raises(UsageError, match=r"--settings /nowhere/a\.yaml: "):
        read_settings(COMMON, [Path("/nowhere/a.yaml"), Path("/nowhere/b.yaml")])


def settings(tmp_path: Path, file: Any, *texts: str) -> Any:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "p"}])
    files = [file(f"s{place}.yaml", text) for place, text in enumerate(texts)]
    return read_settings(COMMON | {"manifest": manifest, "output": str(tmp_path / "judged")}, files)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("", "sampling: {guidance: 3}"),
        ("sampling: {preset: fast}", "sampling: {preset: fast, num_steps: 4}"),  # of the 10 that are tiny's own
        ("sampling: {num_steps: 7}", "sampling: {num_steps: 7, schedule: published}"),
    ],
)
def test_two_settings_that_ask_for_the_same_are_refused_before_anything_is_made(
    tmp_path: Path, file: Any, first: str, second: str
) -> None:
    found = settings(tmp_path, file, first, second, "model: fake")
    with pytest.raises(UsageError, match="s0 and s1 ask for the same clips"):
        compare(found, str(tmp_path / "judged"), lambda _: None)


def test_what_rows_say_themselves_is_told_where_settings_differ_in_it(tmp_path: Path, file: Any) -> None:
    """Their clips come out alike, which would be read as a saving without a loss."""
    found = settings(tmp_path, file, "", "sampling: {guidance: 1.5, num_steps: 2}")
    assert list(_overruled([_work(setting, None, print) for setting in found])) == []
    write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "p", "num_steps": 4, "seed": 3}])
    (line,) = _overruled([_work(setting, None, print) for setting in found])
    assert line.startswith("settings differ in num_steps: a row that has a value in the column of this name")


def test_a_fault_of_one_setting_is_told_with_its_name(tmp_path: Path, file: Any) -> None:
    found = settings(tmp_path, file, "", "sampling: {attention: fp8, fp8_exact_blocks: [400]}")
    with pytest.raises(UsageError, match=r"setting s1: sampling\.fp8_exact_blocks: found 400"):
        compare(found, str(tmp_path / "judged"), lambda _: None)


def test_a_jobs_own_output_is_no_place_for_others(tmp_path: Path, file: Any) -> None:
    found = settings(tmp_path, file, "", "model: fake")
    open_run(Storage(str(tmp_path / "judged")), Run("m", "h", 1, 1, "tiny", "f", "float32", {}))
    with pytest.raises(UsageError, match="is the output of a job"):
        compare(found, str(tmp_path / "judged"), lambda _: None)


def test_a_limit_is_of_the_manifests_first_rows_whatever_is_done(tmp_path: Path) -> None:
    """In files and row groups, with samples: the same rows for every setting and every time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in range(2):
        ids = [f"{part}{row}" for row in range(5)]
        table = pa.table({"id": ids, "prompt": ids, "num_samples": [2] * 5})
        pq.write_table(table, tmp_path / f"{part}.parquet", row_group_size=3)
    manifest = open_manifest(str(tmp_path))
    defaults = RowDefaults(n_views=7, num_steps=4, guidance=3.0, negative_prompt="")
    work = survey(manifest, defaults, LedgerState.empty()).work
    for limit, asked, groups in ((1, 2, 1), (4, 8, 2), (7, 14, 3), (100, 20, 4)):
        found, left = first_rows(manifest, work, LedgerState.empty(), limit)
        assert (left, len(found)) == (asked, groups)
    import numpy as np

    group = first_rows(manifest, work, LedgerState.empty(), 4)[0][1]
    assert np.unpackbits(np.frombuffer(group.left, np.uint8))[:2].tolist() == [1, 0]


def test_what_is_retried_is_made_within_the_limit_alone(tmp_path: Path) -> None:
    """`retry` of a setting's output opens a clip there; the next comparison makes that one, none beyond its rows."""
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": one, "prompt": one} for one in ("a", "b", "c", "beyond")])
    output = Storage(str(tmp_path / "few"))
    for name, clip in clips(manifest).items():
        if name != "beyond":
            settle(output, clip, "model" if name == "b" else None)
    assert Ledger(output).retry([]) == ["b"]
    state, opened = Ledger(output).state(), open_manifest(manifest)
    (group,), left = first_rows(opened, survey(opened, DEFAULTS, state).work, state, 3)
    assert left == 1
    assert [bool(group.left[0] & 128 >> row) for row in range(4)] == [False, True, False, False]


#: Another value for every setting of a job than its default, as a file may say it.
OTHER: dict[str, Any] = {
    "manifest": "n.parquet", "output": "elsewhere", "model": "fake", "dit": "d.pt", "picture_dit": "p.pt", "ema": True,
    "resolution": "64x32", "gang_size": 2, "gangs": "0:3", "limit": 5, "max_failed": "3", "max_gpu_hours": 1.5,
    "device": "cpu", "max_clips": 7, "redo_changed": True, "sampling": {"num_steps": 3},
    "text_encoder": {"device": "cpu"}, "inputs": {"strict": True}, "checks": {"redo_at_most": 3},
    "refiner": {"max_tokens": 99}, "guardrails": {"enabled": True}, "gang": {"max_attempts": 9},
    "lease": {"beat_s": 1.0}, "breaker": {"max_pause_s": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("name", GenerateConfig.model_fields)
def test_settings_differ_in_what_makes_clips_and_in_nothing_else(file: Any, name: str) -> None:
    files = [file("a.yaml", ""), file("b.yaml", yaml.safe_dump({name: OTHER[name]}))]
    if name in {"model", "dit", "picture_dit", "ema", "resolution", "sampling", "text_encoder", "gang_size"}:
        one, other = read_settings(COMMON, files)
        assert getattr(one.config, name) != getattr(other.config, name)
    else:
        with pytest.raises(UsageError, match=f"b.yaml: {name} is of the whole comparison: found "):
            read_settings(COMMON, files)


def test_a_comparison_ends_as_the_worst_of_its_settings() -> None:
    def ended(*codes: int) -> int:
        return Comparison(tuple(SimpleNamespace(exit_code=code) for code in codes), "page", ()).exit_code  # type: ignore[misc]

    assert [ended(0, 0), ended(3, 0), ended(0, 1, 0)] == [0, 3, 1]


def test_settings_with_the_same_model_come_one_after_the_other() -> None:
    def work(name: str, fingerprint: str, gang_size: int | None = None) -> Any:
        bundle = SimpleNamespace(fingerprint=fingerprint, name=f"model-{fingerprint}", numerics="reference")
        config = SimpleNamespace(gang_size=gang_size)
        return SimpleNamespace(job=SimpleNamespace(bundle=bundle), setting=SimpleNamespace(config=config, name=name))

    works = [work("a", "1"), work("b", "2"), work("c", "1"), work("d", "1", 2), work("e", "2")]
    order = sorted(works, key=lambda one: _first_like(works, one))
    assert [one.setting.name for one in order] == ["a", "c", "b", "e", "d"]
    assert list(_loads(works, 3)) == [
        "5 settings, 3 clips each: 3 models, one after the other",
        "loaded again for b, e: model-2 (reference), as it asks for",
        "loaded again for d: model-1 (reference), as it asks for",
    ]
    assert list(_loads(works[:1], 1)) == ["1 setting, 1 clip each: one model for all"]


def test_a_setting_whose_first_rows_are_made_has_nothing_left(tmp_path: Path) -> None:
    """However many rows there are beyond the comparison's."""
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": one, "prompt": one} for one in ("a", "b", "c")])
    config = fake_config(manifest, tmp_path / "out")
    settle(Storage(config.output), manifest_clip(config, "a"))
    found = {limit: _work(Setting("s", config, {}), limit, print) for limit in (1, 2, None)}
    assert [(one.plan.left, len(one.job.work), one.job.config.limit) for one in found.values()] == [
        (0, 0, 0), (2, 1, 1), (2, 1, None),
    ]  # fmt: skip


def manifest_clip(config: GenerateConfig, clip_id: str) -> Clip:
    defaults = row_defaults(load_bundle(config.model), config.sampling)
    return next(clip for clip in manifest_clips(config.manifest, defaults) if clip.id == clip_id)
