"""What a job would do: the whole manifest checked, and the ledger subtracted, without a GPU and without Ray."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from cosmos_ray.clip.request import LATENT_FRAMES, VIEWS
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import ManifestError
from cosmos_ray.gang.fits import fault_of
from cosmos_ray.job.cost import ClipGroup
from cosmos_ray.job.cut_captions import LongCaptions, PlanWarning
from cosmos_ray.job.row_ids import Place, RowIds
from cosmos_ray.job.stores import RowsByService, reads_below
from cosmos_ray.ledger.state import LedgerState, counts_by_outcome
from cosmos_ray.manifest.files import Manifest, ManifestFile, open_manifest, row_group_batches
from cosmos_ray.manifest.rows import MAX_STEPS, UNUSED_INPUT, Clip, RowDefaults, check_id, clips_of_row, rows_of
from cosmos_ray.manifest.table import CheckedRows, FanOut, check_batch, clips_a_row, fan_out, first_illegal_id
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.models.text.tokens import overhead_of, token_counter
from cosmos_ray.store.reach import Reach
from cosmos_ray.words import counted

_EXAMPLES, _UNREAD = 20, 3
#: One more than the largest number of views, steps and conditional frames; two ways of guidance.
_KINDS = (len(VIEWS) + 1, MAX_STEPS + 1, max(LATENT_FRAMES) + 1, 2)


@dataclass(frozen=True)
class Plan:
    """rows: of the manifest. clips: what they ask for. invalid: clips that will fail for what their row says.
    done, failed: by the ledger. left: what a job would do. changed: settled clips whose row was edited since.
    unguided: clips without a negative prompt: one network call a step, and nothing for guidance to act on.
    removed: settled clips whose rows the manifest no longer has, by outcome (`ok` or a failure class).
    work: the clips that are left, without those that will fail for what their rows say, by what they cost.
    carried: columns of the manifest that decide no video and go into the index as they are. unread: files in its
    folder that may have been meant for rows, and are no Parquet.
    warnings: what is doubtful in the rows, each with how often it is. (What is in the inputs: `inputs.py`.)
    rare_stores: services that fewer than half of the rows name something of. longest: frames of a view of the longest
    video that is left, where rows ask for more than one chunk, else 0.
    """

    rows: int
    clips: int
    invalid: int
    done: int
    failed: int
    left: int
    changed: tuple[str, ...]
    invalid_examples: tuple[tuple[str, str], ...]
    unguided: int = 0
    removed: dict[str, int] = field(default_factory=dict)
    work: tuple[ClipGroup, ...] = ()
    carried: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    warnings: tuple[PlanWarning, ...] = ()
    rare_stores: tuple[str, ...] = ()
    longest: int = 0

    def in_words(self) -> str:
        return f"{counted(self.clips, 'clip')}: {self.done} done, {self.failed} failed, {self.left} left"


def unguided_line(clips: int) -> str:
    return f"{counted(clips, 'clip')} without a negative prompt: one network call a step, not two, and no guidance"


def carried_line(columns: Sequence[str]) -> str:
    return f"carried into the index, and used for nothing else: {', '.join(map(repr, columns))}"


def unread_line(names: Sequence[str]) -> str:
    listed = ", ".join(map(repr, names[:_UNREAD])) + (", ..." if len(names) > _UNREAD else "")
    return f"in the manifest's folder, and not read for they are no Parquet: {counted(len(names), 'file')} ({listed})"


@dataclass(frozen=True)
class RowGroup:
    """Part of a manifest in which there is work. left: one bit a row (numpy.packbits), set if it is not all settled."""

    file: ManifestFile
    number: int
    left: bytes


@dataclass(frozen=True)
class Survey:
    """A plan, and where in the manifest the work is. reads_home: some of it reads a file of a disk in the manifest's
    own folder."""

    plan: Plan
    work: tuple[RowGroup, ...]
    reads_home: bool = False


def row_defaults(bundle: Bundle, sampling: SamplingConfig) -> RowDefaults:
    """What rows may leave out: the job's settings, else the bundle's."""

    def first(set_by_job: float | str | None, of_bundle: float | str) -> float | str:
        return of_bundle if set_by_job is None else set_by_job

    return RowDefaults(
        n_views=bundle.n_views,
        num_steps=sampling.steps_of(bundle.sampling.num_steps),
        guidance=float(first(sampling.guidance, bundle.sampling.guidance)),
        negative_prompt=str(first(sampling.negative_prompt, bundle.sampling.negative_prompt)),
        fps=bundle.file_fps,
        family=bundle.family,
    )


def manifest_clips(manifest: str, defaults: RowDefaults) -> Iterator[Clip]:
    """Every clip of a manifest, row by row. The plan says what is wrong with the ids."""
    for file, batch in open_manifest(manifest).batches():
        for row in rows_of(batch):
            yield from clips_of_row(row, defaults, file.base)


def make_plan(manifest: str, defaults: RowDefaults, state: LedgerState) -> Plan:
    """Read and check the whole manifest. Raises ManifestError for what makes it unusable."""
    return survey(open_manifest(manifest), defaults, state).plan


def plan_for(config: GenerateConfig, bundle: Bundle, state: LedgerState) -> Plan:
    """`make_plan` with a job's settings. UsageError for those that the model's network cannot have."""
    config.sampling.approximations.check_blocks(bundle.network.num_blocks)
    defaults = row_defaults(bundle, config.sampling)
    manifest = open_manifest(config.manifest)
    tokens = token_counter(bundle)
    reach = config.inputs.reach(manifest.home)
    return survey(manifest, defaults, state, tokens=tokens, max_clips=config.max_clips, bundle=bundle, reach=reach).plan


def survey(
    manifest: Manifest,
    defaults: RowDefaults,
    state: LedgerState,
    *,
    tokens: Callable[[str], int] | None = None,
    max_clips: int | None = None,
    bundle: Bundle | None = None,
    reach: Reach | None = None,
) -> Survey:
    """Read and check every row, a batch in memory at a time; only ids are kept. Raises ManifestError.

    tokens: counts those of captions, to find the ones that the text encoder will cut; None: they are not looked for.
    max_clips: a manifest that asks for more is refused, before their ids are made. bundle: rows that ask for more than
    this model can do will fail. reach: where inputs may lie, as `fault_of` has it.
    """
    captions = LongCaptions(overhead=overhead_of(defaults.recipe)) if tokens else None
    counts = _Counts(manifest.home, defaults, state, captions, max_clips, bundle, reach)
    work: list[RowGroup] = []
    for file in manifest.files:
        first_row = 0
        for number, rows in enumerate(file.rows):
            left: list[np.ndarray] = []
            for batch in row_group_batches(file, number, manifest.schema):
                left.append(counts.add(batch, file, first_row))
                first_row += batch.num_rows
            if rows and (bits := np.concatenate(left)).any():
                work.append(RowGroup(file, number, np.packbits(bits).tobytes()))
    counts.ids.check_unique()
    plan = replace(counts.plan(), carried=manifest.carried, unread=manifest.unread)
    return Survey(replace(plan, warnings=tuple(counts.warnings(tokens))), tuple(work), counts.reads_home)


class _Counts:
    """A plan in the making."""

    def __init__(
        self,
        home: str,
        defaults: RowDefaults,
        state: LedgerState,
        captions: LongCaptions | None,
        max_clips: int | None,
        bundle: Bundle | None,
        reach: Reach | None,
    ) -> None:
        self._home, self.reads_home = home, False
        self._defaults, self._family = defaults, defaults.recipe
        self._state, self._bundle, self._reach = state, bundle, reach
        self._clips, self._max_clips = 0, max_clips
        self._captions, self._services = captions, RowsByService()
        self._doubts = collections.Counter[str]()  # clips, by what is doubtful in their rows
        self._doubted: dict[str, str] = {}  # the first row of each
        self.ids = RowIds()
        self._known = np.zeros(len(state.records), bool)  # clips of the ledger that the manifest asks for
        self._rows = self._invalid = self._unguided = 0
        self._groups = collections.Counter[tuple[int, int, bool, int]]()
        self._longest = 0
        self._changed: list[str] = []
        self._examples: list[tuple[str, str]] = []

    def add(self, batch: pa.RecordBatch, file: ManifestFile, first_row: int) -> np.ndarray:
        """bool, one a row: not all of its clips are settled, or one was made from another row."""
        place = Place(file, first_row)
        illegal = first_illegal_id(batch)
        if illegal is not None:
            try:
                check_id(batch.column("id")[illegal].as_py())
            except ManifestError as error:
                raise ManifestError(f"{place.of(illegal)}: {error}") from None
        try:
            self._check_number(batch, place)
            fan, checked = fan_out(batch), self._for_model(check_batch(batch, self._defaults, file.base))
        except pa.ArrowInvalid as error:
            raise ManifestError(f"{place.of(0)} and the rows after it cannot be read: {error}") from error
        row_ids = batch.column("id").cast(pa.string())
        self.ids.add(place, row_ids, fan)
        self._rows += batch.num_rows
        doubtful = self._doubtful(batch, checked, file.base)
        self._services.add(checked, doubtful.values())
        self._unguided += int(np.count_nonzero((checked.right & checked.unguided)[fan.rows]))
        self._find_warnings(row_ids, fan, checked, [clip for clips in doubtful.values() for clip in clips])
        places = self._state.records.places(fan.ids.to_pylist()) if len(self._known) else np.full(len(fan.rows), -1)
        settled = places >= 0
        self._known[places[settled]] = True
        settled[settled] = self._state.settled_rows[places[settled]]
        changed = self._find_changed(fan, checked, doubtful, np.flatnonzero(settled), places)
        unsettled = ~settled
        unsettled[changed] = True
        self._count_work(fan, checked, doubtful, unsettled)
        left = np.bincount(fan.rows[unsettled], minlength=batch.num_rows) > 0
        self.reads_home = self.reads_home or reads_below(self._home, checked, doubtful, left)
        return left

    def _check_number(self, batch: pa.RecordBatch, place: Place) -> None:
        counts = clips_a_row(batch)
        self._clips += int(counts.sum())
        if self._max_clips is not None and self._clips > self._max_clips:
            asked = f"{counted(self._clips, 'clip')} so far, with `num_samples` of up to {int(counts.max())}"
            raise ManifestError(
                f"{place.of(0)} and the rows after it: the manifest asks for {asked}, expected at most "
                f"{self._max_clips} (--set max_clips=N for more)"
            )

    def _doubtful(self, batch: pa.RecordBatch, checked: CheckedRows, base: str) -> dict[int, list[Clip]]:
        """Clips of the rows that need a closer look, by number of the row."""
        numbers = np.flatnonzero(~checked.right)
        rows = rows_of(batch.take(pa.array(numbers)))
        found = {
            int(number): [self._fitting(clip) for clip in clips_of_row(row, self._defaults, base)]
            for number, row in zip(numbers, rows, strict=True)
        }
        for clip in (clip for clips in found.values() for clip in clips):
            if clip.error is not None:
                self._invalid += 1
                if len(self._examples) < _EXAMPLES:
                    self._examples.append((clip.id, clip.error))
            elif not clip.negative_prompt:
                self._unguided += 1
        return found

    def _for_model(self, checked: CheckedRows) -> CheckedRows:
        """Without those rows that are right, and may ask for what the model cannot do."""
        if self._family.has_control:  # each needs what the columns' check does not know
            return replace(checked, right=np.zeros_like(checked.right))
        return replace(checked, right=checked.right & checked.unguided) if self._family.no_negative else checked

    def _fitting(self, clip: Clip) -> Clip:
        fault = None if self._bundle is None else fault_of(clip, self._bundle, self._reach)
        return clip if fault is None else replace(clip, error=fault)

    def _find_warnings(self, ids: pa.StringArray, fan: FanOut, checked: CheckedRows, doubtful: list[Clip]) -> None:
        good = [clip for clip in doubtful if clip.error is None]
        unused = fan.rows[(checked.right & checked.unused_input)[fan.rows]]
        doubts = [(UNUSED_INPUT, ids[int(unused[0])].as_py(), len(unused))] if len(unused) else []
        doubts += [(words, clip.row_id, 1) for clip in good for words in clip.warnings]
        for words, row, clips in doubts:
            self._doubts[words] += clips
            self._doubted.setdefault(words, row)
        if self._captions is not None:
            self._captions.add_rows(checked, np.bincount(fan.rows, minlength=len(ids)), ids)
            self._captions.add_clips(good)

    def warnings(self, tokens: Callable[[str], int] | None) -> list[PlanWarning]:
        told = [PlanWarning(clips, "clip", words, self._doubted[words]) for words, clips in self._doubts.items()]
        return told + (self._captions.warnings(tokens) if self._captions and tokens else [])

    def _count_work(self, fan: FanOut, checked: CheckedRows, doubtful: dict[int, list[Clip]], left: np.ndarray) -> None:
        """left: bool, one a clip of the batch."""
        right = checked.right[fan.rows]
        rows = fan.rows[left & right]
        columns = [checked.integers[name][rows] for name in ("n_views", "num_steps", "num_conditional_frames")]
        # As one number each: a million rows in a tenth of a second, where `np.unique` of columns takes four.
        kinds = np.ravel_multi_index([*columns, ~checked.unguided[rows]], _KINDS)
        for kind, count in zip(*np.unique(kinds, return_counts=True), strict=True):
            views, steps, frames, guided = map(int, np.unravel_index(kind, _KINDS))
            self._groups[views, steps, bool(guided), frames] += int(count)
        for place in np.flatnonzero(left & ~right).tolist():
            clip = doubtful[int(fan.rows[place])][int(fan.samples[place])]
            if clip.error is None:
                self._groups[clip.n_views, clip.num_steps, bool(clip.negative_prompt), clip.num_conditional_frames] += (
                    clip.num_chunks  # each costs as a clip does
                )
                self._longest = max(self._longest, self._frames(clip))

    def _frames(self, clip: Clip) -> int:
        """Of a view of a video of several chunks; 0 of another."""
        if self._bundle is None or clip.num_chunks == 1:
            return 0
        overlap = self._family.overlap(clip.num_conditional_frames, clip.chunk_overlap)
        return self._family.frames(self._bundle.num_frames, clip.num_chunks, overlap)

    def _find_changed(
        self,
        fan: FanOut,
        checked: CheckedRows,
        doubtful: dict[int, list[Clip]],
        settled: np.ndarray,
        places: np.ndarray,
    ) -> list[int]:
        """Which of the `settled` clips of this batch were made from other rows than these."""
        if not len(settled):
            return []
        known = self._state.records.row_hashes(places[settled])
        rows, samples = fan.rows[settled], fan.samples[settled]
        right = checked.right[rows]
        hashes = iter(checked.row_hashes(rows[right], samples[right]))
        found = [
            next(hashes) if is_right else doubtful[row][sample].row_hash
            for is_right, row, sample in zip(right.tolist(), rows.tolist(), samples.tolist(), strict=True)
        ]
        changed = [int(one) for one, was, now in zip(settled, known, found, strict=True) if was != now]
        self._changed += fan.ids.take(pa.array(changed, pa.int64())).to_pylist()
        return changed

    def plan(self) -> Plan:
        table, settled = self._state.records.table, self._state.settled_rows
        ended = counts_by_outcome(table.filter(pa.array(settled & self._known)))
        clips = self.ids.clips
        done = ended.pop("ok", 0)
        failed = sum(ended.values())
        return Plan(
            rows=self._rows,
            clips=clips,
            invalid=self._invalid,
            done=done,
            failed=failed,
            left=clips - done - failed,
            changed=tuple(self._changed),
            invalid_examples=tuple(self._examples),
            unguided=0 if self._family.is_guided("") else self._unguided,
            removed=counts_by_outcome(table.filter(pa.array(settled & ~self._known))),
            work=tuple(ClipGroup(*kind, count) for kind, count in sorted(self._groups.items())),
            rare_stores=self._services.rare,
            longest=self._longest,
        )
