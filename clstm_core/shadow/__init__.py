"""Shadow mode: a bundle decides on quotes as they arrive; its orders fill in the simulator alone, all is logged."""
