"""What is asked of a run's evidence: that it follows from the past, from training dates and from the books.

Nothing here is computed by the code that it judges: features, scalers, choices and figures are made anew from canonical
tables, ledgers and the files of checkpoints.
"""
