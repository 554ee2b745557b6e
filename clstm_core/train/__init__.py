"""Training: the loop, the run on disk, and the command line (`python -m clstm_core.train`)."""
