"""Counts as a person reads them: `1 session`, `2 sessions`."""


def counted(n: int, one: str, many: str = "") -> str:
    """A number and what there are so many of, thousands apart: `1,260 sessions`.

    Args:
        one, many: of a single one and of any other number, 0 too; an s is added to `one` where `many` is left out
    """
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"
