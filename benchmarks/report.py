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
PARTS = ("imports", "measures", "tables and bootstrap", "drawings and page", "Markdown and summary")


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
        f"of CPU {', '.join(format(run['total_cpu_s'], '.1f') for run in runs)} s"
    )
    for part in PARTS:
        wall, cpu = (statistics.median(run[f"{part}{kind}"] for run in runs) for kind in ("_s", "_cpu_s"))
        print(f"  {part:24} {wall:5.1f} s, of CPU {cpu:5.1f} s")


def _run(arguments: list[str]) -> dict[str, float]:
    ran = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def _once(options: argparse.Namespace) -> dict[str, float]:
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from report_fixtures import make_comparison

    domains, seeds = ("stem", "law", "both")[: options.domains], tuple(range(17, 17 + options.seeds))
    inputs = make_comparison(options.questions, domains, seeds, options.answers)
    marks = [_now()]
    from rcpt_ray.report import write
    from rcpt_ray.report.figures import measure_run
    from rcpt_ray.report.page import gather, render_page

    marks.append(_now())
    figures = measure_run(inputs)
    marks.append(_now())
    content = gather(inputs, figures)
    marks.append(_now())
    page = render_page(content)
    marks.append(_now())
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "report.html").write_text(page)
        (Path(folder) / "report.md").write_text(write.render_markdown(content))
        (Path(folder) / "summary.json").write_text(write.render_summary(figures))
    marks.append(_now())
    found = {"page_mb": len(page) / 1e6, "variants": float(len(inputs.arms))}
    for part, before, after in zip(("total", *PARTS), (marks[0], *marks[:-1]), (marks[-1], *marks[1:]), strict=True):
        found |= {f"{part}_s": after[0] - before[0], f"{part}_cpu_s": after[1] - before[1]}
    return found


def _now() -> tuple[float, float]:
    """Seconds on the clock and of CPU."""
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    main()
