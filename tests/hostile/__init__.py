"""Checkpoints that want to run something, to read what is not theirs, or to take all time and memory.

`corpus.CASES` are all of them by name: `pickles`, `archives` (zip and tar files), `headers` (of safetensors
files), `packs`, `folders` and `links` (of diffusers) and `releases` (models with pickled parts). `canary`
tells whether one got through; ``python -m tests.hostile`` goes through every door of the engines with them,
watched.
"""
