"""Checkpoint formats: how a model is recognised on disk, without loading or executing anything.

`weights` reads the tensor names, types and shapes of a file; `diffusers_folder` the index of a
saved pipeline; `single_file` tells what a lone file is; `preset` reads what a model's author states.
Whatever is damaged raises `engines.errors.NotLoadable` with a reason in words.
"""
