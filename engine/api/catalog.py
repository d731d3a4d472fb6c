"""What there is to choose from: devices, shipped models, data sets, techniques."""

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from engine.datasets import DATASETS
from engine.techniques import TECHNIQUES
from estimator.devices import Device, all_devices
from models.catalog import CATALOG

router = APIRouter(tags=["catalog"])


class Named(BaseModel):
    """One thing that can be chosen, by its id."""

    id: str
    title: str


class Shipped(BaseModel):
    """A shipped model. `test_accuracy` is a fraction."""

    id: str
    dataset: str
    framework: str
    test_accuracy: float
    size_bytes: int
    parameters: int


@router.get("/devices")
def devices() -> list[Named]:
    """Lists the devices."""
    return [Named(id=device.id, title=device.name) for device in all_devices().values()]


@router.get("/devices/{device}")
def device(device: str) -> Device:
    """Tells all that is known of a device, with the source of each figure."""
    if device not in all_devices():
        raise HTTPException(404, "No device is called that: ask for /api/v1/devices.")
    return all_devices()[device]


@router.get("/models")
def models() -> list[Shipped]:
    """Lists the shipped models."""
    return [
        Shipped.model_validate(
            {name: getattr(one, name) for name in Shipped.model_fields if name != "id"} | {"id": key}
        )
        for key, one in CATALOG.items()
    ]


@router.get("/datasets")
def datasets() -> list[Named]:
    """Lists the data sets that are known by name."""
    return [Named(id=key, title=info.title) for key, info in DATASETS.items()]


@router.get("/techniques")
def techniques() -> list[Named]:
    """Lists the techniques in the order that they run in."""
    return [Named(id=one.id, title=one.title) for one in TECHNIQUES.values()]
