"""The project's definitions with steps in one process: what the year of weekly ticks loads."""

import dagster as dg

from orchestration.definitions import build_defs

defs = build_defs(executor=dg.in_process_executor)
