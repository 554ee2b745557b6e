"""Words for the errors that are not ours: what the file system says, as a sentence with a remedy."""


def file_system_sentence(error: OSError) -> str:
    """What could not be used and why, what was expected, and what to do."""
    what = error.filename if error.filename is not None else "the disk"
    return (
        f"cannot use {what}: {error.strerror or error}. Expected a place that can be read and written, with "
        "space left. Mend it or name another place, and run the same command again: nothing that was finished is lost."
    )
