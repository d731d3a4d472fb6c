"""The estimator on its own: `python -m estimator fit|validate|predict`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from estimator import coefficients

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def main(arguments: list[str] | None = None) -> int:
    """Runs a verb; returns the exit code: 0 done, 1 bad input with one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m estimator", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    fitting = verbs.add_parser("fit", help="fit coefficients.json to measured rows")
    fitting.add_argument(
        "--rows", metavar="DIR", help="folder of rows; default: EDGEWISE_MEASUREMENTS, else shipped"
    )
    fitting.add_argument("--output", metavar="FILE", default=str(coefficients.FILE))
    checking = verbs.add_parser("validate", help="print the validation of the shipped coefficients")
    checking.add_argument("--json", action="store_true")
    checking.add_argument(
        "--write", action="store_true", help="write benchmarks/results/estimator_validation.*"
    )
    checking.add_argument(
        "--test", metavar="DIR", help="rows that were kept aside: check against these instead"
    )
    asking = verbs.add_parser("predict", help="predict a model file's cost")
    asking.add_argument("model")
    asking.add_argument("--device", default="all")
    asking.add_argument("--runtime")
    asking.add_argument("--threads", type=int)
    asking.add_argument("--precision")
    chosen = parser.parse_args(arguments)
    try:
        return {"fit": _fit, "validate": _validate, "predict": _predict}[chosen.verb](chosen)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1


def _fit(chosen: Any) -> int:
    from estimator.fitting import fit, rows

    before = coefficients.load() if coefficients.FILE.exists() else None
    content, points = fit.fit(rows.folder(chosen.rows), before)
    output = Path(chosen.output)
    output.write_text(coefficients.dump(content))
    (output.parent / coefficients.HELD_OUT.name).write_text(coefficients.dump(points))
    print(
        f"{len(content['groups'])} groups, {sum(g['validation']['rows'] for g in content['groups'].values())}"
        f" rows -> {output}"
    )
    return 0


def _validate(chosen: Any) -> int:
    from estimator.fitting import targets, validate

    if chosen.test:
        print(validate.kept_aside(Path(chosen.test)), end="")
        return 0
    content = coefficients.load()
    table = {name: group["validation"] for name, group in content["groups"].items()}
    page = validate.markdown(table, content["confidence"], content["ranks"])
    record = coefficients.dump(
        {
            "command": "python -m estimator validate --write",
            "groups": table,
            "confidence": content["confidence"],
            "ranks": content["ranks"],
            "targets": targets.rows(table, content["ranks"]),
        }
    )
    print(record if chosen.json else page, end="")
    if chosen.write:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "estimator_validation.json").write_text(record)
        (RESULTS / "estimator_validation.md").write_text(page)
    return 0


def _predict(chosen: Any) -> int:
    from estimator.devices import all_devices
    from estimator.predict import estimate
    from estimator.profile.graph import profile

    found = profile(chosen.model)
    names = sorted(all_devices()) if chosen.device == "all" else [chosen.device]
    answers = [estimate(found, name, chosen.runtime, chosen.threads, chosen.precision) for name in names]
    print(json.dumps([a.model_dump() for a in answers], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
