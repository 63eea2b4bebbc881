"""Tiny pipelines with random weights, built offline: real classes, 0.4 to 12 MB each.

``build(name, folder)`` writes one; ``python -m tests.tiny FOLDER [NAME ...]`` writes them from a shell.
"""

from tests.tiny.catalogue import NAMES, build

__all__ = ["NAMES", "build"]
