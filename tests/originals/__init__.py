"""The original Kandinsky architectures under their releases' parameter names, and their folders at tiny size.

Own code, written from the published descriptions, to compare what the engines convert with: nothing here
knows diffusers' Kandinsky models, and nothing there knows these.

Of Stable Diffusion and Flux there are names alone: `tests.originals.stable_diffusion` gives the tensors of a
tiny diffusers folder those of the files that people download.

``write(name, folder)`` writes one; ``python -m tests.originals NAME FOLDER`` writes it from a shell.
"""

from tests.originals.catalogue import NAMES, write

__all__ = ["NAMES", "write"]
