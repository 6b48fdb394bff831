"""Classifiers: the networks, reading checkpoints, finding them by name."""
