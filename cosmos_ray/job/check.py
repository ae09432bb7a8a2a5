"""All that can be wrong with a job before a GPU is taken, and what is known of it then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cosmos_ray.clip.ffmpeg import check_ffmpeg
from cosmos_ray.clip.guardrail_rules import NO_GUARDRAILS, Guardrails
from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import ManifestError, UsageError
from cosmos_ray.job.model import bundle_of
from cosmos_ray.job.plan import Plan, RowGroup, row_defaults, survey
from cosmos_ray.job.say import Say
from cosmos_ray.job.table import keep
from cosmos_ray.ledger.lease import LeaseTimes
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.run import Run, check_same, read_run
from cosmos_ray.manifest.files import Manifest, open_manifest, version_of
from cosmos_ray.manifest.rows import RowDefaults
from cosmos_ray.models.bundle.bundle import Bundle, check_world_size
from cosmos_ray.models.bundle.check import check_bundle
from cosmos_ray.models.guardrails.checks import guardrails_of
from cosmos_ray.refine.asks import Refining
from cosmos_ray.refine.check import check_refiner
from cosmos_ray.refine.settings import refining_of
from cosmos_ray.store.faults import explain_store
from cosmos_ray.store.places import place_of
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri
from cosmos_ray.words import counted


@dataclass(frozen=True)
class Job:
    """What is known before the first gang: validated, nothing running yet."""

    config: GenerateConfig
    bundle: Bundle
    storage: Storage
    ledger: Ledger
    defaults: RowDefaults
    run: Run
    manifest: Manifest
    refining: Refining
    work: tuple[RowGroup, ...]
    reads_home: bool
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    guardrails: Guardrails = NO_GUARDRAILS


def check(config: GenerateConfig, say: Say) -> tuple[Job, Plan]:
    """Everything that can be wrong before a GPU is taken. Raises UsageError."""
    check_ffmpeg()
    bundle = _usable_bundle(config)
    refining = refining_of(config.refiner)
    check_refiner(refining, say)
    guardrails = guardrails_of(config.guardrails, bundle.recipe)
    storage = Storage(config.output)
    ledger = Ledger(storage)
    defaults = row_defaults(bundle, config.sampling)
    table = config.table
    times = LeaseTimes(config.lease.beat_s, config.lease.life_s)
    manifest_uri = normalise_uri(config.manifest) if table is None else keep(table, storage, times, say)
    config = config.model_copy(update={"manifest": manifest_uri})
    try:
        state, known = ledger.state(), read_run(storage)
    except OSError as error:
        raise UsageError(f"the output {storage.uri} cannot be read: {explain_store(error)}") from error
    version, manifest = version_of(config.manifest), open_manifest(config.manifest)
    reach = config.inputs.reach(manifest.home)
    found = survey(manifest, defaults, state, max_clips=config.max_clips, bundle=bundle, reach=reach)
    plan = found.plan
    run = _run_of(config, bundle, defaults, manifest.sha256(), plan, version)
    run = replace(run, refiner=refining.deciding, guardrails=guardrails.of_pixels)
    if known is not None:
        check_same(storage, known, run)
    if not config.redo_changed:
        _refuse_edited(plan.changed)
    storage.check_writable()
    for clip_id, fault in plan.invalid_examples:
        say(f"{clip_id}: {fault}")
    return Job(
        config, bundle, storage, ledger, defaults, run, manifest, refining, found.work, found.reads_home,
        guardrails=guardrails,
    ), plan  # fmt: skip


def check_goes_on(config: GenerateConfig, storage: Storage, bundle: Bundle, plan: Plan) -> None:
    """Raises UsageError where a job with these settings may not go on with the output that is at `storage`.

    Of refiner and guardrails only the job itself can say: what decides their words and pixels may be elsewhere.
    """
    known = read_run(storage)
    if known is None:
        return
    config = config.model_copy(update={"manifest": normalise_uri(config.manifest)})
    # Its hash decides only of a manifest that lies elsewhere, and takes reading all of it.
    is_there = place_of(known.manifest) == place_of(config.manifest)
    sha256 = known.manifest_sha256 if is_there else open_manifest(config.manifest).sha256()
    defaults = row_defaults(bundle, config.sampling)
    run = _run_of(config, bundle, defaults, sha256, plan, known.manifest_version)
    check_same(storage, known, replace(run, refiner=known.refiner, guardrails=known.guardrails))


def _run_of(
    config: GenerateConfig, bundle: Bundle, defaults: RowDefaults, manifest_sha256: str, plan: Plan, version: str
) -> Run:
    """What the output would say of itself, but for refiner and guardrails."""
    return Run(
        manifest=config.manifest,
        manifest_sha256=manifest_sha256,
        rows=plan.rows,
        clips=plan.clips,
        model=bundle.name,
        model_fingerprint=bundle.fingerprint,
        numerics=bundle.numerics,
        sampling=defaults.to_json(),
        removed=plan.removed,
        approximations=config.sampling.approximations.chosen,
        inputs=config.inputs.of(bundle.recipe).chosen,
        manifest_version=version,
    )


def _usable_bundle(config: GenerateConfig) -> Bundle:
    """The model, if it is whole and can do what the settings ask for. Raises UsageError."""
    bundle = bundle_of(config)
    problems = [finding for finding in check_bundle(bundle) if finding.level != "ok"]
    if problems:
        raise UsageError(f"model {config.model}: " + "; ".join(f"{one.subject}: {one.message}" for one in problems))
    config.sampling.approximations.check_blocks(bundle.network.num_blocks)
    if config.gang_size is not None:
        check_world_size(bundle, config.gang_size)
    return bundle


def _refuse_edited(changed: Sequence[str]) -> None:
    if changed:
        shown = ", ".join(changed[:5]) + (" …" if len(changed) > 5 else "")
        raise ManifestError(
            f"edited after their clips were made: {counted(len(changed), 'row')} ({shown}). Give them new ids, or "
            "make the clips again with --redo-changed"
        )
