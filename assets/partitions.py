"""How materializations are keyed: a training run by its name, a vendor's files by the month of their sessions."""

import dagster as dg

training_run = dg.DynamicPartitionsDefinition(name="training_run")
session_month = dg.MonthlyPartitionsDefinition(start_date="2000-01-01", end_offset=1)
"""From January 2000 to the month that runs."""
