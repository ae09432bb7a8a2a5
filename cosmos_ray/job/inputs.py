"""What the inputs of a job's rows are like, found without a GPU and before a gang is held.

Every input is asked for (is it there, how large is it), many at a time; a sample of the rows is taken just as a gang
takes it, by the same code, so that a fault has the same words here as in the record of the failed clip.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cosmos_ray.config import InputsConfig
from cosmos_ray.errors import RowError
from cosmos_ray.gang.inputs import input_size
from cosmos_ray.gang.prepare import prepare, refuse_doubtful
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.words import Kind, Kinds, counted

#: Requests at a time; more than one client of a store keeps busy, few enough for a small machine.
_AT_ONCE = 64
#: Rows taken at a time: each is decoded on several cores.
_TAKEN_AT_ONCE = 2
_BATCH = 4096


@dataclass(frozen=True)
class InputsLook:
    """rows: with inputs. asked: inputs that were asked for; size: their bytes. taken: rows taken as a gang would.

    faults: rows that would fail; warnings: rows that would be made, and doubted. Kinds, the most frequent first.
    """

    rows: int
    asked: int
    size: int
    taken: int
    faults: tuple[Kind, ...]
    warnings: tuple[Kind, ...]

    def lines(self) -> Iterator[str]:
        """For people."""
        yield (
            f"inputs: {counted(self.rows, 'row')} with {counted(self.asked, 'file')}, {self.size / 1e9:,.1f} GB; "
            f"{counted(self.taken, 'row')} looked into"
        )
        for word, kinds in (("fail", self.faults), ("be doubted", self.warnings)):
            for kind in kinds:
                yield f"{counted(kind.count, 'row')} would {word}, as:"
                yield from (f"  {row_id}: {message}" for row_id, message in kind.examples)
        if not self.faults and not self.warnings:
            yield "nothing is wrong with them"


def look_at_inputs(
    clips: Iterable[Clip], bundle: Bundle, config: InputsConfig, manifest: str, taken: int | None
) -> InputsLook:
    """clips: in the manifest's order, those of one row together; of each row the first is looked at.

    taken: of how many rows the inputs are read as a gang reads them; None for all. Which ones follows from their ids.
    Raises OSError for a store that does not answer.
    """
    faults, warnings = Kinds(), Kinds()
    rows = asked = size = 0
    sample: list[tuple[int, int, Clip]] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for batch in _batches(_first_of_each_row(clips)):
            references = [(clip, column, uri) for clip in batch for column, uri in references_of(clip)]
            answers = list(pool.map(lambda one: _ask(one[1], one[2], manifest), references))
            refused: dict[str, str] = {}
            for (clip, _, _), answer in zip(references, answers, strict=True):
                if isinstance(answer, RowError):
                    refused.setdefault(clip.id, str(answer))
                else:
                    size += answer
            for clip in batch:
                if clip.id in refused:
                    faults.add(clip.row_id, refused[clip.id])
                else:
                    _keep(sample, clip, rows, taken)
                rows += 1
            asked += len(references)

    def take(clip: Clip) -> tuple[str, ...] | RowError:
        try:
            found = prepare(clip, bundle, 1, config.rules, manifest).warnings
            refuse_doubtful(found, config.strict)
        except RowError as error:
            return error
        return found

    chosen = [clip for _, _, clip in sorted(sample, key=lambda one: one[1])]
    with ThreadPoolExecutor(_TAKEN_AT_ONCE) as pool:
        for clip, found in zip(chosen, pool.map(take, chosen), strict=True):
            if isinstance(found, RowError):
                faults.add(clip.row_id, str(found))
                continue
            for warning in found:
                warnings.add(clip.row_id, warning)
    return InputsLook(rows, asked, size, len(chosen), faults.found(), warnings.found())


def references_of(clip: Clip) -> Iterator[tuple[str, str]]:
    """(column, URI) of everything that making this clip reads."""
    if clip.num_conditional_frames:
        for uri in clip.inputs:
            yield clip.input_column, uri
        for uris in clip.frames:
            for uri in uris[-clip.num_conditional_frames :]:
                yield "input_frames", uri
    if clip.prompt_embedding is not None:
        yield "prompt_embedding", clip.prompt_embedding


def _ask(column: str, uri: str, manifest: str) -> int | RowError:
    try:
        return input_size(column, uri, manifest)
    except RowError as error:
        return error


def _first_of_each_row(clips: Iterable[Clip]) -> Iterator[Clip]:
    """Those that can be made and read something."""
    last = None
    for clip in clips:
        if clip.row_id != last and clip.error is None and next(references_of(clip), None):
            yield clip
        last = clip.row_id


def _batches(clips: Iterator[Clip]) -> Iterator[list[Clip]]:
    while batch := list(itertools.islice(clips, _BATCH)):
        yield batch


def _keep(sample: list[tuple[int, int, Clip]], clip: Clip, number: int, most: int | None) -> None:
    """The clips whose ids have the smallest hashes: spread over the manifest, and the same ones every time."""
    order = int.from_bytes(hashlib.sha256(clip.id.encode()).digest()[:8], "big")
    if most is not None and len(sample) >= most:
        heapq.heappushpop(sample, (-order, number, clip))
    else:
        heapq.heappush(sample, (-order, number, clip))
