"""The files of one run, as they go to the workers of a cluster and come back from them."""

import secrets
from pathlib import Path
from typing import Any

from engine import datasets
from engine.cluster.orders import File, Order, Reply
from engine.datasets import DATASETS
from engine.run.prepare import wanted
from engine.run.requests import MakeVariants
from engine.run.supervisor import variants_of
from engine.store.files import write_whole
from engine.techniques import TECHNIQUES
from engine.wall.limits import Limits
from engine.wall.sandbox import Failed
from models.catalog import sha256_of

PLACES = ("meta.json", "train_images.npy", "train_labels.npy")  # of a data set; no test part leaves this host


class RunFiles:
    """What is known of a run's files while its techniques are out."""

    def __init__(self) -> None:
        self._left: dict[str, set[str]] = {}  # which techniques left a file of this name in the run's cache
        self._hashes: dict[Path, str] = {}

    def order(
        self, request: MakeVariants, limits: Limits, versions: dict[str, str]
    ) -> tuple[Order, dict[str, Path]]:
        """Returns an order for this request, and where its files are by their SHA-256."""
        found: dict[str, Path] = {"model": Path(request.model.path)}
        if request.dataset is not None:
            how = wanted(request.dataset, request.model)
            folder = datasets.located(request.dataset, request.home, **how)
            found |= {f"data/{name}": folder / name for name in PLACES}
        # what techniques leave for others goes to those alone that take it, whichever was made first
        known = {request.technique, *TECHNIQUES[request.technique].after}
        cache = sorted(path for path in (request.folder / "cache").iterdir() if path.is_file())
        found |= {f"run/cache/{p.name}": p for p in cache if self._left.get(p.name, known) & known}
        files = [
            File(path=name, sha256=self._sha256(path), bytes=path.stat().st_size)
            for name, path in found.items()
        ]
        own = request.dataset is not None and request.dataset not in DATASETS
        paths: dict[str, Any] = {
            "folder": Path("run"),
            "home": Path("."),
            "dataset": "own" if own else request.dataset,
        }
        order = Order(
            id=secrets.token_hex(8),
            versions=versions,
            request=request.model_copy(
                update=paths | {"model": request.model.model_copy(update={"path": "model"})}
            ),
            memory_bytes=limits.memory_bytes,
            seconds=limits.seconds,
            files=tuple(files),
        )
        return order, {file.sha256: found[file.path] for file in files}

    def _sha256(self, path: Path) -> str:
        if path not in self._hashes:  # none of them changes in a run
            self._hashes[path] = sha256_of(path)
        return self._hashes[path]

    def put(self, request: MakeVariants, reply: Reply, contents: list[memoryview]) -> None:
        """Writes the files of a reply: into the places of the technique's own variants, and into the run's
        cache under names that are new there. Raises Failed for any other.
        """
        own = tuple(f"artifacts/{name}/" for name in variants_of(request.technique))
        for file, content in zip(reply.files, contents, strict=True):
            folder, _, name = file.path.rpartition("/")
            path = request.folder / file.path
            if folder == "cache":
                is_new = not path.exists()
                if is_new or name in self._left:
                    self._left.setdefault(name, set()).add(request.technique)
                if not is_new:
                    continue  # what another technique found out too, or this host itself, stays
            elif not file.path.startswith(own):
                raise Failed("its worker sent a file that is not its own")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, bytes(content))
