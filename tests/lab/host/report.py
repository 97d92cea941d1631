"""The table of a run: kernels across, scenarios down."""

import json
from collections import Counter

# Around the table in a document of which it is a part.
MARKS = ("<!-- lab: written by tests/lab/run --table -->\n", "<!-- lab: end -->\n")


def earlier(path):
    """The results that are in this file, if there is one."""
    return json.loads(path.read_text())["results"] if path.exists() else []


def save(path, results):
    passed, failed = (sum(r["status"] == status for r in results) for status in ("ok", "FAIL"))
    path.write_text(json.dumps({"passed": passed, "failed": failed, "results": results}, indent=1) + "\n")


def cell(result, usual):
    if result is None:
        return "–"
    counts = ", ".join(f"{v} {k}" for k, v in result["counts"].items())
    words = {"ok": "ok", "FAIL": "**failed**", "skip": "not here"}[result["status"]]
    other = "" if build(result) == usual else f", build {build(result)}"
    return f"{words}, {result['seconds']:.0f} s" + (f" ({counts})" if counts else "") + other


def build(result):
    return result.get("build") or "unknown"


def table(results):
    kernels, names, cells = {}, [], {}
    for r in sorted(results, key=lambda r: [int(n) for n in r["kernel"].split(".")]):
        kernels[r["kernel"]] = r["release"] or kernels.get(r["kernel"], "")
        if r["scenario"] not in names:
            names.append(r["scenario"])
        cells[r["kernel"], r["scenario"]] = r
    lines = ["| scenario | " + " | ".join(f"{k} ({rel})" for k, rel in kernels.items()) + " |",
             "|---|" + "---|" * len(kernels)]
    builds = Counter(build(r) for r in results).most_common()
    usual = builds[0][0] if builds else None
    for name in sorted(names):
        lines.append(f"| {name} | " + " | ".join(cell(cells.get((k, name)), usual) for k in kernels) + " |")
    failed = sum(r["status"] == "FAIL" for r in results)
    lines.append(f"\n{sum(r['status'] == 'ok' for r in results)} passed, {failed} failed.")
    if builds:
        lines.append("\nBuild " + ", ".join(f"{name}: {n}" for name, n in builds) + ".")
    return "\n".join(lines) + "\n"


def write(path, results):
    """The table alone, or in the place that a document has for it."""
    begin, end = MARKS
    text = path.read_text() if path.exists() else ""
    if begin in text and end in text:
        head, rest = text.split(begin, 1)
        path.write_text(f"{head}{begin}\n{table(results)}\n{end}{rest.split(end, 1)[1]}")
    else:
        path.write_text(table(results))
