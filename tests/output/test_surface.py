"""All that is made from one whole output, as it was: tables, page, frames, copies; every value, name and path."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.surfaces import as_lines, assert_as_it_was, masked, page_lines, plainly, table_lines
from support.whole_output import write_whole_output

from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.run import Run
from cosmos_ray.output.derived import make
from cosmos_ray.output.export import export
from cosmos_ray.output.report.build import write_report
from cosmos_ray.output.report.part import Part
from cosmos_ray.output.report.together import write_together
from cosmos_ray.output.results import results
from cosmos_ray.store.storage import Storage

Whole = tuple[Storage, Run, str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """With its derived files."""
    output, run, manifest = write_whole_output(tmp_path_factory.mktemp("whole"))
    make(output, run, Ledger(output).state())
    return output, run, manifest


def hidden(text: str, output: Storage) -> str:
    """Without hashes of files that others write, times and places."""
    text = masked(text, Path(output.uri).parent)
    text = re.sub(r"[0-9a-f]{20}\.js", "(rows).js", text)
    return re.sub(r"\b[0-9a-f]{64}\b", "(sha256)", text)


@pytest.mark.parametrize("name", ["index", "failures"])
def test_tables_are_as_they_were(whole: Whole, name: str) -> None:
    lines = table_lines(Path(whole[0].uri, f"{name}.parquet"))
    assert_as_it_was(f"output/{name}.txt", hidden("\n".join(lines), whole[0]))


def test_the_page_is_as_it_was(whole: Whole) -> None:
    assert_as_it_was("output/report.txt", hidden("\n".join(page_lines(Path(whole[0].uri, "report.html"))), whole[0]))


def test_a_page_of_a_part_and_one_of_two_outputs_are_as_they_were(whole: Whole, tmp_path: Path) -> None:
    """Only what differs from the page of the whole output: rows are those of that one."""
    known = set(page_lines(Path(whole[0].uri, "report.html")))
    outputs = [whole_in(tmp_path / name) for name in ("x", "y")]
    part = Part("seed < 6", ("weather", "num_steps"), 2.5)
    write_report(*outputs[0], Ledger(outputs[0][0]).state(), "ab", part)
    both = write_together([output.uri for output, _ in outputs], part)
    for name, page_uri in (("part", f"{outputs[0][0].uri}/report.html"), ("together", both)):
        text = "\n".join(line for line in page_lines(Path(page_uri)) if line not in known)
        assert_as_it_was(f"output/report_{name}.txt", hidden(masked(text, tmp_path), whole[0]))


def whole_in(folder: Path) -> tuple[Storage, Run]:
    """Another one, with its derived files."""
    folder.mkdir()
    output, run, _ = write_whole_output(folder)
    make(output, run, Ledger(output).state())
    return output, run


@pytest.mark.parametrize("where", [None, "status = 'failed' and attempt > 2"])
def test_the_frame_of_results_is_as_it_was(whole: Whole, where: str | None) -> None:
    frame = results(whole[0].uri, where)
    lines = [f"{name}: {kind}" for name, kind in frame.dtypes.items()] if where is None else []
    for row in frame.to_dict("records"):
        lines += ["--", *(f"{name} = {plainly(value)}" for name, value in row.items() if not is_nothing(value))]
    assert_as_it_was(f"output/results{'_where' if where else ''}.txt", hidden("\n".join(lines), whole[0]))


def is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value) or str(value) == "NaT"


def copied(folder: Path) -> Iterator[str]:
    """Every file: what is in it, or of a video which one it is."""
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".tar":
            with tarfile.open(path) as tar:
                for member in tar:
                    data = tar.extractfile(member).read()  # type: ignore[union-attr]
                    yield f"{name} {member.name} {member.mtime} {member.mode:o} {member.uname}: {content(data)}"
        elif path.suffix == ".parquet":
            yield f"{name}:"
            yield from table_lines(path)
        else:
            yield f"{name}: {content(path.read_bytes())}"


def content(data: bytes) -> str:
    if b"ftyp" in data[:16]:
        return f"the video {data[-40:].partition(b'free')[2].decode()}"
    return data.decode()


@pytest.mark.parametrize("layout", ["webdataset", "rds-hq", "lerobot"])
def test_a_copy_is_as_it_was(whole: Whole, tmp_path: Path, layout: Any) -> None:
    said: list[str] = []
    where = "n_views is null or id != 'c'" if layout == "lerobot" else None
    done = export(whole[0].uri, layout, str(tmp_path / "to"), said.append, clips_a_shard=2, where=where)
    again = export(whole[0].uri, layout, str(tmp_path / "to"), said.append, clips_a_shard=2, where=where)
    damaged = next(one for one in sorted((tmp_path / "to").rglob("*")) if one.suffix in (".tar", ".mp4"))
    damaged.write_bytes(b"x" + damaged.read_bytes())
    looked = export(whole[0].uri, layout, str(tmp_path / "to"), said.append, clips_a_shard=2, where=where, verify=True)
    export(whole[0].uri, layout, str(tmp_path / "to"), said.append, clips_a_shard=2, where=where)
    lines = [*said, str(done), str(again), str(looked), *copied(tmp_path / "to")]
    assert_as_it_was(f"output/export_{layout}.txt", hidden(masked("\n".join(lines), tmp_path), whole[0]))


def test_the_ledgers_objects_are_as_they_were(whole: Whole) -> None:
    """Names of all files, and what the records and the run say."""
    root = Path(whole[0].uri)
    lines = []
    for path in sorted(one for one in root.rglob("*") if one.is_file()):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".json" and "_cosmos_ray" in name:
            facts = json.loads(path.read_text())
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8] if "/ledger/" in name else ""
            lines += [f"{name} {digest}", *(as_lines(facts) if not digest or "/b." in name else ())]
        else:
            lines.append(name)
    assert_as_it_was("output/objects.txt", hidden("\n".join(lines), whole[0]))
