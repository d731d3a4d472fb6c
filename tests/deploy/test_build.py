"""Where a package is written: what one session chooses does not change what another downloads."""

import shutil
from pathlib import Path

from deploy import package

RECORDED = Path(__file__).parents[1] / "run" / "recorded"


def test_each_threshold_has_a_file_of_its_own(workspace, monkeypatch):
    shutil.copytree(RECORDED, workspace.home / "runs" / "recorded")
    monkeypatch.setattr(package.trust, "asked_below", lambda variant, reach: reach)
    monkeypatch.setattr(package, "verify", lambda *args, **kwargs: None)
    monkeypatch.setattr(package.emulator, "found", lambda device, requirements: None)

    def contents(run, variant, folder, asked):
        return {"requirements.txt": b"", "metadata.json": str(asked).encode()}

    monkeypatch.setattr(package, "contents", contents)
    paths = [package.build("recorded", "baseline", workspace, reach) for reach in (None, 0.9, 0.95)]
    assert len(set(paths)) == 3 and all(path.suffix == ".zip" for path in paths)
    before = paths[1].read_bytes()
    assert package.build("recorded", "baseline", workspace, 0.9) == paths[1]
    assert paths[1].read_bytes() == before
