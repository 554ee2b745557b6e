"""The pipeline's own controls: a recipe in worlds whose edge is known, with nothing to find and with something."""
