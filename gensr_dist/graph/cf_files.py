"""Names of the files of CF vectors; read without numpy, for commands that only look whether they are there."""

RECORD = "lightgcn.json"


def table_name(fold: int | str) -> str:
    """The items' vectors of the graph without a fold."""
    return f"items_without_{fold}.npy"
