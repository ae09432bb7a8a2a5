"""What every gang of a job is, as the driver tells leaders and leaders tell ranks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.clip.check_rules import DEFAULT_CHECKS, CheckRules
from cosmos_ray.clip.guardrail_rules import NO_GUARDRAILS, Guardrails
from cosmos_ray.config import GangConfig, InputsConfig
from cosmos_ray.gang.inputs import Source
from cosmos_ray.models.bundle.bundle import Bundle, Numerics
from cosmos_ray.refine.asks import NOTHING_REFINED, Refining


@dataclass(frozen=True)
class GangSpec:
    """The model, how many ranks on which device ("cuda" or "cpu"), and where clips go, under which lease epoch.

    manifest: URI of a file of it, which can be read: that tells a row's fault from its store's. home: URI of the folder
    in which all of it lies. home_read: that folder, where clips that are left read files of a disk below it, else "".
    patience_s: how long a store may be out. refining: of prompts. words: by clip, where it is
    to be made of other ones than its row's, whatever refines them. rare_stores: see `Source`. preset: its name.
    """

    bundle: Bundle
    gang_size: int
    device: str
    numerics: Numerics
    output: str
    epoch: int
    settings: GangConfig
    approximations: Approximations = EXACT
    inputs: InputsConfig = field(default_factory=InputsConfig)
    manifest: str = ""
    home: str = ""
    home_read: str = ""
    patience_s: float = 900.0
    checks: CheckRules = DEFAULT_CHECKS
    refining: Refining = NOTHING_REFINED
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    guardrails: Guardrails = NO_GUARDRAILS
    rare_stores: tuple[str, ...] = ()
    preset: str | None = None

    @property
    def source(self) -> Source:
        """Of the rows' inputs."""
        return Source(self.manifest, self.inputs.reach(self.home), self.rare_stores)

    @property
    def loaded(self) -> tuple[str, str, int, str, Refining]:
        """Of what a gang has once it is up: gangs of jobs in which this is the same can take each other's place."""
        refiner = self.refining if self.refining.rules.backend == "local" else NOTHING_REFINED
        return self.bundle.fingerprint, self.numerics, self.gang_size, self.device, refiner

    @property
    def has_spares(self) -> bool:
        """Whether ranks wait that take the place of those that die. The fake generator has nothing to import."""
        wanted = self.settings.spare_ranks
        return wanted == "always" or (wanted == "auto" and self.device == "cuda" and self.bundle.generator != "fake")

    @property
    def fingerprint(self) -> str:
        """Of everything that, with a request, fixes the videos."""
        facts = [self.bundle.fingerprint, self.numerics]
        if chosen := self.approximations.chosen:
            facts.append(json.dumps(chosen, sort_keys=True))
        if deciding := self.refining.deciding:
            facts.append(json.dumps(deciding, sort_keys=True))
        if changed := self.guardrails.of_pixels:
            facts.append(json.dumps({"guardrails": changed}))  # in their order: each gets what the one before gave
        return hashlib.sha256(":".join(facts).encode()).hexdigest()

    @property
    def standard(self) -> str:
        """The same, and by which guardrails it was looked at: a clip of another one is not published."""
        if not self.guardrails.checks:
            return self.fingerprint
        facts = [self.fingerprint, json.dumps(self.guardrails.versions)]
        return hashlib.sha256(":".join(facts).encode()).hexdigest()
