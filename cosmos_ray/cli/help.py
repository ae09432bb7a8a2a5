"""What every `--help` ends with: two examples of the command, and what its exit code means."""

from __future__ import annotations

import typer

#: Of all commands; and what else each, or the program as a whole, ends with.
_CODES = {0: "done", 1: "failed", 2: "bad arguments, manifest or model"}
_OWN_CODES: dict[str, dict[int, str]] = {
    "": {3: "more failed than allowed, or not all exported"},
    "doctor": {1: "failed, or a job could not run here"},
    "inspect": {1: "failed, or a file is refused"},
    "model check": {2: "bad arguments, or a model that lacks something"},
    "generate": {3: "more failed than allowed"},
    "compare": {3: "more failed than allowed"},
    "export": {3: "clips left out, or files not as they were made"},
}

#: Two a command and a group, each no longer than a line of a narrow terminal, where a break would be copied with it. A
#: test parses each with the command itself.
EXAMPLES: dict[str, tuple[str, str]] = {
    "": (
        "cosmos-ray doctor",
        "cosmos-ray generate --manifest m.parquet --output out --model tiny",
    ),
    "doctor": ("cosmos-ray doctor --model tiny", "cosmos-ray doctor --store s3://bucket/folder"),
    "manifest": (
        "cosmos-ray manifest from-folder clips/ --out m.parquet",
        "cosmos-ray manifest vary --in m.parquet --out m2.parquet --seeds 0:5",
    ),
    "manifest from-folder": (
        "cosmos-ray manifest from-folder clips/ --out m.parquet",
        "cosmos-ray manifest from-folder waymo/ --out m.parquet --cameras waymo",
    ),
    "manifest from-table": (
        "cosmos-ray manifest from-table clips.csv --out m.parquet",
        "cosmos-ray manifest from-table clips.jsonl --out m.parquet --base s3://b/in",
    ),
    "manifest from-nuscenes": (
        "cosmos-ray manifest from-nuscenes /data/nuscenes --out m.parquet",
        'cosmos-ray manifest from-nuscenes n --out m.parquet --prompt "{scene}: rain"',
    ),
    "manifest from-rds-hq": (
        "cosmos-ray manifest from-rds-hq /data/rds --out m.parquet",
        "cosmos-ray manifest from-rds-hq rds --out m.parquet --views front_wide,rear",
    ),
    "manifest from-batch-json": (
        "cosmos-ray manifest from-batch-json batch.json --out m.parquet",
        "cosmos-ray manifest from-batch-json batch.json --out m.parquet --base /data",
    ),
    "manifest from-multiview-json": (
        "cosmos-ray manifest from-multiview-json spec.json --out m.parquet",
        "cosmos-ray manifest from-multiview-json a.json b.json --out m.parquet",
    ),
    "manifest vary": (
        "cosmos-ray manifest vary --in m.parquet --out m2.parquet --seeds 0:5",
        'cosmos-ray manifest vary --in m --out n --set w=wet,dry --template "{w} day"',
    ),
    "manifest refine": (
        "cosmos-ray manifest refine --in m --out n --endpoint http://host:8000/v1",
        "cosmos-ray manifest refine --in m --out n --set refiner.backend=local",
    ),
    "model": ("cosmos-ray model list", "cosmos-ray model check cosmos-predict2-2b-multiview"),
    "model list": ("cosmos-ray model list", "cosmos-ray model list --json"),
    "model check": ("cosmos-ray model check tiny", "cosmos-ray model check s3://bucket/bundle"),
    "model fetch": (
        "cosmos-ray model fetch cosmos-predict2-2b-multiview",
        "cosmos-ray model fetch cosmos-predict2-2b-multiview --to s3://bucket/models",
    ),
    "model derive": (
        "cosmos-ray model derive --from tiny --dit iter_000001000.pt --ema --to mine",
        "cosmos-ray model derive --from tiny --lora lora.pt --rank 8 --to s3://b/mine",
    ),
    "config": ("cosmos-ray config > job.yaml", "cosmos-ray config | grep -B 2 deadline"),
    "inspect": (
        "cosmos-ray inspect video.mp4",
        "cosmos-ray inspect video.mp4 --n-views 7 --model tiny --to frames",
    ),
    "plan": (
        "cosmos-ray plan --manifest m.parquet --inputs all",
        "cosmos-ray plan --config job.yaml --gpu h100 --gangs 4 --price 3",
    ),
    "generate": (
        "cosmos-ray generate --manifest m.parquet --output o --gang-size 8 --gangs 4",
        "cosmos-ray generate --config job.yaml --limit 10 --set sampling.preset=fast",
    ),
    "compare": (
        "cosmos-ray compare --manifest m.parquet --output o --settings a.yaml b.yaml",
        "cosmos-ray compare --config job.yaml --settings a.yaml b.yaml --limit 20",
    ),
    "status": ("cosmos-ray status s3://bucket/out --watch", "cosmos-ray status out --failed"),
    "retry": ("cosmos-ray retry out --class storage", "cosmos-ray retry out --id drive-0001"),
    "report": ("cosmos-ray report s3://bucket/out", "cosmos-ray report out --where 'seed < 3' --grid guidance seed"),
    "reproduce": (
        "cosmos-ray reproduce out drive-0001",
        "cosmos-ray reproduce out drive-0001 --gang-size 2 --to again",
    ),
    "export": (
        "cosmos-ray export out --format webdataset --to s3://bucket/shards",
        "cosmos-ray export out --format rds-hq --to /data/rds",
    ),
}


def teach(app: typer.Typer) -> None:
    """Give the program, its groups and commands their last words."""
    app.info.epilog = _epilog("")
    for group in app.registered_groups:
        within = f"{group.name} " if isinstance(group.name, str) else ""  # without a name, it is no group to its user
        group.epilog = _epilog(within.strip())
        for command in group.typer_instance.registered_commands if group.typer_instance else ():
            name = command.name or getattr(command.callback, "__name__", "").replace("_", "-")
            command.epilog = _epilog(within + name)


def _epilog(command: str) -> str:
    """Paragraphs, which Typer shows as lines."""
    examples = [f"  {example}" for example in EXAMPLES.get(command, ())]
    codes = "; ".join(f"{code} {words}" for code, words in (_CODES | _OWN_CODES.get(command, {})).items())
    return "\n\n".join([*(["Examples:", *examples] if examples else []), f"Exit codes: {codes}."])
