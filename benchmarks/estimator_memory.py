"""Resident memory of Python with NumPy and a runtime, loaded and idle: `python -m
benchmarks.estimator_memory`.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "estimator_memory.json"
MODULES = {"litert": "ai_edge_litert.interpreter", "onnxruntime": "onnxruntime"}
PROGRAM = (
    "import numpy, {module}, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)"
)


def main() -> None:
    """Writes peak resident MB (10**6 bytes) by runtime, the median of five processes."""
    found = {}
    for runtime, module in MODULES.items():
        runs = sorted(
            float(
                subprocess.run(
                    [sys.executable, "-c", PROGRAM.format(module=module)],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            for _ in range(5)
        )
        found[runtime] = round(runs[2], 1)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(
        json.dumps(
            {
                "command": "python -m benchmarks.estimator_memory",
                "machine": platform.machine(),
                "python": platform.python_version(),
                "base_mb": found,
            },
            indent=1,
        )
        + "\n"
    )
    print(found)


if __name__ == "__main__":
    main()
