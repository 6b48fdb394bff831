"""Who may boost and who may measure, and whether they mean the same classes by the same numbers."""

from __future__ import annotations

from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import refuse_judge
from bigroc_core.evaluation.features import fingerprint
from bigroc_core.images.classes import are_named, class_table


def check_roles(measuring: Classifier, *boosting: Classifier) -> None:
    """ValueError if a judge boosts, if whoever boosts also measures, or if their classes differ."""
    for classifier in boosting:
        refuse_judge(classifier.card)
        if fingerprint(classifier) == fingerprint(measuring):
            raise ValueError(f"{measuring.card.name} would measure images that were boosted through it; take another")
        check_alike(measuring, classifier)


def check_alike(one: Classifier, other: Classifier) -> None:
    """ValueError if a class of one classifier, by its number, is another of the other's, as far as they have names."""
    names, count = f"{other.card.name} and {one.card.name}", len(one.classes)
    if len(other.classes) != count:
        raise ValueError(
            f"{other.card.name} has {len(other.classes)} classes, {one.card.name} {count}; both must know the same"
        )
    if one.classes == other.classes or not (are_named(one.classes) and are_named(other.classes)):
        return
    try:
        alike = class_table(other.card.name, other.classes, one.classes, one.card.name, {}) == tuple(range(count))
    except ValueError:
        alike = False
    if not alike:
        raise ValueError(
            f"{names} have {count} classes each, but not the same in the same order; take another, or say their names "
            "(--class-names)"
        )
