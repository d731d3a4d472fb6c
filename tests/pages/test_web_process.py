"""The web process imports no framework, whatever page is looked at."""

import json
import subprocess
import sys

import seed

FRAMEWORKS = (
    "torch",
    "torchvision",
    "tensorflow",
    "keras",
    "onnx",
    "onnxruntime",
    "ai_edge_litert",
    "cv2",
    "sklearn",
    "scipy",
)
PROGRAM = """
import json, sys
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest
import server
app = AppTest.from_file("{root}/app.py", default_timeout=30).run()
failed = []
for page in ("upload", "configure", "run", "compare", "deploy", "experiments", "home"):
    app.switch_page(f"pages/{{page}}.py")
    app.query_params.update({{"run": "{run}", "model": "digits/pytorch/small", "dataset": "digits"}})
    failed += [page for _ in app.run().exception]
print(json.dumps({{"failed": failed, "modules": sorted(sys.modules)}}))
"""


def test_no_page_imports_a_framework(home):
    program = PROGRAM.format(root=seed.ROOT, run=seed.finished(home))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=seed.ROOT, capture_output=True, text=True, timeout=120
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failed"] == []
    assert [name for name in FRAMEWORKS if name in found["modules"]] == []
