"""What a reader might look for and a run leaves out: each with the reason, and the setting that would fill it."""

from collections.abc import Sequence
from typing import Final

from rcpt_ray.artifacts import Manifest
from rcpt_ray.report.figures import Figures
from rcpt_ray.report.inputs import ArmResult, ReportInputs
from rcpt_ray.report.public import public_words
from rcpt_ray.report.statistics.measures import Measure
from rcpt_ray.report.tables.arms import main_measures
from rcpt_ray.report.words import listed

_HELDOUT: Final = "heldout"
"""The task of held-out documents, whose metrics have labels of their own."""


def not_shown(inputs: ReportInputs, figures: Figures) -> list[str]:
    """Sentences, the gravest first."""
    return [
        *_arms(inputs, figures),
        *_measures(inputs, figures),
        *_items(figures),
        *_evaluation(inputs, figures),
        *_run(inputs),
    ]


def _arms(inputs: ReportInputs, figures: Figures) -> list[str]:
    """Variants that failed or are not measured, references and controls that are missing, seeds, domains."""
    recipe = inputs.recipe
    settings = {name: recipe.arm_settings(name) for name in recipe.arms}
    failed = [arm for arm in inputs.arms if arm.evaluation is None]
    reasons = [f"{arm.name} failed: {arm.failure.rstrip('.')}." for arm in failed if arm.failure]
    known = {line.arm for line in figures.lines}
    unmeasured = [arm.name for arm in failed if not arm.failure] + [name for name in recipe.arms if name not in known]
    reasons += [f"Not measured yet: {listed(unmeasured)} (rcpt run goes on)."] if unmeasured else []
    measured = {line.arm for line in figures.measured}
    if recipe.report.baseline not in measured:
        reasons.append(
            f"The baseline {recipe.report.baseline} is missing, so no differences from it are given (report.baseline)."
        )
    trained = [name for name in dict.fromkeys(line.arm for line in figures.lines if line.trained) if name in settings]
    if not trained:
        reasons.append("No arm was trained, so there are no losses and no mixtures (rcpt run trains the arms).")
    with_thoughts = [name for name in trained if name in figures.studied]
    controls = {name: settings[name].mixture for name in trained if settings[name].mixture.layout == "text_only"}
    if with_thoughts and not controls:
        reasons.append(
            "No standard CPT: no arm was trained on the texts alone, so no gain over it is given (an arm with "
            "mixture.layout=text_only)."
        )
    if with_thoughts and not any(mixture.match_tokens_of in with_thoughts for mixture in controls.values()):
        reasons.append(
            "No token-matched control: thoughts add tokens, and what of a difference comes from more tokens is not "
            "measured (an arm with mixture.match_tokens_of)."
        )
    if with_thoughts and not any(settings[name].mixture.layout == "paraphrase" for name in trained):
        reasons.append(
            "No paraphrase control: what of a difference comes from reading the same in other words is not measured "
            "(an arm with mixture.layout=paraphrase)."
        )
    lone = [line.name for line in figures.measured if line.trained and line.num_seeds == 1]
    if lone:
        whose = "" if len(lone) == sum(line.trained for line in figures.measured) else f" of {listed(lone)}"
        beside = (
            "; in their differences from lines of several seeds, these lines' spread counts for both" if whose else ""
        )
        reasons.append(
            f"One seed{whose}, so differences between seeds are not measured and intervals cover the choice of items "
            f"alone{beside} (comparison.seeds)."
        )
    if len({line.domain for line in figures.measured if line.arm in figures.studied}) < 2:
        reasons.append("One training domain, so there is no transfer matrix (comparison.domains).")
    return reasons


def _measures(inputs: ReportInputs, figures: Figures) -> list[str]:
    reasons, questions = list[str](), figures.questions
    if not questions:
        reasons.append("No questions (evaluation.tasks), so there is no accuracy.")
    for field, how in (
        ("difficulty", "a column difficulty in the questions; rcpt difficulty makes one from logged answers"),
        ("category", "a column category in the questions, or subjects of MMLU"),
        ("subject", "a column subject in the questions"),
    ):
        lacking = [measure.task for measure in questions if not figures.groups(measure, field)]
        if lacking and len(lacking) == len(questions):
            reasons.append(f"No question has a {field}, so there is nothing by {field} ({how}).")
        elif lacking:
            reasons.append(f"Questions of {listed(list(dict.fromkeys(lacking)))} have no {field}.")
    if not figures.scored(lambda key: key[1] == "bits_per_byte"):
        reasons.append(
            "No held-out documents were scored, so there are no bits per byte (corpus.heldout_share, "
            "evaluation.heldout_bits_per_byte)."
        )
    scored_thoughts = figures.scored(lambda key: key[1] == "thought_nats")
    if inputs.recipe.evaluation.heldout_thoughts and not scored_thoughts:
        reasons.append(
            "No thought of a held-out document was scored, although evaluation.heldout_thoughts=true asks for it; so "
            "their perplexity and gain are not known (thoughts.select keeps or rejects them)."
        )
    elif not scored_thoughts:
        reasons.append(
            "Perplexity of held-out thoughts and their gain were not measured (evaluation.heldout_thoughts=true)."
        )
    return reasons


def _evaluation(inputs: ReportInputs, figures: Figures) -> list[str]:
    reasons = list[str]()
    if not figures.scored(lambda key: key[1] == "thought_tokens"):
        reasons.append(
            "No answers were generated, so nothing is said of the depth of reasoning (a task of kind generated)."
        )
    elif not figures.scored(lambda key: key[1].startswith(("pass@", "maj@"))):
        reasons.append("One sample a question, so there is no pass@k, maj@k or diversity (num_samples of a task).")
    trained = [arm for arm in inputs.arms if arm.training is not None]
    if trained and not any(arm.evaluated is not None and len(arm.evaluated) for arm in trained):
        if inputs.recipe.evaluation.beside_training:
            reasons.append("No checkpoint was evaluated, although evaluation.beside_training=true asks for it.")
        else:
            reasons.append("Checkpoints were not evaluated beside the training (evaluation.beside_training=true).")
    reasons += [sentence for arm in trained for sentence in _checkpoints(arm, inputs.recipe.run)]
    if trained and all(arm.heldout is None for arm in trained):
        reasons.append("Held-out bits per byte were not measured while training (training.watch.heldout_every_steps).")
    if trained and all(arm.timeline is None for arm in trained):
        reasons.append("No training read a stream, so use of the pools over time is not shown (training.feed=stream).")
    return reasons


def _checkpoints(arm: ArmResult, run: str) -> list[str]:
    """What became of checkpoints that were to be evaluated beside the training and have no figures."""
    told = arm.training.details.get("beside", {}) if arm.training is not None else {}
    failures, skipped, sentences = told.get("failures", {}), told.get("skipped", []), list[str]()
    if failures:
        steps, why = listed(list(failures)), public_words(next(iter(failures.values())), run).rstrip(".")
        first = f", first: {why}" if len(failures) > 1 else f": {why}"
        sentences.append(f"{arm.name}: evaluation of its checkpoints failed at step {steps}{first}.")
    if skipped:
        steps = listed([str(step) for step in skipped])
        sentences.append(
            f"{arm.name}: its checkpoints of step {steps} were removed before they could be evaluated "
            "(more CPUs or GPUs free beside the training)."
        )
    return sentences


def _items(figures: Figures) -> list[str]:
    """Pairs of lines that were not scored on the same items, by task."""
    found = dict[str, dict[tuple[str, str], str]]()
    for measure in main_measures(figures):
        for line, other in figures.reference_pairs:
            numbers = [_num_items(measure, one.rows) for one in (line, other)]
            shared = _num_items(measure, [*line.rows, *other.rows])
            if all(numbers) and shared < max(numbers):
                words = f"{line.name} and {other.name} {shared:,} of {numbers[0]:,} and {numbers[1]:,}"
                what = measure.label if measure.task == _HELDOUT else measure.task
                found.setdefault(what, {}).setdefault((line.name, other.name), words)
    return [
        f"{what}: differences are over shared items alone, and not all are shared: {'; '.join(pairs.values())}."
        for what, pairs in found.items()
    ]


def _num_items(measure: Measure, rows: Sequence[int]) -> int:
    return int(measure.present_VN[list(rows)].all(axis=0).sum())


def _run(inputs: ReportInputs) -> list[str]:
    reasons = list[str]()
    if inputs.thoughts is None:
        reasons.append(
            "No thoughts, so nothing is said of their length, their rejections or their text (an arm whose mixture has "
            "thoughts)."
        )
    elif not inputs.thought_tokens:
        reasons.append("No thought was kept, so nothing is said of their length (thoughts.select).")
    elif not inputs.examples:
        reasons.append("No thought is shown beside its text (report.num_examples).")
    elif len(inputs.examples) < inputs.recipe.report.num_examples and len(inputs.thought_tokens) > len(inputs.examples):
        reasons.append(f"Only {len(inputs.examples)} thoughts are shown beside their texts (report.num_examples).")
    manifests = [manifest for manifest in (inputs.thoughts, *_all_of(inputs)) if manifest is not None]
    if all(manifest.cost is None for manifest in manifests):
        reasons.append("No price was given, so no cost is told (thoughts.pool.price_per_engine_hour).")
    return reasons


def _all_of(inputs: ReportInputs) -> list[Manifest | None]:
    return [manifest for arm in inputs.arms for manifest in (arm.training, arm.evaluation, *arm.written)]
