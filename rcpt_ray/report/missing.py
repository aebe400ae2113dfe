"""What a reader might look for and a run leaves out: each with the reason, and the setting that would fill it."""

from rcpt_ray.artifacts import Manifest
from rcpt_ray.report.figures import Figures
from rcpt_ray.report.inputs import ReportInputs
from rcpt_ray.report.words import listed


def not_shown(inputs: ReportInputs, figures: Figures) -> list[str]:
    """Sentences, the gravest first."""
    return [*_arms(inputs, figures), *_measures(figures), *_evaluation(inputs, figures), *_run(inputs)]


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


def _measures(figures: Figures) -> list[str]:
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
    if not figures.scored(lambda key: key[1] in ("thought_nats", "gain")):
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
    if trained and all(arm.evaluated is None for arm in trained):
        reasons.append("Checkpoints were not evaluated beside the training (evaluation.beside_training=true).")
    if trained and all(arm.heldout is None for arm in trained):
        reasons.append("Held-out bits per byte were not measured while training (training.watch.heldout_every_steps).")
    if trained and all(arm.timeline is None for arm in trained):
        reasons.append("No training read a stream, so use of the pools over time is not shown (training.feed=stream).")
    return reasons


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
