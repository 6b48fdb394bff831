"""The whole page: its tabs, and how it is served."""

from __future__ import annotations

import os
from typing import Any

import gradio as gr
from starlette.requests import ClientDisconnect

from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.experiments import boost_opening as boosting
from bigroc_core.experiments import compare as comparing
from bigroc_core.experiments import debias, every_class, interpolate
from bigroc_core.experiments import threat_models as threats
from bigroc_core.limits import KEEP_FILES_SECONDS, MAX_OWN_CHECKPOINT_BYTES, MAX_QUEUE_LENGTH, MAX_UPLOAD_BYTES
from bigroc_core.ui import (
    about_tab,
    boost_tab,
    compare_panel,
    controls,
    debias_tab,
    evaluate_tab,
    figures_tab,
    generators_tab,
    interpolate_tab,
    kept,
    links,
    threat_models_tab,
)
from bigroc_core.ui.downloads import sweep_regularly as sweep_regularly
from bigroc_core.ui.errors import refuse_plainly, upload_broken_off, upload_without_room
from bigroc_core.ui.own_checkpoint import know_visitors
from bigroc_core.ui.sessions import give_back_memory_regularly as give_back_memory_regularly
from bigroc_core.ui.sessions import keep_sessions_light
from bigroc_core.ui.stories import stories_html
from bigroc_core.ui.theme import CSS, KEYBOARD_JS, theme
from bigroc_core.ui.values import OF_CLASSIFIERS

# Events that Gradio has in hand at once: those that wait for their turn to compute, and looks at what is there.
MOST_EVENTS = 2 * MAX_QUEUE_LENGTH

INTRODUCTION = """<h1>BIGRoC</h1><p>Make generated images better: each is moved, a little, towards its class along the
gradients of a robust classifier. Choose images, move the strength, press Boost.</p>"""


def build_page(live: bool = True, checkpoints: bool = False) -> gr.Blocks:
    """The page. ValueError if checkpoints/ holds no classifier or no generator.

    live: whether moving the strength shows pictures computed beforehand. checkpoints: whether visitors may send
    classifiers of their own.
    """
    if not classifier_cards() or not generator_cards():
        raise ValueError(
            "checkpoints/ holds no classifier or no generator: clone the whole repository, or train them "
            "with `python -m bigroc_core train`"
        )
    with gr.Blocks(
        title="BIGRoC: boost generated images",
        analytics_enabled=False,
        delete_cache=(KEEP_FILES_SECONDS // 6, KEEP_FILES_SECONDS),
    ) as page:
        controls.html(INTRODUCTION + stories_html(), elem_id="head")
        with gr.Tabs() as tabs:
            with gr.Tab("Boost", id="boost"):
                boost, form, back, taken = boost_tab.build(boosting.opening(), live, checkpoints)
                restorable = [compare_panel.build(comparing.opening(), boost, form)]
            with gr.Tab("Debias", id="debias"):
                restorable.append(debias_tab.build(debias.opening()))
            with gr.Tab("Threat models", id=threat_models_tab.TAB):
                restorable += threat_models_tab.build(threats.opening(), every_class.opening())
            with gr.Tab("Interpolate", id="interpolate"):
                restorable.append(interpolate_tab.build(interpolate.opening()))
            with gr.Tab("Evaluate", id="evaluate"):
                evaluation = evaluate_tab.build()
                restorable += [evaluation] if evaluation else []
            with gr.Tab("Figures", id="figures"):
                restorable.append(figures_tab.build())
            with gr.Tab("Generators", id="generators") as listing:
                generators_tab.build(listing)
            with gr.Tab("About", id="about"):
                about_tab.build()
            restorable += [links.nothing_but(tab) for tab in ("generators", "about")]
        shared = {id(made): made for one in restorable for made in one.shared.values()}
        taken([made for made in shared.values() if getattr(made, OF_CLASSIFIERS, False)])
        kept.bring_back(links.follow_links(page, tabs, restorable), form, back)
        page.load(None, None, None, js=kept.address_js(restorable), api_visibility="private")
    refuse_plainly(page)
    keep_sessions_light(page)
    know_visitors(page, checkpoints)
    # Gradio would make a table of all earlier events' times after each of them.
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")
    # Whoever computes waits for its turn there (turns.py), and not in Gradio's queue, which knows no visitors.
    page.queue(max_size=MOST_EVENTS, default_concurrency_limit=1)
    return page


def launch_options(checkpoints: bool = False) -> dict[str, Any]:
    """How the page is served, wherever it runs. checkpoints: whether visitors may send classifiers of their own."""
    return {
        "theme": theme(),
        "css": CSS,
        "js": KEYBOARD_JS,
        "max_file_size": MAX_OWN_CHECKPOINT_BYTES if checkpoints else MAX_UPLOAD_BYTES,
        "show_error": True,
        "footer_links": ["api", "settings"],
        "run_history": False,
        "ssr_mode": False,
        "app_kwargs": {"exception_handlers": {OSError: upload_without_room, ClientDisconnect: upload_broken_off}},
        # Gradio's own limit is on whatever is answered or waits at a time.
        "max_threads": MOST_EVENTS,
        # Before it serves, Gradio would ask itself for the page, and on a busy machine give up after three seconds.
        "_frontend": False,
        # Each session keeps the frames of its last run, a few megabytes.
        "state_session_capacity": 256,
    }
