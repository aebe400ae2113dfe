"""The sections of the sweep's page, in their order: answer, responses, front, tried settings, trials.

A table without rows and a plot without figures are left out, and a section without either.
"""

from collections.abc import Sequence

from rcpt_ray.report.page import Content, as_yaml
from rcpt_ray.report.plots.drawing import Plot
from rcpt_ray.report.public import public_recipe
from rcpt_ray.report.sections import Section
from rcpt_ray.report.tables.table import Table
from rcpt_ray.sweep.page.care import read_with_care
from rcpt_ray.sweep.page.inputs import SweepInputs
from rcpt_ray.sweep.page.plots.maps import plot_maps
from rcpt_ray.sweep.page.plots.points import plot_fronts, plot_parallel
from rcpt_ray.sweep.page.plots.response import plot_responses
from rcpt_ray.sweep.page.sentences import conclusion, how_sure, swept
from rcpt_ray.sweep.page.tables import best_table, importance_table, points_table, region_table, surfaces_table
from rcpt_ray.sweep.page.trial_tables import failures_table, sharing_table, totals_table, trials_table


def gather(inputs: SweepInputs) -> Content:
    """Everything that the page and the Markdown show."""
    name = inputs.recipe.name
    return Content(
        title=f"Sweep of {name}",
        compared=" ".join([swept(inputs), *(conclusion(one) for one in inputs.answers[:1])]),
        read_with_care=read_with_care(inputs),
        not_shown=[],
        how_sure=how_sure(inputs),
        sections=_sections(inputs),
        recipes={name: as_yaml(public_recipe(inputs.recipe.model_dump(mode="json")))},
    )


def _sections(inputs: SweepInputs) -> list[Section]:
    answers = inputs.answers
    # Of the first objective, which --apply goes by, everything is open.
    responses = [plot for place, one in enumerate(answers) for plot in plot_responses(one, folded=place > 0)]
    maps = [plot for place, one in enumerate(answers) for plot in plot_maps(one, folded=place > 0)]
    sections = [
        _section(
            "Answer",
            " ".join(conclusion(one) for one in answers[1:]),
            [
                *(best_table(one) for one in answers),
                *(region_table(one) for one in answers),
                importance_table(answers),
                surfaces_table(answers),
            ],
            [],
        ),
        _section(
            "Response",
            "The surface's mean with its interval where one setting changes and the others are as in the best. Tried "
            "settings stand at their own figures, with their standard error; they may differ in the other settings. A "
            "filled dot may be the best: it is not distinguishable from the best settings.",
            [],
            responses,
        ),
        _section(
            "Response over two settings or three shares",
            "The stronger the blue, the better; other settings are as in the best. Tried settings are marked where "
            "they were tried, whatever their other settings. Small dots may be the best: the surface does not "
            "distinguish them from it.",
            [],
            maps,
        ),
        _section("Several objectives", "", [], plot_fronts(inputs)),
        _section("Tried settings", "", [points_table(inputs)], [plot_parallel(one) for one in answers]),
        _section(
            "Trials",
            "",
            [totals_table(inputs), sharing_table(inputs), failures_table(inputs), trials_table(inputs)],
            [],
        ),
    ]
    return [section for section in sections if section.tables or section.plots]


def _section(title: str, lead: str, tables: Sequence[Table], plots: Sequence[Plot | None]) -> Section:
    shown = [table for table in tables if table.rows]
    return Section(title, lead, shown, [plot for plot in plots if plot is not None])
