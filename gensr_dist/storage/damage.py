"""A file that is not what the manifest says: one message, wherever the file lies and whoever finds it."""

from gensr_dist.errors import InputError

REMEDY = "run `gensr prepare` again, or copy the folder again from where it was whole"


class DamagedError(InputError):
    """A listed file is missing, cut short, longer or changed.

    Args:
        where: path or URL of the file.
        expected: bytes that the manifest lists.
        size: bytes found; None if there is no file.
        sha256: hexadecimal SHA-256 of what was found, where it was computed; tells which other shard it is.
    """

    def __init__(self, where: str, *, expected: int, size: int | None, sha256: str = "") -> None:
        if size is None:
            problem = "the manifest lists this file, but it is missing"
        elif size < expected:
            problem = f"the file is cut short: {size} of {expected} bytes"
        elif size > expected:
            problem = f"the file has grown: {size} bytes instead of {expected}"
        else:
            problem = "the file was changed: its checksum does not match the manifest"
        super().__init__(where, problem, REMEDY)
        self.size = size
        self.sha256 = sha256
