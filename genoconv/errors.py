"""Everything that can go wrong in a way a person can mend: what happened, where, and what to do about it."""

from signal import Signals


class GenoconvError(Exception):
    """An expected failure, told in three short parts.

    Attributes:
        what: What was expected and what was found, in one sentence.
        where: File, record, position (empty if the fault is not tied to a place).
        fix: What the person can do about it (empty if nothing sensible can be said).
        exit_code: The exit code of the command line when this error ends the run.
    """

    exit_code: int = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.where and f"where: {self.where}", self.fix) if part)


class UsageError(GenoconvError):
    """Options that do not fit together or are out of range."""

    exit_code = 2


class InputError(GenoconvError):
    """Input that cannot be read as what it should be."""

    exit_code = 2


class ModelError(GenoconvError):
    """A model that is missing, damaged or not a HyenaDNA model that this program can run."""

    exit_code = 4


class EnvironmentProblem(GenoconvError):
    """The machine lacks something: a device, memory, a package, the network."""

    exit_code = 4


class OutputError(GenoconvError):
    """The result cannot be written or is not what was promised: disk full, no permission, already there."""

    exit_code = 4


class Interrupted(GenoconvError):
    """A signal ended the run before it was complete; the same command can be started again.

    Attributes:
        signal: What ended it; SIGALRM for a time limit of its own.
        exit_code: 130 after Ctrl-C, 75 ("try again") after any other signal.
    """

    exit_code = 75

    def __init__(self, signal: Signals) -> None:
        what = "the time limit is near" if signal.name == "SIGALRM" else f"interrupted by {signal.name}"
        super().__init__(what, fix="start the same command again; it goes on where it stopped")
        self.signal = signal
        if signal is Signals.SIGINT:
            self.exit_code = 130

    def __reduce__(self) -> "tuple[type[Interrupted], tuple[Signals]]":
        """Travels between processes as the signal alone."""
        return type(self), (self.signal,)
