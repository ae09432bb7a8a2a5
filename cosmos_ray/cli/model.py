"""`cosmos-ray model`: the bundles that clips are made with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cosmos_ray.cli.lines import tell
from cosmos_ray.cli.options import MODELS, Assignments, Config, complete_models, settings_for
from cosmos_ray.models.bundle.names import LISTED, aliases_of
from cosmos_ray.words import counted

if TYPE_CHECKING:
    from cosmos_ray.models.bundle.bundle import Bundle

app = typer.Typer(
    no_args_is_help=True, help="See which models there are, check one, fetch its files, make one of yours."
)

Named = Annotated[str, typer.Argument(metavar="NAME|URI", help=f"{MODELS}.", autocompletion=complete_models)]


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a model.")] = False,
) -> None:
    """List the models that come with this program: what they make, and whether their files are here."""
    from cosmos_ray.models.bundle.bundle import load_bundle

    for name in LISTED:
        facts = _facts(load_bundle(name))
        if as_json:
            print(json.dumps(facts))
            continue
        also = f"; also {', '.join(facts['aliases'])}" if facts["aliases"] else ""
        tell(f"{name}: {facts['makes']}; {facts['files']}{also}")


def _facts(bundle: Bundle) -> dict[str, Any]:
    from cosmos_ray.models.bundle.files import cached_path
    from cosmos_ray.models.bundle.references import FileRef

    stored = [kind for kind in bundle.kinds if isinstance(bundle.file(kind), FileRef)]
    here = sum(cached_path(bundle, kind) is not None for kind in stored)
    if not stored:
        files = "needs no files: it makes test patterns" if bundle.generator == "fake" else "needs no files"
    elif here == len(stored):
        files = "its files are on this machine"
    else:
        files = f"{here} of {counted(len(stored), 'part')} on this machine, `cosmos-ray model fetch` brings the others"
    if bundle.is_random:
        files += ", its network's weights are random: its videos show nothing"
    views, frames = counted(bundle.n_views, "view"), counted(bundle.num_frames, "frame")
    return {
        "name": bundle.name,
        "makes": f"{views} x {frames}, {bundle.width}x{bundle.height}",
        "here": here == len(stored),
        "files": files,
        "aliases": aliases_of(bundle.name),
    }


@app.command()
def check(model: Named, config: Config = None, assignments: Assignments = None) -> int:
    """Check a model's files, access, names, shapes, gang sizes, memory, without a GPU; and refiner and guardrails."""
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.models.bundle.check import check_bundle, text_encoder_parameters
    from cosmos_ray.models.bundle.memory import REFINER_BYTES, guardrail_bytes, memory_plans, refiner_line
    from cosmos_ray.models.guardrails.checks import look
    from cosmos_ray.refine.check import findings_of

    settings = settings_for(config, assignments)
    rules, guardrails = settings.refiner, settings.guardrails
    bundle = load_bundle(model)
    views, frames = counted(bundle.n_views, "view"), counted(bundle.num_frames, "frame")
    tell(f"{bundle.name}: {views} x {frames}, {bundle.width}x{bundle.height}")
    findings = [*check_bundle(bundle), *findings_of(rules)]
    if guardrails.enabled:
        findings = [*findings, *look(guardrails, bundle.recipe)]
    for finding in findings:
        tell(f"  {finding.level:12} {finding.subject}: {finding.message}")
    if bundle.generator == "cosmos":
        tell("GPU memory (weights exactly, the rest as estimates):")
        is_local = rules.backend == "local"
        stays = REFINER_BYTES if is_local and rules.device in ("gang", "between") else 0
        checks = guardrail_bytes(guardrails, bundle)
        for plan in memory_plans(bundle, text_encoder_parameters(bundle), refiner=stays, guardrails=checks):
            tell(f"  {plan.line()}")
            if is_local and rules.device is None:
                tell(f"    {refiner_line(plan)}")
    return 0 if all(finding.level == "ok" for finding in findings) else 2


@app.command()
def fetch(
    model: Named,
    to: Annotated[
        str | None, typer.Option(metavar="DIR", help="Also copy them to this folder or URI: a model for --model.")
    ] = None,
) -> None:
    """Bring all of a model's files into this machine's caches, and verify them; with --to, a copy of your own."""
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.models.bundle.files import fetch_bundle
    from cosmos_ray.models.bundle.mirror import mirror

    bundle = load_bundle(model)
    for kind, path in fetch_bundle(bundle):
        tell(f"{kind}: {path}")
    if to is not None:
        copy = mirror(bundle, to)
        tell(f"{copy.name}: --model {copy.root}")


@app.command()
def derive(
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="NAME|URI", help=f"The model beside it: {MODELS}.", autocompletion=complete_models
        ),
    ],
    to: Annotated[str, typer.Option(metavar="DIR", help="Folder (or URI) of the new bundle, for --model.")],
    ema: Annotated[
        bool, typer.Option("--ema", help="Take the running average (net_ema.), not the weights (net.).")
    ] = False,
    dit: Annotated[
        str | None, typer.Option(metavar="FILE|URI", help="Your checkpoint: .pt, .pth or .safetensors.")
    ] = None,
    lora: Annotated[
        str | None,
        typer.Option(metavar="FILE|URI", help="Your adapters (LoRA), merged into their own network, or --dit."),
    ] = None,
    rank: Annotated[int, typer.Option(metavar="R", help="Of --lora, as in training.")] = 16,
    alpha: Annotated[float, typer.Option(metavar="A", help="Of --lora, as in training.")] = 16,
) -> None:
    """Make a model of your own checkpoint (--dit) or adapters (--lora), beside the other parts of a known one."""
    from cosmos_ray.errors import UsageError
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.models.bundle.derive import derive as write_bundle
    from cosmos_ray.models.bundle.derive import with_dit

    known = load_bundle(source)
    if lora is None:
        if dit is None:
            raise UsageError("found neither --dit nor --lora, expected a checkpoint of yours")
        made = write_bundle(with_dit(known, dit, ema), to)
    else:
        from cosmos_ray.models.bundle.lora import derive_merged

        made = derive_merged(known, lora, rank, alpha, to, dit, ema)
    tell(f"{made.name}: --model {made.root}")
