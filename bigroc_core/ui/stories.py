"""Three stories on top of the page: links that set a tab's controls and run it, each with a line of what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from bigroc_core.catalogue import classifier_cards, control_for, generator_cards
from bigroc_core.messages import in_words
from bigroc_core.ui.links import RUN


@dataclass(frozen=True)
class Story:
    """A story's title, what it shows in a line, and the link's parameters."""

    title: str
    shows: str
    query: tuple[tuple[str, str], ...]

    @property
    def html(self) -> str:
        """The link, as HTML."""
        address = escape(f"?{urlencode(self.query)}", quote=True)
        return f'<a class="story" href="{address}"><b>{escape(self.title)}</b><span>{escape(self.shows)}</span></a>'


def stories() -> list[Story]:
    """Those that can be told with the models at hand, known by their cards."""
    robust, generators = next(iter(classifier_cards())), generator_cards()
    control, classes = control_for(robust), classifier_cards()[robust].classes
    told: list[Story] = []
    query: tuple[tuple[str, str], ...]
    blurred = [n for n, card in generators.items() if card.training.get("recipe", {}).get("family") == "vae"]
    if blurred:
        largest = max(blurred, key=lambda name: generators[name].input_size)
        through = generators[largest].presets.get("default", {}).get("classifier", robust)
        query = (("tab", "boost"), ("generator", largest), ("classifier", through), ("count", "8"), (RUN, "boost"))
        told.append(Story("Mend a blur", "A VAE's blurred images, boosted: edges and parts come back.", query))
    drawn = next((n for n, card in generators.items() if card.conditional and set(card.classes) <= set(classes)), None)
    if drawn and control and len(classes) > 1:
        first, *_, last = generators[drawn].classes
        targets = (("target", "Given class"), ("target_classes", last))
        rows = (("vary", "classifier"), ("classifiers", robust), ("classifiers", control), (RUN, "compared"))
        images = (("tab", "boost"), ("generator", drawn), ("classes", first), ("count", "4"))
        stronger = (("eps", f"{_strong(generators[drawn].input_size):g}"), ("steps", "20"))
        moved = f"Generated as {in_words(first)}, moved to {in_words(last)}"
        shows = f"{moved}: the robust classifier paints, the standard one only convinces."
        told.append(Story("Into another class", shows, (*images, *targets, *stronger, *rows)))
    if control:
        shorter = (("steps", "30"), ("step_size", "0.5"))
        query = (("tab", "every-class"), ("classifier", robust), *shorter, (RUN, "aligned"))
        told.append(Story("Why robust?", "One image towards every class, robust beside standard (P1 Fig. 2).", query))
    return told


def _strong(size: tuple[int, int]) -> float:
    """An ε that shows another class, 5 at 32 pixels."""
    return round(5 * (size[0] * size[1]) ** 0.5 / 32, 1)


def stories_html() -> str:
    """The stories side by side, as HTML."""
    return f'<nav class="stories" aria-label="Stories">{"".join(story.html for story in stories())}</nav>'
