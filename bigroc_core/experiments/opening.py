"""Make all examples that the page opens with anew, after models or settings have changed."""

from __future__ import annotations

from bigroc_core.experiments import boost_opening, compare, debias, interpolate, threat_models

if __name__ == "__main__":
    for experiment in (boost_opening, compare, debias, threat_models, interpolate):
        experiment.keep_opening()
