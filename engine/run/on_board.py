"""A run on the user's own device, as a whole: what was measured there, in words, and what it changes.

A limit on energy is held against what the board's sensor measured, where it is the run's device and has one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.judge import figures as f
from engine.judge import limits, recommend, words
from engine.store import boards
from engine.store.boards import Measured
from engine.store.workspace import Workspace
from engine.vocabulary import Run, Variant
from estimator.calibrate import Machine

NAMELESS = "your device"


@dataclass(frozen=True)
class OnBoard:
    """What was found of a run's variants on the user's own device.

    Attributes:
        found: By variant; empty where nothing was measured.
        name: What the device calls itself, foreign text.
        why_other: Why it is not the run's device, "" where it is.
    """

    found: Mapping[str, Measured] = field(default_factory=dict)
    name: str = NAMELESS
    why_other: str = ""

    def ms(self, variant: str) -> float | None:
        """Returns the median latency of a variant there, in milliseconds."""
        one = self.found.get(variant)
        return one.middle.latency_ms.p50 if one and one.middle else None

    def mj(self, variant: str) -> float | None:
        """Returns the millijoules of one image there: all that its sensor covers while an inference runs."""
        one = self.found.get(variant)
        return one.middle.energy.mj if one and one.middle and one.middle.energy else None

    def how(self) -> str:
        """Returns how it was measured; "" where nothing was timed."""
        middles = [one.middle for one in self.found.values() if one.middle]
        if not middles:
            return ""
        one = middles[0]
        states = [state for m in middles for state in (m.machine.during, m.machine.after)]
        degrees = [t for state in states if (t := state.get("temperature_c")) is not None]
        heat = f", at most {max(degrees):.0f}{f.NBSP}°C" if degrees else ""
        rounds = max(len(m.rounds) for m in self.found.values())
        threads = f"{one.threads} thread{'s' if one.threads > 1 else ''}"
        runtime = f"{words.RUNTIMES.get(one.runtime, one.runtime)} {one.runtime_version}".rstrip()
        return (
            f"On your device: {self.name}, {runtime}, {threads}, the middle of"
            f" {rounds} round{'s' if rounds > 1 else ''} in turns{heat}."
            + (
                " It is not the run's device, so that predictions and limits stay as they are."
                if self.why_other
                else ""
            )
        )

    def wrong(self) -> dict[str, str]:
        """Returns the variants that answer otherwise there than here, each with how often and why."""
        found = {}
        for name, one in self.found.items():
            if one.answers and one.is_wrong:
                lost = one.answers.pictures - one.answers.same_answers
                blame = f"; {one.answers.to_blame} is to blame" if one.answers.to_blame else ""
                found[name] = f"{lost} of {one.answers.pictures} golden pictures get another one{blame}"
        return found


def on_board(run_id: str, workspace: Workspace) -> OnBoard:
    """Returns what was found of a run on the user's own device."""
    found = boards.measured(run_id, workspace)
    if not found:
        return OnBoard(name=_name(boards.machine_of(run_id, workspace)))
    rounds = [one.middle for one in found.values() if one.middle]
    machine = boards.machine_of(run_id, workspace) or (rounds[0].machine if rounds else None)
    other = boards.why_other(run_id, machine, workspace) if machine else ""
    return OnBoard(found, _name(machine), other)


def _name(machine: Machine | None) -> str:
    return (machine and (machine.board or machine.cpu)) or NAMELESS


def with_energy(variants: Sequence[Variant], board: OnBoard) -> list[Variant]:
    """Returns the variants with the millijoules that the board measured, where it is the run's device."""
    known = {} if board.why_other else {name: mj for name in board.found if (mj := board.mj(name))}
    return [
        v.model_copy(update={"measured_energy_mj": known[v.id]}) if v.id in known else v for v in variants
    ]


def judged(run: Run, board: OnBoard) -> Run:
    """Returns a run with the energies that the board measured; where there is a limit on energy, its variants
    and its recommendation are judged by them.
    """
    variants = with_energy(run.variants, board)
    sensed = sum(v.measured_energy_mj is not None for v in variants)
    if not sensed:
        return run
    asked = run.experiment
    if asked.constraints.max_energy_mj is None:
        return run.model_copy(update={"variants": variants})
    variants = [limits.judge(v, asked) for v in variants]
    choice = run.recommendation
    if choice is not None:
        choice = recommend.recommend(
            variants, asked.constraints, asked.goal, asked.device, asked.cautious, asked.weights
        )
        said = (
            f"Your limit on energy is held against what {board.name} measured, for"
            f" {sensed} of {sum(v.status == 'done' for v in variants)} variants; of the others against the"
            " prediction."
        )
        choice = choice.model_copy(update={"reasons": [*choice.reasons, said]})
    return run.model_copy(update={"variants": variants, "recommendation": choice})


def read(run_id: str, workspace: Workspace) -> Run:
    """Returns a run as what its device measured judges it; raises BadInput where there is none of that id."""
    return judged(workspace.run(run_id), on_board(run_id, workspace))
