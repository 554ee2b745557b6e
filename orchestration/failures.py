"""What failed in a launch, in the words of whoever refused it: for the command line and for who is told of failures."""

from collections.abc import Iterable
from typing import Any

import dagster as dg
from dagster import DagsterEventType

_FAILED, _CHECKED = DagsterEventType.STEP_FAILURE, DagsterEventType.ASSET_CHECK_EVALUATION


def failed_checks(events: Iterable[dg.DagsterEvent]) -> dict[str, dg.AssetCheckSeverity]:
    """A sentence per check that did not pass, and how grave that is."""
    found = [event.asset_check_evaluation_data for event in events if event.event_type == _CHECKED]
    return {
        f"check {check.check_name} of {check.asset_key.path[-1]} failed: {check.description}": check.severity
        for check in found
        if not check.passed
    }


def failures(events: Iterable[dg.DagsterEvent]) -> list[str]:
    """A sentence per failure: errors, or where there is none the checks that blocked; empty where nothing failed."""
    events = list(events)
    failed = [event for event in events if event.event_type == _FAILED]
    errors = [_sentence(event) for event in failed if not _is_check_failure(event)]
    checks = [words for words, severity in failed_checks(events).items() if severity == dg.AssetCheckSeverity.ERROR]
    return errors or checks or [_sentence(event) for event in failed]


def kept_failures(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The same of a launch that another process ran, from what the instance keeps of it."""
    entries = instance.all_logs(run_id, of_type={_FAILED, _CHECKED})
    return failures(event for entry in entries if (event := entry.dagster_event) is not None)


def _is_check_failure(event: dg.DagsterEvent) -> bool:
    """Whether a step only failed because a blocking check did: the check's own words say more."""
    error: Any = event.event_specific_data
    return error.error is not None and error.error.cls_name == "DagsterAssetCheckFailedError"


def _sentence(event: dg.DagsterEvent) -> str:
    """The user's sentence of a failed step; the innermost error where it is not one of ours."""
    data: Any = event.event_specific_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message.strip().splitlines()[-1] if error else 'failed'}"
