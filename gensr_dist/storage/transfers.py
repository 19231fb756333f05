"""Calls to a remote storage: what may pass is tried again, what does not becomes one line for the user."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from gensr_dist.errors import InputError

if TYPE_CHECKING:
    import fsspec

_ATTEMPTS = 3  # besides the retries of the storage's own client
_PAUSE_S = 0.5  # before the second attempt, twice as long before each further one
CREDENTIALS = "set the credentials in the environment, for example AWS_PROFILE or GOOGLE_APPLICATION_CREDENTIALS"
_CLIENTS = {
    "s3": "pip install 'gensr_dist[s3]'",
    "s3a": "pip install 'gensr_dist[s3]'",
    "gs": "pip install gcsfs",
    "gcs": "pip install gcsfs",
}
_Value = TypeVar("_Value")


class NotFoundError(Exception):
    """There is no such object or folder."""


def require_client(scheme: str, where: str) -> "type[fsspec.AbstractFileSystem]":
    """The fsspec class that opens URLs of a scheme.

    Raises:
        InputError: fsspec does not know the scheme, or its package is not installed.
    """
    import fsspec  # local folders do without it

    try:
        return fsspec.get_filesystem_class(scheme)
    except ValueError:
        raise InputError(
            where, f"fsspec knows no storage {scheme}://", "use a path or a URL such as s3://, gs:// or hdfs://"
        ) from None
    except ImportError as error:
        remedy = _CLIENTS.get(scheme, "install the package that fsspec names for it")
        raise InputError(where, f"the package for {scheme}:// is missing ({error})", remedy) from None


def attempt(action: Callable[[], _Value], where: str) -> _Value:
    """Do something with the storage; failures that may pass are tried again.

    Args:
        action: may be called several times.
        where: URL for messages.

    Raises:
        NotFoundError: there is no such object.
        InputError: no such bucket, access is denied, the URL is malformed, or the last attempt failed too.
    """
    first: Exception | None = None  # says more than what follows it, such as "a prior attempt failed"
    for number in range(1, _ATTEMPTS + 1):
        try:
            return action()
        except InputError:
            raise
        except Exception as error:
            explained = _explain(error, where)
            if explained is not None:
                raise explained from None
            if type(error).__module__ == "builtins" and not isinstance(error, OSError):
                raise  # a bug of ours
            first = first or error
            if number == _ATTEMPTS:
                raise InputError(
                    where,
                    f"the storage does not answer as expected ({_shown(first)})",
                    "check network, URL and endpoint (for s3 the variable AWS_ENDPOINT_URL), then start again",
                ) from None
        time.sleep(_PAUSE_S * 2 ** (number - 1))
    raise AssertionError


def _explain(error: Exception, where: str) -> Exception | None:
    """What to raise for a failure that stays; None for one that may pass."""
    if isinstance(error, FileNotFoundError):
        if "bucket does not exist" in str(error):
            return InputError(where, "there is no such bucket", "create it or correct the URL")
        return NotFoundError(where)
    if isinstance(error, PermissionError):
        return InputError(where, f"access was denied ({_shown(error)})", CREDENTIALS)
    kind = type(error).__name__
    if "Credential" in kind or "Auth" in kind or "Token" in kind:
        return InputError(where, f"the storage wants credentials ({_shown(error)})", CREDENTIALS)
    if "Validation" in kind or "Profile" in kind or isinstance(error, NotImplementedError):
        return InputError(where, f"the storage refuses this URL or call ({_shown(error)})", "correct the URL")
    return None


def _shown(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "..."
