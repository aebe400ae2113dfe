"""How long the report of a large comparison takes: from tables in memory to the four files, and where the time goes.

    python benchmarks/report.py                       5 arms, 57 subjects, 3 seeds, 3 training domains, 14,042 questions
    python benchmarks/report.py --domains 0           without training domains
    python benchmarks/report.py --answers 14042       with so many generated questions, 4 samples each (120 by default)

Each repeat is a process of its own, so that imports (matplotlib, scipy, jinja2) count. The figures are planted by
tests/report_fixtures.py, none was measured.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=14_042)
    parser.add_argument("--answers", type=int, default=120)
    parser.add_argument("--domains", type=int, default=3, choices=(0, 1, 2, 3))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(_once(options)))
        return
    runs = [_run([*sys.argv[1:], "--once"]) for _ in range(options.repeats)]
    total = statistics.median(run["total_s"] for run in runs)
    print(f"{runs[0]['variants']:.0f} variants, {options.questions:,} questions, page of {runs[0]['page_mb']:.1f} MB")
    print(
        f"median {total:.1f} s of {', '.join(format(run['total_s'], '.1f') for run in runs)}; "
        f"of CPU {', '.join(format(run['cpu_s'], '.1f') for run in runs)} s"
    )
    for part in ("imports_s", "measures_s", "tables_and_bootstrap_s", "drawings_and_page_s", "markdown_and_summary_s"):
        print(f"  {part.removesuffix('_s').replace('_', ' '):24} {statistics.median(run[part] for run in runs):.1f} s")


def _run(arguments: list[str]) -> dict[str, float]:
    ran = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def _once(options: argparse.Namespace) -> dict[str, float]:
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from report_fixtures import make_comparison

    domains, seeds = ("stem", "law", "both")[: options.domains], tuple(range(17, 17 + options.seeds))
    inputs = make_comparison(options.questions, domains, seeds, options.answers)
    cpu, marks = time.process_time(), [time.perf_counter()]
    from rcpt_ray.report import write
    from rcpt_ray.report.figures import measure_run
    from rcpt_ray.report.page import gather, render_page

    marks.append(time.perf_counter())
    figures = measure_run(inputs)
    marks.append(time.perf_counter())
    content = gather(inputs, figures)
    marks.append(time.perf_counter())
    page = render_page(content)
    marks.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "report.html").write_text(page)
        (Path(folder) / "report.md").write_text(write.render_markdown(content))
        (Path(folder) / "summary.json").write_text(write.render_summary(figures))
    marks.append(time.perf_counter())
    names = ("imports_s", "measures_s", "tables_and_bootstrap_s", "drawings_and_page_s", "markdown_and_summary_s")
    parts = {name: after - before for name, before, after in zip(names, marks[:-1], marks[1:], strict=True)}
    totals = {"total_s": marks[-1] - marks[0], "cpu_s": time.process_time() - cpu, "page_mb": len(page) / 1e6}
    return parts | totals | {"variants": float(len(inputs.arms))}


if __name__ == "__main__":
    main()
