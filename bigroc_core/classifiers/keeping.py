"""Loaded classifiers, kept for whoever computes with them next, up to so many bytes of weights."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakValueDictionary

from bigroc_core.classifiers.networks import Classifier

Key = tuple[str, str]


class KeptClassifiers:
    """Classifiers by name and device, each loaded once for all.

    load: makes one. most: how many bytes of weights are kept beyond those that `free` names, which always stay; the
    least recently used go first, but never the last one used. One that has gone and is still computed with is not
    loaded a second time.
    """

    def __init__(self, load: Callable[[str, str], Classifier], most: int, free: Callable[[str], bool]) -> None:
        self._load, self._most, self._free = load, most, free
        self._lock = threading.Lock()
        self._loading: dict[Key, threading.Lock] = {}
        self._forget()

    def __call__(self, name: str, device: str) -> Classifier:
        """The classifier of that name on that device; raises what loading it does."""
        key = (name, device)
        with self._lock:
            if (there := self._again(key)) is not None:
                return there
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:  # others wait for this one, and for no other
            with self._lock:
                if (there := self._again(key)) is not None:
                    return there
            classifier = self._load(name, device)
            size = 0 if self._free(name) else _bytes(classifier)
            with self._lock:
                self._alive[key], self._sizes[key] = classifier, size
                self._keep(key, classifier)
            return classifier

    def cache_clear(self) -> None:
        """Load all anew when they are next wanted."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._kept: OrderedDict[Key, Classifier] = OrderedDict()
        self._alive: WeakValueDictionary[Key, Classifier] = WeakValueDictionary()
        self._sizes: dict[Key, int] = {}

    def _again(self, key: Key) -> Classifier | None:
        there = self._alive.get(key)
        if there is not None:
            self._keep(key, there)
        return there

    def _keep(self, key: Key, classifier: Classifier) -> None:
        self._kept[key] = classifier
        self._kept.move_to_end(key)
        total = sum(self._sizes[one] for one in self._kept)
        for one in list(self._kept)[:-1]:
            if total > self._most and self._sizes[one]:
                total -= self._sizes[one]
                del self._kept[one]


def _bytes(classifier: Classifier) -> int:
    return sum(tensor.nbytes for tensor in (*classifier.parameters(), *classifier.buffers()))
