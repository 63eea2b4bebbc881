"""The bundled demo model: a small Kandinsky 3 that paints landscapes, and all that it was made with.

``python -m engines.demo.train`` makes it anew; README.md beside this file is its model card. Serving needs
only the ``weights`` folder and imports nothing from here.
"""
