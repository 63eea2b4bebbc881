"""Checkpoints that want to run something, to read what is not theirs, or to take all time and memory.

`corpus.CASES` are all of them by name: `pickles`, `archives` (zip and tar files), `headers` (safetensors files
and packs) and `folders` (models of several files). `canary` tells whether one got through; `doors` goes
through every door of the engines with all of them, watched.
"""
