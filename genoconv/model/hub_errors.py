"""From what the Hugging Face client raises to what happened, where, and what to do about it."""

import errno

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from genoconv.errors import EnvironmentProblem, GenoconvError, ModelError, UsageError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
# The client speaks through requests in some versions and through httpx in others: by name, not by import.
_NETWORK_ERRORS = {"TransportError", "RequestException", "ConnectionError", "TimeoutError"}
_SHORT_FILE = "Consistency check failed"


def explain(error: Exception, wanted: str, name: str) -> GenoconvError:
    """What to tell a person.

    Args:
        error: What the client raised.
        wanted: REPOSITORY@REVISION.
        name: The file that was being looked for.

    Returns:
        The error to raise instead.
    """
    if isinstance(error, OSError) and error.errno in (*_DISK_FULL, *_NOT_WRITABLE):
        return _disk(error, wanted, name)
    if isinstance(error, HFValidationError):
        return UsageError(
            f"{wanted} is not the name of a hub repository",
            fix="a repository is written ORGANISATION/REPOSITORY; the public models: genoconv models list",
        )
    if isinstance(error, OfflineModeIsEnabled):
        return EnvironmentProblem(
            "a download is needed, but HF_HUB_OFFLINE is set",
            where=wanted,
            fix="unset HF_HUB_OFFLINE, or give the model as a folder",
        )
    if isinstance(error, LocalEntryNotFoundError) or _is_network(error):
        return EnvironmentProblem(
            f"cannot reach {constants.ENDPOINT}, or it stopped answering",
            where=f"{name} of {wanted}: {_first_line(error.__cause__ or error)}",
            fix="check the network and HTTPS_PROXY, then run the same command again; "
            "or pull the model elsewhere and copy HF_HOME, or give it as a folder",
        )
    return _refused(error, wanted, name)


def broke_off(error: Exception) -> bool:
    """Whether a transfer ended early, so that the same call continues or repeats it."""
    return _is_network(error) or _SHORT_FILE in str(error)


def _is_network(error: Exception) -> bool:
    """Whether no answer, or only a part of one, came over the network."""
    if isinstance(error, HfHubHTTPError):
        return False
    return any(kind.__name__ in _NETWORK_ERRORS for kind in type(error).__mro__)


def _refused(error: Exception, wanted: str, name: str) -> GenoconvError:
    """The errors that the server, or the client itself, reports."""
    on_hub = f"on {constants.ENDPOINT}"
    if isinstance(error, GatedRepoError):
        return ModelError(
            f"{wanted} is there, but its owners want to be asked first",
            where=on_hub,
            fix="accept the terms on its page, then set HF_TOKEN or run: hf auth login",
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(
            f"there is no repository {wanted.rpartition('@')[0]}, or it is private",
            where=on_hub,
            fix="check the spelling (the public models: genoconv models list); for a private one set HF_TOKEN",
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelError(
            f"the repository has no such revision: {wanted}", where=on_hub, fix="give a branch, a tag or a full commit"
        )
    if isinstance(error, EntryNotFoundError):
        return ModelError(
            f"the repository has no {name}",
            where=f"{wanted} {on_hub}",
            fix="check that it is a HyenaDNA model; the public ones: genoconv models list",
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    happened = f"the server answered {status}" if status else "the download failed"
    return EnvironmentProblem(
        f"{happened}: {_first_line(error)}",
        where=f"{name} of {wanted} {on_hub}",
        fix="run the same command again later",
    )


def _disk(error: OSError, wanted: str, name: str) -> EnvironmentProblem:
    """The cache cannot be written."""
    full = error.errno in _DISK_FULL
    return EnvironmentProblem(
        f"{'no space left' if full else 'not allowed'} to store {name} of {wanted}: {error.strerror}",
        where=str(error.filename or constants.HF_HUB_CACHE),
        fix=f"{'free some space' if full else 'make the folder writable'}, or set HF_HOME to another folder",
    )


def _first_line(error: BaseException) -> str:
    """The head of a message that may go on for a paragraph."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
