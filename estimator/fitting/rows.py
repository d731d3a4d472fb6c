"""Reads the published measurements into tidy groups. Used by fitting and validation only; predictions never
need it.

A folder of rows holds `measurements.csv.gz` and `model_features.csv`, and optionally
`nasbench201_pi5.csv.gz`. The folder `measurements/` beside this file holds the rows whose licence allows them
to be shipped, sources named in each.
"""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd

from estimator import features
from estimator.fitting import nasbench

SHIPPED = Path(__file__).parents[1] / "measurements"
DEVICES = {
    "Raspberry Pi 3B": "raspberry_pi_3b",
    "Raspberry Pi 3B+": "raspberry_pi_3b_plus",
    "Raspberry Pi 4B": "raspberry_pi_4",
    "Raspberry Pi 5": "raspberry_pi_5",
    "Raspberry Pi Zero 2 W": "raspberry_pi_zero_2_w",
    "Jetson Nano": "jetson_nano",
    "Jetson Xavier NX": "jetson_xavier_nx",
    "Jetson TX2": "jetson_tx2",
    "Jetson AGX Xavier": "jetson_agx_xavier",
    "Jetson Orin Nano": "jetson_orin_nano",
    "Jetson AGX Orin": "jetson_agx_orin",
    "Coral Dev Board": "coral_dev_board",
    "Coral USB (desktop host)": "coral_usb",
    "RK3588": "rk3588",
    "Orange Pi 5": "rk3588",
    "Orange Pi 5 Plus": "rk3588",
    "Station-M3 RK3588S": "rk3588",
}
RUNTIMES = {
    "TFLite": "litert",
    "TFLite XNNPACK": "litert",
    "XNNPACK": "litert",
    "ArmNN": "armnn",
    "ArmNN delegate": "armnn-delegate",
    "ncnn": "ncnn",
    "TensorRT": "tensorrt",
    "TensorRT (torch2trt)": "tensorrt",
    "TFLite+EdgeTPU": "edgetpu",
    "pycoral BasicEngine": "edgetpu",
    "EdgeTPU C++ API": "edgetpu",
    "EdgeTPU Python API": "edgetpu",
    "QuTiBench": "qutibench",
}
PRECISIONS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
# Sources whose licence lets the rows themselves be handed on, by the start of `source`; see
# measurements/README.md.
SHIPPABLE = tuple(
    f"github {name}"
    for name in (
        "Tencent/ncnn",
        "mlcommons/inference_results",
        "mlcommons/tiny_results",
        "google/XNNPACK",
        "Nota-NetsPresso/netspresso-trainer",
        "NVIDIA-AI-IOT/",
        "dusty-nv/jetson-inference",
        "kentaroy47/benchmark-FP32-FP16-INT8-with-TensorRT",
        "NobuoTsukamoto/benchmarks",
        "opencv/opencv_zoo",
        "aallan/benchmarking-ml-on-the-edge",
        "freedomtan/edge_tpu_python_scripts",
        "google-coral/pycoral",
        "RCL-lab/QutibenchWeb",
    )
)
SLOWER = 1.5
MIXED_CORES = ("rk3588",)  # four fast and four slow cores
# AlexNet in 0.4 ms: its 61 million weights can't even be read in that time.
IMPOSSIBLE = ("Station-M3 RK3588S", "ncnn-vulkan")
# Networks that are built from the same blocks count as one family, whatever they are used for.
FAMILIES = (
    ("mobilenet_ssd", "mobilenet_v1"),
    ("mobilenet_yolo", "mobilenet_v1"),
    ("mobilenetv2", "mobilenet_v2"),
    ("mobilenet_v1", "mobilenet_v1"),
    ("mobilenet_v2", "mobilenet_v2"),
    ("mobilenet_v3", "mobilenet_v3"),
    ("mobilenet", "mobilenet_v1"),
    ("squeezenet", "squeezenet"),
    ("shufflenet_v2", "shufflenet_v2"),
    ("shufflenet", "shufflenet"),
    ("efficientnet", "efficientnet"),
    ("resnet", "resnet"),
    ("vgg", "vgg"),
    ("densenet", "densenet"),
    ("yolo-fastest", "yolo-fastest"),
    ("tiny/ic", "resnet"),
    ("tiny/vww", "mobilenet_v1"),
)


def folder(given: str | Path | None = None) -> Path:
    """The folder of rows: as given, else what EDGEWISE_MEASUREMENTS names, else the shipped rows."""
    return Path(given or os.environ.get("EDGEWISE_MEASUREMENTS") or SHIPPED)


def family(key: str) -> str:
    """The family that a network of the feature table belongs to."""
    name = key.removeprefix("ncnn/").lower()
    return next((found for start, found in FAMILIES if name.startswith(start)), name)


def read(path: Path) -> pd.DataFrame:
    """Returns the usable rows with a batch of one: ids of this project, `family`, `features`, `shippable`,
    `group`.

    Threads are 0 where the source names none. Rows without a feature table keep `features` None.
    """
    rows = pd.read_csv(path / "measurements.csv.gz", low_memory=False)
    rows = rows[(rows.fit_ok == 1) & (rows.batch == 1) & rows.runtime.isin(list(RUNTIMES))].copy()
    rows["board"] = rows.device
    rows["device"] = rows.device.map(DEVICES).fillna(rows.device)
    vulkan = rows.backend.eq("GPU(Vulkan)")
    rows["runtime"] = rows.runtime.map(RUNTIMES).where(~vulkan, "ncnn-vulkan")
    rows["precision"] = rows.precision.map(PRECISIONS)
    accelerator = ~rows.backend.eq("CPU")
    rows["threads"] = (
        pd.to_numeric(rows.threads, errors="coerce").fillna(0).astype(int).where(~accelerator, 1)
    )
    rows["shippable"] = rows.source.str.startswith(SHIPPABLE)
    rows = rows[rows.precision.notna()]
    rows = rows[~(other_cores(rows) | (rows.board.eq(IMPOSSIBLE[0]) & rows.runtime.eq(IMPOSSIBLE[1])))]
    rows = rows[~(broken(rows) | held_back(rows) | slow_board(rows))].copy()
    table = table_of_features(path)
    rows["features"] = rows.feat_key.map(table)
    rows["family"] = rows.feat_key.map(lambda key: family(key) if isinstance(key, str) else "")
    rows["size"] = rows.input_hw.astype(str)
    rows["group"] = rows.device + "|" + rows.runtime + "|" + rows.precision + "|" + rows.threads.astype(str)
    return rows.sort_values(["group", "feat_key", "model", "source", "latency_ms"]).reset_index(drop=True)


def broken(rows: pd.DataFrame) -> np.ndarray:
    """Marks rows where more threads took over SLOWER times as long as fewer did, same board, runtime and
    source.

    Threads that have nothing to do cost a little; a time half as long again means that something else ran, or
    that the clock was throttled. Only on our own devices, whose cores are all alike; decided without regard
    to any prediction.
    """
    place = ["board", "runtime", "precision", "feat_key", "source"]
    uniform = rows[(rows.threads > 0) & rows.device.isin(list(DEVICES.values()))]
    fewest = uniform.groupby([*place, "threads"]).latency_ms.median().reset_index()
    ordered = fewest.sort_values([*place, "threads"])
    ordered["before"] = ordered.groupby(place).latency_ms.transform(lambda times: times.cummin().shift())
    bad = ordered[ordered.latency_ms > SLOWER * ordered.before]
    wrong = pd.MultiIndex.from_frame(bad[[*place, "threads"]])
    found: np.ndarray = pd.MultiIndex.from_frame(rows[[*place, "threads"]]).isin(wrong)
    return found


def other_cores(rows: pd.DataFrame) -> np.ndarray:
    """Marks rows that a processor with two kinds of cores did not run on its fast ones alone.

    ncnn's tables say so: `powersave=1` are the slow cores, and more than four threads take both kinds.
    """
    mixed = rows.device.isin(MIXED_CORES) & ~rows.runtime.eq("ncnn-vulkan")
    found: np.ndarray = (mixed & (rows.notes.str.contains("powersave=1") | rows.threads.gt(4))).to_numpy()
    return found


def _over_fastest(rows: pd.DataFrame, place: list[str], who: str) -> pd.DataFrame:
    """One line a place, network and `who` measured it: its `macs`, and the `ratio` of its median time to the
    fastest one's.
    """
    typical = (
        rows.groupby([*place, "feat_key", who])
        .agg(ms=("latency_ms", "median"), macs=("macs_m", "max"))
        .reset_index()
    )
    return typical.assign(ratio=typical.ms / typical.groupby([*place, "feat_key"]).ms.transform("min"))


def slow_board(rows: pd.DataFrame) -> np.ndarray:
    """Marks boards whose networks typically took over SLOWER times as long as those of the fastest board with
    the same
    processor and threads: an older version of the runtime."""
    place = ["device", "runtime", "precision", "threads"]
    several = rows[rows.device.isin(MIXED_CORES) & rows.feat_key.notna()]
    ratio = _over_fastest(several, place, "board").groupby([*place[:2], "board"]).ratio.median()
    slow = ratio[ratio > SLOWER].index
    found: np.ndarray = pd.MultiIndex.from_frame(rows[[*place[:2], "board"]]).isin(slow)
    return found


def held_back(rows: pd.DataFrame) -> np.ndarray:
    """Marks rows of submissions that can't have used all that the board has.

    A source that names no thread count is taken to use all cores at full clock. Some did not: on one board
    and runtime, submissions agree on small networks and differ three- to sixfold on large ones (Orin's
    `default_config`), ran in a power mode below the highest (Xavier's `power.2` to `power.5`), or with a
    version that used fewer cores. A submission goes where its larger networks, by the half, typically took
    over SLOWER times as long as the fastest submission's; decided without regard to any prediction.
    """
    place = ["board", "runtime", "precision"]
    unsaid = rows[rows.threads.eq(0) & rows.feat_key.notna()].copy()
    unsaid["submission"] = (
        unsaid.source.str.replace(r"/(open|closed)/", "/", regex=True)
        .str.extract(r"^(.*/results/[^/]+)/", expand=False)
        .fillna(unsaid.source)
    )
    typical = _over_fastest(unsaid, place, "submission")
    larger = typical[typical.macs >= typical.groupby([*place, "submission"]).macs.transform("median")]
    ratio = larger.groupby([*place, "submission"]).ratio.median()
    slow = pd.MultiIndex.from_frame(unsaid[[*place, "submission"]]).isin(ratio[ratio > SLOWER].index)
    found: np.ndarray = rows.index.isin(unsaid.index[slow])
    return found


def table_of_features(path: Path) -> dict[str, np.ndarray]:
    """Features of every network in the layer table, by its key."""
    table = pd.read_csv(path / "model_features.csv").set_index("feat_key").fillna(0)
    return {key: features.from_row(row) for key, row in table.to_dict("index").items()}


def largest_activation(path: Path) -> dict[str, float]:
    """Elements of every network's largest activation, by its key, where the layer table knows it."""
    table = pd.read_csv(path / "model_features.csv").set_index("feat_key").max_act
    found: dict[str, float] = table[table > 0].to_dict()
    return found


def read_nasbench(path: Path) -> pd.DataFrame | None:
    """NAS-Bench-201 on the Raspberry Pi 5 (one pinned thread), with `features`; None where the file is not
    there.
    """
    file = path / "nasbench201_pi5.csv.gz"
    if not file.exists():
        return None
    rows = pd.read_csv(file)
    rows = rows[(rows.status == "ok") & (rows.connected == 1)].sort_values(["runtime", "task", "arch_idx"])
    rows["runtime"] = rows.runtime.map(
        {"litert": "litert", "onnx": "onnxruntime", "torchmobile": "torchscript"}
    )
    rows["features"] = list(nasbench.features_of(rows))
    rows["group"] = "raspberry_pi_5|" + rows.runtime + "|float32|1"
    return rows.reset_index(drop=True)


def digest(path: Path) -> str:
    """SHA-256 over the uncompressed contents of the row files that a fit reads, in a fixed order."""
    total = hashlib.sha256()
    for name in ("measurements.csv.gz", "model_features.csv"):
        data = (path / name).read_bytes()
        total.update(gzip.decompress(data) if name.endswith(".gz") else data)
    return total.hexdigest()


def ship(source: Path, target: Path) -> int:
    """Writes the rows that may be handed on to `target`, byte for byte the same each time; returns how
    many.
    """
    rows = pd.read_csv(source / "measurements.csv.gz", low_memory=False, dtype=str)
    keep = (
        (rows.fit_ok == "1")
        & (rows.batch == "1")
        & rows.runtime.isin(list(RUNTIMES))
        & rows.source.str.startswith(SHIPPABLE)
        & rows.precision.isin(list(PRECISIONS))
    )
    rows = rows[keep].drop(columns=["fit_exclude_reason", "latency_min_ms", "latency_p90_ms"])
    target.mkdir(exist_ok=True)
    with (
        open(target / "measurements.csv.gz", "wb") as file,
        gzip.GzipFile("", "wb", 9, file, mtime=0) as packed,
    ):
        packed.write(rows.to_csv(index=False, lineterminator="\n").encode())
    (target / "model_features.csv").write_bytes((source / "model_features.csv").read_bytes())
    return len(rows)
