"""The screening rules of a search or a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.screening.funnel import chosen_rules, every_rule
from matlode.screening.rule import Rule


def load_rules(
    models: Models, known: Known, screens: Mapping[str, object] | None = None
) -> tuple[Rule, ...]:
    """The screening rules, with the settings of ``screens`` (see ``funnel.chosen_rules``).

    Raises GoalError for unknown rules and settings.
    """
    network = models.properties.network
    rules = every_rule(
        known.catalogue,
        models.formula_filter,
        models.pattern_bands,
        partial(getattr, models, "space"),
        None if network is None else network.applicability,
    )
    return chosen_rules(rules, screens)
