"""A policy walked through markets it was trained in, and others; what is said of that: `evaluation.generalisation`."""
