"""What the inputs of a job's rows are like, found without a GPU and before a gang is held.

Every input is asked for (is it there, how large is it), many at a time; a sample of the rows is taken just as a gang
takes it, by the same code, so that a fault has the same words here as in the record of the failed clip.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cosmos_ray.clip.family import PREDICT2, Family
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.config import InputsConfig
from cosmos_ray.errors import RowError
from cosmos_ray.foreign import shown_uri
from cosmos_ray.gang.fits import fault_of
from cosmos_ray.gang.inputs import Source, input_size, is_unclear
from cosmos_ray.gang.prepare import prepare, refuse_doubtful
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.models.text.tokens import cut_captions, texts_of, token_counter
from cosmos_ray.store.faults import explain
from cosmos_ray.words import Kind, Kinds, byte_size, counted

#: Requests at a time; more than one client of a store keeps busy, few enough for a small machine.
_AT_ONCE = 64
#: Rows taken at a time: each is decoded on several cores.
_TAKEN_AT_ONCE = 2
_BATCH = 4096
#: Inputs that their stores do not give, beyond which no more are asked for.
_MOST_UNANSWERED = 20


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
        if not self.rows and not self.warnings:
            yield "inputs: none of the rows that would be made names any"
            return
        yield (
            f"inputs: {counted(self.rows, 'row')} with {counted(self.asked, 'file')}, {byte_size(self.size)}; "
            f"{counted(self.taken, 'row')} looked into"
        )
        for word, kinds in (("fail", self.faults), ("be doubted", self.warnings)):
            for kind in kinds:
                yield f"{counted(kind.count, 'row')} would {word}, as:"
                yield from (f"  {row_id}: {message}" for row_id, message in kind.examples)
        if not self.faults and not self.warnings:
            yield "nothing is wrong with them"


def look_at_inputs(
    clips: Iterable[Clip],
    bundle: Bundle,
    config: InputsConfig,
    manifest: str,
    taken: int | None,
    home: str = "",
    rare: tuple[str, ...] = (),
) -> InputsLook:
    """clips: in the manifest's order, those of one row together; of each row the first is looked at.

    home: URI of the folder that all of the manifest lies in. taken: of how many rows the inputs are read as a gang
    reads them; None for all. Which ones follows from their ids. rare: the plan's `rare_stores`. Captions are counted
    where the model's tokenizer is on this machine. OSError: stores do not answer, again and again.
    """
    look = _Look(bundle, config, Source(manifest, config.reach(home), rare), sys.maxsize if taken is None else taken)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for batch in _batches(_first_of_each_row(clips)):
            look.ask(batch, pool)
    return look.take()


class _Look:
    """A look in the making."""

    def __init__(self, bundle: Bundle, config: InputsConfig, source: Source, taken: int) -> None:
        self._bundle, self._config, self._source, self._most = bundle, config, source, taken
        self._count = token_counter(bundle)
        self._faults, self._warnings = Kinds(VIEWS), Kinds(VIEWS)
        self._rows = self._asked = self._size = self._kept = self._silent = 0
        #: Clips whose ids have the smallest hashes: spread over the manifest, and the same ones every time.
        self._sample: list[tuple[int, int, Clip]] = []

    def ask(self, clips: list[Clip], pool: ThreadPoolExecutor) -> None:
        refused = {clip.id: fault for clip in clips if (fault := fault_of(clip, self._bundle)) is not None}
        asked = [clip for clip in clips if clip.id not in refused]
        references = [(clip, column, uri) for clip in asked for column, uri in references_of(clip, self._bundle.recipe)]
        first = list(pool.map(lambda one: self._ask(one[1], one[2]), references))
        # What others of its store have answered meanwhile says whose fault the rest is.
        answers = pool.map(self._ask_again, references, first)
        for (clip, _, _), answer in zip(references, answers, strict=True):
            if isinstance(answer, RowError):
                refused.setdefault(clip.id, str(answer))
            else:
                self._size += answer
        for clip in clips:
            if clip.id in refused:
                self._faults.add(clip.row_id, refused[clip.id])
            elif next(references_of(clip, self._bundle.recipe), None) is None:
                self._settle(clip, clip.warnings)
            else:
                self._keep(clip)
        self._asked += len(references)
        self._rows += len({clip.id for clip, _, _ in references})

    def take(self) -> InputsLook:
        """Read the inputs of the sample; what there is to say."""
        chosen = [clip for _, _, clip in sorted(self._sample, key=lambda one: one[1])]
        with ThreadPoolExecutor(_TAKEN_AT_ONCE) as pool:
            for clip, found in zip(chosen, pool.map(self._prepare, chosen), strict=True):
                if isinstance(found, RowError):
                    self._faults.add(clip.row_id, str(found))
                else:
                    self._settle(clip, found)
        return InputsLook(
            self._rows, self._asked, self._size, len(chosen), self._faults.found(), self._warnings.found()
        )

    def _ask(self, column: str, uri: str) -> int | RowError | OSError:
        try:
            return input_size(column, uri, self._source)
        except RowError as error:
            return error
        except OSError as error:
            return error if is_unclear(error) else self._unanswered(f"column `{column}`: {shown_uri(uri)}", error)

    def _ask_again(self, one: tuple[Clip, str, str], answer: int | RowError | OSError) -> int | RowError:
        if not isinstance(answer, OSError):
            return answer
        _, column, uri = one
        again = self._ask(column, uri)
        return self._unanswered(f"column `{column}`: {shown_uri(uri)}", again) if isinstance(again, OSError) else again

    def _unanswered(self, what: str, error: OSError) -> RowError:
        """An input whose store, not its row, is to blame. Raises `error` where that goes on: the store is away."""
        self._silent += 1
        if self._silent > _MOST_UNANSWERED:
            raise OSError(f"{what} and {counted(self._silent - 1, 'input')} before it: {explain(error)}") from error
        return RowError(f"{what} is not given by its store, for which a job would wait, and stop: {explain(error)}")

    def _prepare(self, clip: Clip) -> tuple[str, ...] | RowError:
        try:
            return prepare(clip, self._bundle, 1, self._config.rules, self._source).warnings
        except RowError as error:
            return error
        except OSError as error:
            return self._unanswered("an input", error)

    def _keep(self, clip: Clip) -> None:
        order = int.from_bytes(hashlib.sha256(clip.id.encode()).digest()[:8], "big")
        self._kept += 1
        heapq.heappush(self._sample, (-order, self._kept, clip))
        if len(self._sample) > self._most:
            _, _, left_out = heapq.heappop(self._sample)
            self._settle(left_out, left_out.warnings)

    def _settle(self, clip: Clip, warnings: tuple[str, ...]) -> None:
        """What a gang would say of a clip that can be made."""
        if self._count is not None:
            captions = () if clip.prompt_embedding else clip.prompts
            warnings += cut_captions(texts_of(clip.cameras, captions, clip.negative_prompt), self._count)
        try:
            refuse_doubtful(warnings, self._config.strict)
        except RowError as error:
            self._faults.add(clip.row_id, str(error))
            return
        self._warnings.add_all(clip.row_id, warnings)


def references_of(clip: Clip, family: Family = PREDICT2) -> Iterator[tuple[str, str]]:
    """(column, URI) of everything that making this clip reads."""
    if count := clip.num_conditional_frames:
        for uri in clip.inputs:
            yield clip.input_column, uri
        for uris in clip.frames:
            for uri in uris[:count] if family.takes == "first" else uris[-count:]:
                yield "input_frames", uri
    for uri in clip.controls:
        yield "control_videos", uri
    if clip.prompt_embedding is not None:
        yield "prompt_embedding", clip.prompt_embedding


def _first_of_each_row(clips: Iterable[Clip]) -> Iterator[Clip]:
    """Those that can be made."""
    last = None
    for clip in clips:
        if clip.row_id != last and clip.error is None:
            yield clip
        last = clip.row_id


def _batches(clips: Iterator[Clip]) -> Iterator[list[Clip]]:
    while batch := list(itertools.islice(clips, _BATCH)):
        yield batch
