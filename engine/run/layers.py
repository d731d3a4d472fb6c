"""What each layer of a run's variant costs on a device, from the profiles that the run kept."""

from pathlib import Path

from engine.errors import BadInput
from engine.judge.estimates import estimates_for
from engine.judge.layers import LayerRow, layer_map
from engine.run.made import profile_of
from engine.store.calibrations import calibrations_in
from engine.store.workspace import Workspace
from engine.vocabulary import Run, Variant
from estimator.types import Profile


def layers_of(run: Run, variant: Variant, device: str, home: Workspace) -> list[LayerRow]:
    """Returns the layers of a variant beside the baseline's, with what each costs on a device; raises
    BadInput where the run did not keep them.
    """
    baseline = next((v for v in run.variants if v.id == "baseline"), variant)
    ours, theirs = (_profile(v, home.folder(run.id)) for v in (variant, baseline))
    calibrations = calibrations_in(home, [device])
    costs = [estimates_for(p, calibrations, [device], by_layer=True)[device].layers for p in (ours, theirs)]
    return layer_map(ours, theirs, costs[0], costs[1], run.sensitivity)


def _profile(variant: Variant, folder: Path) -> Profile:
    found = profile_of(variant, folder)
    if found is None:
        raise BadInput(f"The run kept no list of the layers of {variant.id}.")
    return found
