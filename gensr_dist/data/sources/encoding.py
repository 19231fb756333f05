"""Files that are no text in UTF-8, told by their first bytes, so that the error says what they are."""

from gensr_dist.data.sources.raw_files import GZIP_MAGIC
from gensr_dist.errors import InputError

_WIDE_BYTES = 64  # of a beginning that tell UTF-16
_COMPRESSED = "compressed in another way than gzip", "unpack it"
_KINDS = {  # of first bytes; gzip was unpacked once
    b"PK\x03\x04": ("a zip archive or a spreadsheet (.xlsx)", "unpack it, or save the sheet as CSV in UTF-8"),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet (.xls)", "save the sheet as CSV in UTF-8"),
    b"PAR1": ("Parquet", "write it as text, or give it a name that ends in .parquet if it is one of your own tables"),
    GZIP_MAGIC: ("gzip within gzip", "unpack it once"),
    b"\x28\xb5\x2f\xfd": _COMPRESSED,  # zstd
    b"\xfd7zXZ\0": _COMPRESSED,
    b"BZh91AY&SY": _COMPRESSED,
}
KIND_BYTES = max(map(len, _KINDS))


def refuse_other_kinds(file: str, beginning: bytes) -> None:
    """Refuse archives, spreadsheets and Parquet.

    Args:
        file: path or URL.
        beginning: its first bytes, at least `KIND_BYTES` if it has so many, after decompression.

    Raises:
        InputError: what begins so is one.
    """
    for magic, (kind, remedy) in _KINDS.items():
        if beginning.startswith(magic):
            raise InputError(file, f"the file is {kind}, expected UTF-8 text", remedy)


def refuse_wide(file: str, beginning: bytes) -> None:
    """Refuse UTF-16 and UTF-32, which write letters with zero bytes.

    Raises:
        InputError: the text that begins so is not UTF-8.
    """
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in beginning[:_WIDE_BYTES]:
        raise InputError(file, "the file is UTF-16 or holds zero bytes, expected UTF-8 text", "save the file as UTF-8")


def refuse_lone_returns(file: str, header: bytes | bytearray) -> None:
    """Refuse a header with a CR that no LF follows, outside quotes.

    Raises:
        InputError: there is one.
    """
    at = header.replace(b"\r\n", b"\n\n").rstrip(b"\r").find(b"\r")
    if at >= 0 and header.count(b'"', 0, at) % 2 == 0:
        problem = "lines end with CR alone, expected LF or CR LF"
        raise InputError(file, problem, "convert its line ends, as with `tr '\\r' '\\n'`")
