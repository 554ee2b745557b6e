"""Shadow mode: a bundle's policy decides on quotes as they arrive, its orders fill in the simulator alone, all is logged."""
