"""Kandinsky's weights as first released, turned into the components that diffusers stores and loads."""
