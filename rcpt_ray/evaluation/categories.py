"""The four categories of MMLU by subject.

From the tables `subcategories` and `categories` of github.com/hendrycks/test, categories.py, the release of MMLU
(Hendrycks et al., arXiv 2009.03300). lm-eval's groups differ from it in one subject: it counts anatomy as stem.
"""

from collections.abc import Iterable
from typing import Final

CATEGORIES: Final = ("stem", "humanities", "social_sciences", "other")
"""The categories in the order of the paper's tables."""

_SUBJECTS: Final = {
    "stem": """
        abstract_algebra astronomy college_biology college_chemistry college_computer_science college_mathematics
        college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics
        high_school_biology high_school_chemistry high_school_computer_science high_school_mathematics
        high_school_physics high_school_statistics machine_learning
    """,
    "humanities": """
        formal_logic high_school_european_history high_school_us_history high_school_world_history international_law
        jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law
        world_religions
    """,
    "social_sciences": """
        econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics
        high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations
        security_studies sociology us_foreign_policy
    """,
    "other": """
        anatomy business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing
        medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology
    """,
}
CATEGORY_OF_SUBJECT: Final = {
    subject: category for category, subjects in _SUBJECTS.items() for subject in subjects.split()
}
"""The 57 subjects."""


def categories_of(subjects: Iterable[str]) -> dict[str, str]:
    """Subject -> category; empty unless every subject is one of MMLU's.

    A set of another making may have a subject of the same name by chance, and half a grouping says nothing.
    """
    subjects = set(subjects)
    return (
        {subject: CATEGORY_OF_SUBJECT[subject] for subject in subjects} if subjects <= set(CATEGORY_OF_SUBJECT) else {}
    )
