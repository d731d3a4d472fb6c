"""One room a family of devices: what it adds to a package, what its Python can install, what it reads."""

from deploy.targets import coral, hailo, jetson, microcontroller, qualcomm, raspberry_pi, rockchip
from deploy.targets.job import Extra, Job
from deploy.targets.older import FUTURE, without_annotations
from engine.device.model import COMMON_REQUIREMENTS, runtime_for
from estimator.devices import Device

FAMILIES = {
    "raspberry_pi": raspberry_pi.extra,
    "rockchip": rockchip.extra,
    "hailo": hailo.extra,
    "qualcomm": qualcomm.extra,
    "jetson": jetson.extra,
    "coral": coral.extra,
    "microcontroller": microcontroller.extra,
}
ACCELERATORS = {  # what opens the file that is made there, or for it
    "jetson": "model_trt.py",
    "coral": "model_tpu.py",
    "rockchip": "model_rknn.py",
    "hailo": "model_hailo.py",
    "qualcomm": "model_qnn.py",
}
OLD_REQUIREMENTS = ("numpy>=1.13", "pillow>=5.4")  # the newest that Python 3.6 and 3.7 can have are taken
OTHERS = {"onnxruntime": "TFLite (--runtime litert)", "litert": "ONNX (--runtime onnxruntime)"}
PIP = {"onnxruntime": "onnxruntime", "litert": "ai-edge-litert"}


def extra(job: Job) -> Extra:
    """Returns what the family of a job's device adds to its package."""
    return FAMILIES[job.device.family](job)


def python_of(device: Device | None) -> tuple[int, ...]:
    """Returns the version of a device's Python; a recent one where it has none of its own."""
    return tuple(map(int, device.python.split("."))) if device and device.python else (3, 9)


def sees_system(device: Device | None) -> bool:
    """Tells whether an environment must see what comes with the device's system and not by pip."""
    return device is not None and device.family in ("jetson", "coral", "hailo")


def requirements(device: Device | None, ending: str) -> str:
    """Returns requirements.txt: what pip installs for the scripts, and for the runtime of such files, in the
    versions that the device's Python can have and that answer rightly.
    """
    runtime = runtime_for(f"model{ending}")
    known = device.runtimes.get(runtime.id) if device else None
    lines = list(COMMON_REQUIREMENTS if python_of(device) >= (3, 8) else OLD_REQUIREMENTS)
    if known is None or not known.version:
        lines += (
            runtime.requirements if python_of(device) >= (3, 9) else ["# " + none_for(device, runtime.id)]
        )
    elif known.version[0].isdigit():
        lines.append(f"# {runtime.id} {known.version} comes with the system, see README.md")
    else:
        lines.append(PIP[runtime.id] + known.version)
    return "\n".join(lines) + "\n"


def none_for(device: Device | None, runtime: str) -> str:
    """Returns the sentence for a runtime that a device's Python has no version of that reads our files."""
    python = device.python if device else ""
    return (
        f"{runtime} has no version for Python {python} that reads this file: take a run that writes "
        + (OTHERS[runtime])
    )


def why_closed(device: Device, ending: str) -> str:
    """Returns why nothing on a device opens files with this ending, as the end of a sentence; else ""."""
    id = runtime_for(f"model{ending}").id
    known = device.runtimes.get(id)
    if not any(f".{format}" == ending for one in device.runtimes.values() for format in one.formats):
        return f"nothing there opens {ending} files: take a run that writes {OTHERS[id]}"
    return none_for(device, id) if known and not known.version and python_of(device) < (3, 9) else ""


def proof(device: Device | None, ending: str) -> str:
    """Returns where packages with such files were seen to run, as a sentence; "" for an unknown device."""
    runtime = runtime_for(f"model{ending}").id
    known = device.runtimes.get(runtime) if device else None
    if known is None or device is None:
        return ""
    if not known.version:
        return "" if python_of(device) >= (3, 9) else none_for(device, runtime) + "."
    where = f" on an emulated {device.cpu}" if known.proof == "emulated here" else ""
    return f"Scripts and model in {runtime} {known.version} on such a processor: **{known.proof}**{where}."


def readable(script: str, device: Device | None) -> str:
    """Returns a script as the device's Python reads it."""
    return without_annotations(script) if python_of(device) < (3, 7) and FUTURE in script else script
