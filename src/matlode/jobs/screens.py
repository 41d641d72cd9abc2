"""The screening rules of a search or a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.screening.funnel import choose_rules, collect_rules
from matlode.screening.rule import Rule


def load_rules(
    models: Models, known: Known, screens: Mapping[str, object] | None = None
) -> tuple[Rule, ...]:
    """The screening rules, with the settings of ``screens`` (see ``funnel.choose_rules``).

    Raises GoalError for unknown rules and settings.
    """
    network = models.properties.network
    rules = collect_rules(
        known.catalogue,
        models.formula_lists,
        models.pattern_bands,
        models.expected_volume,
        partial(getattr, models, "space"),
        None if network is None else network.applicability,
    )
    return choose_rules(rules, screens)
