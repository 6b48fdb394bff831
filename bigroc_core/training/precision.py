"""The precision that a machine trains fastest in, as the engine tells."""

from bigroc_core.engine.precision import fastest_precision

__all__ = ["fastest_precision"]
