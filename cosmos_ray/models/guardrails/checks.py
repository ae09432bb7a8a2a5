"""Which checks a job's settings make, and whether they could run here: asked before a GPU is taken."""

from __future__ import annotations

from collections.abc import Iterator

from cosmos_ray.clip.family import PREDICT2, Family
from cosmos_ray.clip.guardrail_rules import GuardrailRules, Guardrails
from cosmos_ray.clip.request import PICTURE
from cosmos_ray.errors import UsageError, first_line
from cosmos_ray.models.bundle.check import Finding
from cosmos_ray.models.guardrails.check import Check, facts_of, problems_of
from cosmos_ray.models.guardrails.own import own_checks
from cosmos_ray.models.guardrails.package import PackageCheck
from cosmos_ray.models.guardrails.reference import reference_checks

WAY_OUT = (
    "Give them: `--set guardrails.weights=PLACE` and `--set guardrails.llama_guard=PLACE` take a folder, a URI or "
    "hf://owner/repo@revision; or leave a check out with `guardrails.checks`, or all with `guardrails.enabled=false`"
)


def checks_of(rules: GuardrailRules, family: Family) -> list[Check]:
    """In the order in which they are asked, not loaded; [] if guardrails are off. Raises UsageError.

    The published checks look at no picture that is all that a family makes.
    """
    if not rules.enabled:
        return []
    provided: dict[str, list[Check]] = {"none": [], "package": [PackageCheck(rules)]}
    made = provided.get(rules.provider)
    made = [*(reference_checks(rules, family.views != (PICTURE,)) if made is None else made), *own_checks(rules.own)]
    names = [check.name for check in made]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"guardrails: two checks call themselves {', '.join(twice)}")
    if not made:
        raise UsageError(
            "guardrails: enabled, and there is no check: name some with guardrails.checks or guardrails.own"
        )
    return made


def look(rules: GuardrailRules, family: Family = PREDICT2) -> Iterator[Finding]:
    """What each check lacks here, or which one it is; the findings of `cosmos-ray model check` and `doctor`."""
    try:
        made = checks_of(rules, family)
    except UsageError as error:
        yield Finding("problem", "guardrails", str(error).removeprefix("guardrails: "))
        return
    for check in made:
        try:
            problems = list(problems_of(check))
            found = [Finding("problem", f"guardrail {check.name}", problem) for problem in problems]
            yield from found or [Finding("ok", f"guardrail {check.name}", str(check.version))]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a check of strangers, too
            said = f"it cannot be asked what it lacks: {type(error).__name__}: {first_line(error)}"
            yield Finding("problem", f"guardrail {check.name}", said)


def guardrails_of(rules: GuardrailRules, family: Family) -> Guardrails:
    """A job's guardrails, with all that they need within reach. UsageError says what is missing, and ways out."""
    found = [one for one in look(rules, family) if one.level != "ok"]
    if found:
        problems = (f"{one.subject}: {one.message}".removeprefix("guardrails: ") for one in found)
        raise UsageError(f"guardrails: {'; '.join(problems)}. {WAY_OUT}")
    return Guardrails(rules, tuple(facts_of(check) for check in checks_of(rules, family)))
