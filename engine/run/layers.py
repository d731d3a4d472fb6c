"""What each layer of a run's variant costs on a device, from the profiles that the run kept."""

from pydantic import ValidationError

from engine.errors import BadInput
from engine.judge.estimates import estimates_for
from engine.judge.layers import LayerRow, layer_map
from engine.store.calibrations import calibrations_in
from engine.store.files import read_json
from engine.store.workspace import Workspace
from engine.vocabulary import Run, Variant
from estimator.types import Profile


def profile_of_variant(run: Run, variant: Variant, home: Workspace) -> Profile:
    """Returns what a variant's file holds; raises BadInput where the run kept no profile of it."""
    if variant.artifacts:
        file = variant.artifacts[0].decoded_path or variant.artifacts[0].path
        try:
            found = read_json((home.folder(run.id) / file).with_suffix(".profile.json"))
            return Profile.model_validate(found)
        except ValidationError:
            pass
    raise BadInput(f"The run kept no list of the layers of {variant.id}.")


def layers_of(run: Run, variant: Variant, device: str, home: Workspace) -> list[LayerRow]:
    """Returns the layers of a variant beside the baseline's, with what each costs on a device; raises
    BadInput where the run did not keep them.
    """
    baseline = next((v for v in run.variants if v.id == "baseline"), variant)
    ours, theirs = (profile_of_variant(run, v, home) for v in (variant, baseline))
    calibrations = calibrations_in(home, [device])
    costs = [estimates_for(p, calibrations, [device], by_layer=True)[device].layers for p in (ours, theirs)]
    return layer_map(ours, theirs, costs[0], costs[1], run.sensitivity)
