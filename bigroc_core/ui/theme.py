"""The page's look: system fonts only, so nothing is fetched from elsewhere, and one accent colour; and its keys."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

CSS = Path(__file__).with_name("style.css").read_text("utf-8")
KEYBOARD_JS = Path(__file__).with_name("keyboard.js").read_text("utf-8")


def theme() -> gr.themes.Base:
    """Indigo on neutral greys, readable in light and dark."""
    return gr.themes.Soft(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        radius_size="md",
        text_size="md",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_shadow="none",
        block_border_width="1px",
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_padding="0",
        block_title_border_width="0px",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_title_text_weight="600",
        block_label_background_fill="*background_fill_primary",
        block_label_background_fill_dark="*background_fill_primary",
        block_label_text_color="*body_text_color_subdued",
        block_label_text_color_dark="*body_text_color_subdued",
        block_label_text_weight="500",
        block_label_text_size="*text_sm",
        block_info_text_size="*text_xs",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_300",
        color_accent="*primary_600",
        # As text they have to stand out from either ground.
        link_text_color_dark="*primary_400",
        link_text_color_visited_dark="*primary_400",
        link_text_color_hover_dark="*primary_300",
        link_text_color_active_dark="*primary_300",
        checkbox_label_background_fill_selected="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        button_secondary_background_fill_hover_dark="*primary_600",
    )
