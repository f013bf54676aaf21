"""What is shown of several runs together: the only lists, in the order of a report.

A module of STUDIES has `make(source)`, the products that the runs of one file give; one of TOGETHER
has `make(sources)`, those of several models, which may be in one file or in several. Both give none
where runs are of another kind or lack what a figure needs.
"""

from types import ModuleType

from mechsweep_analysis.studies import (
    ablation_ranking,
    alignment,
    causal,
    edge_bars,
    edge_positions,
    family,
    patching_trials,
    score_effect,
    topology,
    topology_sizes,
    topology_text,
)
from mechsweep_analysis.studies.product import Product, Source

STUDIES: tuple[ModuleType, ...] = (
    ablation_ranking,
    patching_trials,
    score_effect,
    topology,
    causal,
    topology_text,
    edge_positions,
)
TOGETHER: tuple[ModuleType, ...] = (topology_sizes, alignment, edge_bars)


def make_products(source: Source) -> list[Product]:
    """Everything that one file shows across its runs."""
    products = [product for study in STUDIES for product in study.make(source)]
    return products + [product for study in TOGETHER for product in study.make([source])]


def make_joint(sources: list[Source]) -> list[Product]:
    """Everything that several files show together."""
    return [product for study in (family, *TOGETHER) for product in study.make(sources)]
