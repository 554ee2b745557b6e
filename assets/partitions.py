"""How materializations are keyed: one key of `training_run` is one training run, resumable and comparable."""

import dagster as dg

training_run = dg.DynamicPartitionsDefinition(name="training_run")
