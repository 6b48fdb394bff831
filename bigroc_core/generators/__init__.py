"""Generators: networks by family, the registry, sampling."""
