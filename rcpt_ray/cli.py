"""The command line: parse, call, print. Nothing heavy is imported before a command is known.

Exit codes: 0 the work is done; 2 a mistake that the user can mend, told in one sentence; 1 anything else, told in one
sentence with the log that holds the rest; 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from rcpt_ray import __version__
from rcpt_ray.errors import UserError
from rcpt_ray.submission import arguments as jobs

_STAGE_VERBS = {
    "run": ("report", "everything, from corpus to report"),
    "prepare": ("corpus", "read, filter, split and shard the corpus"),
    "synthesize": ("thoughts", "write the thoughts and select those that are used"),
    "mix": ("mixture", "blend and pack what the arms train on"),
    "train": ("training", "train the arms"),
    "evaluate": ("evaluation", "measure the arms"),
    "report": ("report", "write the report"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parse(arguments)
    try:
        _dispatch(options)
    except UserError as mistake:
        from rcpt_ray.redact import one_line

        print(f"rcpt: {one_line(str(mistake))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("rcpt: interrupted; the same command goes on from what is finished", file=sys.stderr)
        return 130
    return 0


def _dispatch(options: argparse.Namespace) -> None:
    match options.verb:
        case "plan":
            from rcpt_ray.plan import print_plan
            from rcpt_ray.recipe import load_recipe

            print_plan(load_recipe(options.recipe, options.overrides), options.sample)
        case "export":
            from rcpt_ray.export import export_thoughts
            from rcpt_ray.recipe import load_recipe

            export_thoughts(load_recipe(options.recipe, options.overrides), options.to, options.arm, options.license)
        case "show":
            from rcpt_ray.show import print_run

            print_run(options.run)
        case "difficulty":
            _difficulty(options)
        case "sweep":
            _sweep(options)
        case "doctor":
            from rcpt_ray.doctor.command import print_checks
            from rcpt_ray.recipe import load_recipe

            print_checks(load_recipe(options.recipe, options.overrides) if options.recipe else None)
        case "report" if _names_runs(options.recipe):
            from rcpt_ray.report.compare_runs import compare_runs

            folder = compare_runs([options.recipe, *options.overrides], options.to)
            print(f"report   {folder / 'report.html'}\nreport   {folder / 'report.md'}")
        case "models":
            _models(options)
        case verb if verb in jobs.VERBS:
            sys.exit(jobs.run_verb(options))
        case verb:
            from rcpt_ray.command import run_command
            from rcpt_ray.recipe import load_recipe

            if getattr(options, "to", None) is not None:
                raise UserError(f"--to {options.to} is for a report that compares run folders; leave it out")
            recipe = load_recipe(options.recipe, options.overrides)
            retry_rejected, as_is = getattr(options, "retry_rejected", False), getattr(options, "as_is", False)
            run_command(recipe, _STAGE_VERBS[verb][0], retry_rejected, as_is)


def _difficulty(options: argparse.Namespace) -> None:
    from pathlib import Path

    from rcpt_ray.evaluation.difficulty import Cuts, write_difficulty

    cuts = Cuts(options.easy, options.medium, options.hard)
    for tier, number in write_difficulty(
        options.questions, options.panel, Path(options.to), cuts, options.task
    ).items():
        print(f"{tier}  {number:,}")


def _sweep(options: argparse.Namespace) -> None:
    from rcpt_ray.recipe import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    if options.plan:
        from rcpt_ray.sweep.plan import print_sweep

        print_sweep(recipe)
        return
    from rcpt_ray.sweep.command import sweep_command

    sweep_command(recipe, options.recipe, options.apply)


def _names_runs(first: str) -> bool:
    """Whether `rcpt report` was given run folders; a recipe is a .yaml file."""
    return os.path.isdir(first) or not first.endswith((".yaml", ".yml"))


def _models(options: argparse.Namespace) -> None:
    from rcpt_ray.models import KNOWN_MODELS, resolve_model

    if options.action == "list":
        for name, description in KNOWN_MODELS.items():
            print(f"{name}  {description}")
        return
    model = resolve_model(options.name)
    print(f"{model.reference}  {model.revision}\n{model.path}\nsha256 {model.checksum}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rcpt", description="Reasoning CPT: from corpus to report.")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    for verb, (_, what) in _STAGE_VERBS.items():
        also = "" if verb in ("run", "prepare") else ", after what it needs"
        stage = verbs.add_parser(verb, help=what + also)
        _add_recipe(stage)
        if verb == "synthesize":
            stage.add_argument("--retry-rejected", action="store_true", help="try thoughts that were rejected again")
        if verb == "report":
            stage.add_argument("--as-is", action="store_true", help="write it from what is finished, and make no more")
            stage.usage = (
                "rcpt report RECIPE [--as-is] [key=value ...]\n       rcpt report RUN RUN [RUN ...] [--to FOLDER]"
            )
            stage.description = (
                "The report of a recipe's run, or one page that compares the runs in two or more folders."
            )
            stage.add_argument("--to", metavar="FOLDER", help="where the page that compares runs goes")
    sweep = verbs.add_parser("sweep", help="many small runs over mixtures, thought lengths and other settings")
    _add_recipe(sweep)
    sweep.add_argument("--apply", metavar="FILE", help="write the recipe with the best settings, a new .yaml file")
    sweep.add_argument("--plan", action="store_true", help="print the trials, and make nothing")
    plan = verbs.add_parser("plan", help="what would run, what is finished, tokens, time and cost expected")
    _add_recipe(plan)
    plan.add_argument("--sample", type=_positive, metavar="N", help="measure by writing N thoughts first")
    export = verbs.add_parser("export", help="the thoughts as a folder for Hugging Face datasets, with a card")
    _add_recipe(export)
    export.add_argument("--to", required=True, metavar="FOLDER", help="a new folder")
    export.add_argument("--arm", help="the arm whose thoughts are meant, where arms differ")
    export.add_argument("--license", help="the licence for the card, such as cc-by-4.0")
    show = verbs.add_parser("show", help="the finished stages of a run folder")
    show.add_argument("run", metavar="RUN", help="a run folder")
    difficulty = verbs.add_parser("difficulty", help="how hard questions are, from the answers of a panel of models")
    difficulty.add_argument("questions", metavar="QUESTIONS", help="a .parquet or .jsonl file in MMLU's columns")
    difficulty.add_argument(
        "--panel",
        required=True,
        nargs="+",
        metavar="LOG",
        help="a run or evaluation folder, samples_*.jsonl of lm-eval or a folder of these; one or more",
    )
    difficulty.add_argument("--to", required=True, metavar="FILE", help="a .parquet or .jsonl file for the questions")
    difficulty.add_argument("--task", help="the task that is meant, where a log has several with the same questions")
    for tier, least in (("easy", 1.0), ("medium", 0.6), ("hard", 0.3)):
        words = f"the least share of right answers of an {tier} question" if tier == "easy" else f"the same of {tier}"
        difficulty.add_argument(f"--{tier}", type=float, default=least, metavar="SHARE", help=f"{words} ({least:g})")
    jobs.add_verbs(verbs, _add_recipe, [*_STAGE_VERBS, "sweep"])
    doctor = verbs.add_parser("doctor", help="check this machine, and what a recipe needs, and say what to do")
    _add_recipe(doctor, nargs="?")
    actions = verbs.add_parser("models", help="models by name").add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="names besides hub ids and folders")
    pull = actions.add_parser("pull", help="bring a model into the cache")
    pull.add_argument("name", metavar="NAME", help="a name of `rcpt models list`, a hub id or a folder")
    return parser


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of a command; settings may stand before and after its flags."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and ("overrides" not in options or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number above 0")
    return int(text)


def _add_recipe(verb: argparse.ArgumentParser, nargs: str | None = None) -> None:
    verb.add_argument("recipe", metavar="RECIPE", nargs=nargs, help="a .yaml file, such as jobs/recipes/demo.yaml")
    verb.add_argument(
        "overrides", metavar="key=value", nargs="*", help="settings to change, such as training.num_epochs=2"
    )


if __name__ == "__main__":
    sys.exit(main())
