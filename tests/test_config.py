"""A job's settings: what wins over what, what is refused, and that a refusal names the setting."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from cosmos_ray.config import GenerateConfig, build_config, failed_allowed, nearest_setting, setting_names
from cosmos_ray.errors import UsageError

FLAGS = {"manifest": "m.parquet", "output": "out"}


def test_defaults() -> None:
    config = build_config(FLAGS)
    assert (config.model, config.gang_size, config.gangs, config.max_failed) == (
        "cosmos-predict2-2b-multiview",
        None,
        "1",
        "0.05",
    )
    assert (config.lease.beat_s, config.lease.life_s, config.gang.max_attempts) == (5.0, 15.0, 3)
    assert config.sampling.numerics is None  # the bundle's own


def test_flags_win_over_the_file_and_set_over_both(tmp_path: Path) -> None:
    """The file gives all three settings, a flag two, `--set` one."""
    file = tmp_path / "job.yaml"
    file.write_text("model: from-file\nlimit: 1\ngangs: 1:4\ngang_size: 1\ngang:\n  max_attempts: 7\n")
    flags = {**FLAGS, "limit": 2, "gang_size": 2}
    config = build_config(flags, file, ["gang_size=4", "sampling.num_steps=10", "lease.beat_s=0.5"])
    assert (config.model, config.limit, config.gang_size) == ("from-file", 2, 4)
    assert (config.min_gangs, config.max_gangs) == (1, 4)
    assert (config.gang.max_attempts, config.sampling.num_steps, config.lease.beat_s) == (7, 10, 0.5)


@pytest.mark.parametrize("name", ["manifest", "output"])
@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_uri_is_refused_by_name(name: str, value: str) -> None:
    """What a variable that is not set leaves: it would mean the folder that the command happens to run in."""
    with pytest.raises(UsageError, match=f"{name}: .*expected a URI, found '{value}'"):
        build_config({**FLAGS, name: value})


def test_an_empty_file_is_no_settings(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("")
    assert build_config(FLAGS, tmp_path / "job.yaml") == build_config(FLAGS)


def test_null_in_a_file_is_nothing_for_what_is_required_alone(tmp_path: Path) -> None:
    """`cosmos-ray config` prints those two so; anywhere else it is a value, and may be a wrong one."""
    file = tmp_path / "job.yaml"
    file.write_text("manifest: null\noutput: null\nlimit: null\n")
    assert build_config(FLAGS, file) == build_config(FLAGS)
    file.write_text("model: null\n")
    with pytest.raises(UsageError, match="model: found None, expected a text"):
        build_config(FLAGS, file)


def test_what_a_command_can_do_without_is_the_weakest(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("output: from-file\n")
    defaults = {"manifest": "any", "output": "any"}
    config = build_config({}, file, defaults=defaults)
    assert (config.manifest, config.output) == ("any", "from-file")
    assert build_config({"output": "flag"}, file, defaults=defaults).output == "flag"


def test_set_takes_values_as_yaml_has_them() -> None:
    config = build_config(FLAGS, None, ["max_failed=3", "gangs=0:4", "redo_changed=true", "sampling.guidance=null"])
    assert (config.max_failed, config.gangs, config.redo_changed, config.sampling.guidance) == ("3", "0:4", True, None)
    assert build_config(FLAGS, None, ["gangs=2:6"]).max_gangs == 6  # and no number of base 60
    assert build_config(FLAGS, None, ["max_gpu_hours=1e3"]).max_gpu_hours == 1000.0
    text = "sampling.negative_prompt='a, b=c'"
    assert build_config(FLAGS, None, [text]).sampling.negative_prompt == "a, b=c"


def test_a_setting_is_nearest_to_itself() -> None:
    """Also where a group has one of the same name, as `device`."""
    assert [name for name in setting_names() if nearest_setting(name) != name] == []
    by_leaf = {name.rpartition(".")[2]: name for name in setting_names()}
    found = {leaf: (nearest_setting(leaf), nearest_setting(f"elsewhere.{leaf}")) for leaf in by_leaf}
    assert {
        leaf for leaf, names in found.items() if {name and name.rpartition(".")[2] for name in names} != {leaf}
    } == set()


def test_of_thousands_of_faults_some_are_said() -> None:
    """What each may have meant takes its time: a page of them took a minute."""
    with pytest.raises(UsageError) as raised:
        GenerateConfig(manifest="m", output="o", **{f"limit{n}": 1 for n in range(5000)})
    assert str(raised.value).count("there is no such setting") == 20
    assert str(raised.value).endswith("; and 4980 more")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("gang_size", "--set gang_size: expected key=value"),
        ("=3", "--set =3: expected key=value"),
        ("gangsize=3", "gangsize: there is no such setting; the nearest is `gang_size`"),
        ("gang.size=3", "gang.size: there is no such setting; the nearest is `gang_size`"),
        ("model.name=x", "model: found {'name': 'x'}, expected a text"),
        ("output.name=x", "--set output.name=x: `output` is not a group of settings"),
        ("gang=3", "gang: found 3, expected a group of settings"),
        ("gang_size=0", "gang_size: found 0, expected at least 1"),
        ("gang_size=many", "gang_size: found 'many', expected a whole number"),
        ("limit=0", "limit: found 0, expected at least 1"),
        ("max_gpu_hours=0", "max_gpu_hours: found 0, expected more than 0"),
        ("device=tpu", "device: found 'tpu', expected 'auto', 'cuda' or 'cpu'"),
        ("sampling.numerics=float16", "sampling.numerics: found 'float16', expected 'reference' or 'float32'"),
        ("sampling.guidance_interval=[0.6, 0.4]", "expected [first, last] with first <= last, found [0.6, 0.4]"),
        ("sampling.fp8_interval=[0, 0.5]", "fp8_interval is of no use without attention: fp8"),
        ("sampling.guidance_interval=[0, 35]", "sampling.guidance_interval.1: found 35, expected at most 1"),
        ("sampling.num_steps=0", "sampling.num_steps: found 0, expected at least 1"),
        ("gang.max_attempts=0", "gang.max_attempts: found 0, expected at least 1"),
        ("gang.deadline_factor=1", "gang.deadline_factor: found 1, expected more than 1"),
        ("lease.beat_s=0", "lease.beat_s: found 0, expected more than 0"),
        ("lease.life_s=5", "lease: expected life_s of more than 2 beats"),
        ("lease.life_s=10", "expected life_s of more than 2 beats (10 s), found 10 s"),
        ("gangs=4:2", "gangs: expected MIN:MAX with 0 <= MIN <= MAX"),
        ("gangs='0:0'", "gangs: expected MIN:MAX"),
        ("gangs=few", "gangs: expected MIN:MAX or a number, found 'few'"),
        ("max_failed=half", "max_failed: expected a count or a fraction, found 'half'"),
        ("max_failed=1.5", "max_failed: expected a count from 0 or a fraction from 0.0 to 1.0"),
        ("max_failed=-1", "max_failed: expected a count from 0"),
        ("max_failed=101%", "max_failed: expected a count from 0 or a fraction from 0.0 to 1.0 (0% to 100%)"),
        ("max_failed=-1%", "max_failed: expected a count from 0"),
        ("max_failed=nan%", "max_failed: expected a count from 0"),
        ("model=[", "--set model=[: "),
        ("model=3", "model: found 3, expected a text"),
    ],
)
def test_a_bad_setting_is_named(assignment: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_config(FLAGS, None, [assignment])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_bad_settings_are_said_at_once() -> None:
    with pytest.raises(UsageError, match=r"gang_size: .*; limit: "):
        build_config(FLAGS, None, ["gang_size=0", "limit=0"])


def test_a_job_needs_a_manifest_and_an_output() -> None:
    with pytest.raises(UsageError, match=r"manifest: not given; give --manifest URI.*; output: not given"):
        build_config({})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("- a\n- b\n", "expected a mapping of settings"),
        ("a: [1, 2", "job.yaml"),
        ("gang: {sizes: 3}", "gang.sizes: there is no such setting"),
        ("model: !!python/object/apply:os.getcwd []", "line 1, column 8: found a tag, expected the value alone"),
        ("\x00", "job.yaml"),
        ("1: 2", "1: "),
        ("limit: 2001-99-99", "line 1, column 8: found a value that cannot be read as !!timestamp"),
        ("limit: !!bool x", "found a value that cannot be read as !!bool"),
        ("limit: !!set [x]", "found a value that cannot be read"),
        ("limit: !!timestamp x", "found a value that cannot be read"),
        ("limit: " + "1" * 5000, "found a value that cannot be read"),
        ("{a: " * 2000, "nest too deep"),
        ("limit: 1\nlimit: 2", "found the key limit twice in one group, expected each once"),
        ("gang: {max_attempts: 1, max_attempts: 2}", "found the key max_attempts twice"),
    ],
    ids=[
        "missing",
        "list",
        "torn",
        "unknown",
        "object",
        "binary",
        "number",
        "no day",
        "no truth",
        "no set",
        "no time",
        "digits",
        "deep",
        "twice",
        "twice below",
    ],
)
def test_a_bad_file(tmp_path: Path, content: str | None, message: str) -> None:
    """Nothing in it is made into an object, or told as a traceback; nothing is left out without a word."""
    if content is not None:
        (tmp_path / "job.yaml").write_text(content)
    with pytest.raises(UsageError) as caught:
        build_config(FLAGS, tmp_path / "job.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        *('key: "PLANTED', "a: b: PLANTED", "- PLANTED\nb: c", "'a'PLANTED", "%PLANTED"),
        *("a: !!int PLANTED", "!!int PLANTED: 1", "a: !!float PLANTED", "a: !!bool PLANTED", "a: !!timestamp PLANTED"),
        *("a: !PLANTED b", "a: !!PLANTED b", "a: !PLANTED!b c", "a: &PLANTED b\nc: *PLANTED", "a: *PLANTED"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_never_quoted(line: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(f"seed: 1\n{line}\n")
    with pytest.raises(UsageError, match=r"job\.yaml: line \d, column \d+: ") as caught:
        build_config(FLAGS, tmp_path / "job.yaml")
    assert "planted" not in str(caught.value).lower()


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(UsageError, match=r"job\.yaml"):
        build_config(FLAGS, tmp_path / "job.yaml")


@pytest.mark.parametrize(("gangs", "low", "high"), [("3", 3, 3), (3, 3, 3), ("1:4", 1, 4), ("0:2", 0, 2)])
def test_how_many_gangs(gangs: Any, low: int, high: int) -> None:
    config = GenerateConfig.model_validate({**FLAGS, "gangs": gangs})
    assert (config.min_gangs, config.max_gangs) == (low, high)


@pytest.mark.parametrize(
    ("max_failed", "clips", "allowed"),
    [
        ("0", 100, 0),
        ("3", 100, 3),
        ("3", 1, 3),
        ("0.05", 100, 5),
        ("0.05", 19, 0),
        ("0.05", 20, 1),
        ("0.29", 100, 29),
        ("1.0", 7, 7),
        ("0.0", 7, 0),
        ("1", 1000, 1),
        ("100%", 7, 7),
        ("5%", 100, 5),
        ("5 %", 20, 1),
        ("2.5%", 100, 2),
        ("29%", 100, 29),
        ("0%", 7, 0),
    ],
)
def test_how_many_may_fail(max_failed: str, clips: int, allowed: int) -> None:
    """A number with a point is a fraction, one without is a count: "1" is one clip, "1.0" is all of them."""
    assert failed_allowed(max_failed, clips) == allowed


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(ValueError, match="frozen"):
        build_config(FLAGS).limit = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("manifest", None), ("manifest", 3), ("output", math.nan), ("output", "\udc80"), ("model", None),
        ("gang_size", "two"), ("gang_size", math.nan), ("limit", 0), ("max_gpu_hours", math.nan),
        ("max_gpu_hours", math.inf), ("gangs", None), ("max_failed", []), ("max_clips", 0), ("redo_changed", "perhaps"),
        ("inputs", None), ("inputs", {"allow": "/data"}), ("inputs", {"allow": [""]}), ("inputs", {"max_frames": None}),
        ("gang", {"deadline_min_s": math.nan}), ("sampling", {"guidance": math.nan}), ("lease", "short"),
    ],
)  # fmt: skip
def test_a_wrong_value_from_python_is_one_error_that_names_the_setting(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^bad settings: {field}") as caught:
        GenerateConfig(**{"manifest": "m.parquet", "output": "out", field: value})
    assert str(caught.value).isprintable()


def test_a_value_on_the_command_line_is_read_with_the_same_care() -> None:
    with pytest.raises(
        UsageError, match=r"--set limit=2001-99-99: line 1, column 1: found a value that cannot be read"
    ):
        build_config(FLAGS, None, ["limit=2001-99-99"])


def test_half_a_character_is_told_by_all_of_its_settings_name() -> None:
    with pytest.raises(UsageError, match=r"bad settings: inputs.more.deep: found '\\udc80', expected a text of whole"):
        GenerateConfig(manifest="m", output="o", inputs={"more": {"deep": ["fine", "\udc80"]}})


def test_a_page_of_names_for_names_is_not_unfolded(tmp_path: Path) -> None:
    """Each of the ones before, nine times: 200 bytes that stand for a billion texts."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    with pytest.raises(UsageError, match="line 2, column 10: found an alias"):
        build_config({"manifest": "m", "output": "o"}, tmp_path / "c.yaml")
    (tmp_path / "large.yaml").write_text("#" * 2**20 + "\n")
    with pytest.raises(UsageError, match="expected at most"):
        build_config({"manifest": "m", "output": "o"}, tmp_path / "large.yaml")
