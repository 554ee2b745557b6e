"""Words for the errors that are not ours: what the file system says, as a sentence with a remedy."""


def of_file_system(error: Exception) -> bool:
    """Whether the file system refused: directly, or below a library that wraps it in an exception of its own."""
    return isinstance(error, OSError) or "(os error " in str(error)


def file_system_sentence(error: Exception) -> str:
    """What could not be used and why, what was expected, and what to do."""
    what = getattr(error, "filename", None) or "the disk"
    why = getattr(error, "strerror", None) or " ".join(str(error).split())
    return (
        f"cannot use {what}: {why}. Expected a place that can be read and written, with space left. Mend it or name "
        "another place, and run the same command again: nothing that was finished is lost."
    )
