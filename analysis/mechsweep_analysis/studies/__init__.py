"""What is shown of several runs together: the only list, in the order of a report.

A module has `make(source)`, the products that the runs of one file give; none where they are of
another kind. What several files give together is in `family`.
"""

from types import ModuleType

from mechsweep_analysis.studies import ablation_ranking, patching_trials, score_effect
from mechsweep_analysis.studies.product import Product, Source

STUDIES: tuple[ModuleType, ...] = (ablation_ranking, patching_trials, score_effect)


def make_products(source: Source) -> list[Product]:
    return [product for study in STUDIES for product in study.make(source)]
