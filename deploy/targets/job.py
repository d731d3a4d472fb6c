"""What a family of devices is given to make its own files of."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.memory import needed_bytes
from engine.vocabulary import Run, Variant
from engine.wall import sandbox
from engine.wall.limits import Limits
from estimator.devices import Device
from estimator.types import Profile

SECONDS = 120


@dataclass(frozen=True)
class Job:
    """One variant on its way to one device.

    Attributes:
        file: What a runtime opens, on this machine.
        golden: The run's folder of golden pictures.
        profile: What is in the file; None where that was not found out.
    """

    run: Run
    variant: Variant
    device: Device
    file: Path
    golden: Path
    profile: Profile | None

    def ask(self, task: str, **more: Any) -> dict[str, Any]:
        """Has a child look into the file, or rewrite it, behind the wall. Raises EdgewiseError."""
        model = self.run.experiment.model
        request = {"task": task, "file": str(self.file.resolve()), **more}
        limits = Limits(memory_bytes=needed_bytes(model), seconds=SECONDS, programs=False)
        return sandbox.run("deploy.targets.behind_wall", json.loads(json.dumps(request)), limits)

    @cached_property
    def operators(self) -> dict[str, int]:
        """How many times each operator stands in the file."""
        names = [layer.op for layer in self.profile.layers] if self.profile else []
        return {name: names.count(name) for name in dict.fromkeys(names)}


@dataclass(frozen=True)
class Extra:
    """What a family adds to a package: files by path, and how they are used, as Markdown for its README."""

    files: dict[str, bytes]
    text: str
