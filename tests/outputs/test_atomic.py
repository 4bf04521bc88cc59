"""An output appears whole or not at all: locks, leftovers, full disks, signals, kill -9."""

import errno
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genoconv.errors import OutputError
from genoconv.outputs.atomic import AtomicFile
from genoconv.outputs.lock import OutputLock
from genoconv.outputs.store import EmbeddingWriter
from genoconv.outputs.verification import verify

ROOT = Path(__file__).resolve().parents[2]

WRITE_ONE = """
import sys
import numpy as np
from genoconv.outputs.store import EmbeddingWriter

RECORDS = 4000
VALUES = np.random.default_rng(0).standard_normal((RECORDS, 128), dtype="f4")


def write_one(path):
    ids = [str(row) for row in range(RECORDS)]
    with EmbeddingWriter(
        path, ids=ids, d_model=128, poolings=["mean"], layers=[1], obs={"name": ids}, overwrite=True
    ) as writer:
        for row in range(0, RECORDS, 100):
            writer.write(row, "mean", 1, VALUES[row : row + 100])
        writer.commit({})
"""

KILLED = """
write_one(sys.argv[2])
print("ready", flush=True)
while True:
    write_one(sys.argv[1])
"""

# Both scripts end with a normal exit: HDF5 has its say there too, and used to die of what it could not write.
FULL_DISK = """
import os, resource
from pathlib import Path
from genoconv.errors import OutputError

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_one(sys.argv[1])
        print("complete", flush=True) if limit > 1 << 22 else None
    except OutputError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print(len(os.listdir(Path(sys.argv[1]).parent)), error.what, flush=True)
"""

SIGNALLED = """
import os, signal
from pathlib import Path
from genoconv.errors import Interrupted


def interrupt(number, frame):
    raise Interrupted(signal.Signals(number))


signal.signal(signal.SIGALRM, interrupt)
for delay in map(float, sys.argv[2:]):
    try:
        # Again and again: Python drops what a handler raises while it clears an object away.
        signal.setitimer(signal.ITIMER_REAL, delay, 0.2)
        while True:
            write_one(sys.argv[1])
    except Interrupted:
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(sorted(name for name in os.listdir(Path(sys.argv[1]).parent) if name.endswith(".part")), flush=True)
"""


def script(body: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", WRITE_ONE + body, *map(str, arguments)]


def run_script(body: str, *arguments: object) -> list[str]:
    done = subprocess.run(script(body, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.splitlines()


def lock_text(**changes: object) -> str:
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "started": "1", "job": "", "restart": 0}
    return json.dumps(owner | changes)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_kill_9_leaves_nothing_or_the_whole(tmp_path: Path) -> None:
    path, whole = tmp_path / "folder" / "genes.h5", tmp_path / "whole.h5"
    path.parent.mkdir()
    chance = random.Random(0)
    for _ in range(10):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen(script(KILLED, path, whole), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(chance.random() * 0.1)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        assert not path.exists() or path.read_bytes() == whole.read_bytes()
    assert verify(whole) == []
    with EmbeddingWriter(
        path, ids=["a"], d_model=1, poolings=["mean"], layers=[1], obs={}, overwrite=True
    ) as writer_now:
        writer_now.write(0, "mean", 1, np.ones((1, 1), np.float32))
        writer_now.commit({})
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    chance = random.Random(1)
    limits = [50, 600, 3000, *(chance.randrange(4000, 2_300_000) for _ in range(30))]
    lines = run_script(FULL_DISK, tmp_path / "genes.h5", *limits, 1 << 23)
    refusal = "0 the output cannot be written: the file grew beyond the size that is allowed here"
    assert lines == [refusal] * len(limits) + ["complete"]


def test_a_signal_while_hdf5_writes_leaves_nothing_and_no_crash(tmp_path: Path) -> None:
    chance = random.Random(2)
    delays = [0.002 + 0.12 * chance.random() for _ in range(25)]
    assert run_script(SIGNALLED, tmp_path / "genes.h5", *delays) == ["[]"] * 25
    assert verify(tmp_path / "genes.h5") in ([], ["there is no such file"])


def test_two_writers_of_one_output(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "genes.h5"):
        with pytest.raises(OutputError, match="another process is writing") as refused:
            AtomicFile(tmp_path / "genes.h5", overwrite=True)
        assert f"process {os.getpid()} on {socket.gethostname()}" in refused.value.what
        assert ".genes.h5.lock" in refused.value.fix
        AtomicFile(tmp_path / "other.h5").discard()
    AtomicFile(tmp_path / "genes.h5").discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({}, True),  # our process id, but another start: the id was used again
        ({"pid": -1}, True),  # a dead process
        ({"host": "elsewhere", "pid": -1}, False),
        ({"host": "elsewhere", "job": "77", "restart": 0}, True),  # Slurm started this job again
        ({"host": "elsewhere", "job": "77", "restart": 1}, False),
        ({"host": "elsewhere", "job": "78"}, False),
        ({"pid": 1, "started": "?"}, False),
        ({"started": None, "pid": "x"}, False),
    ],
)
def test_which_locks_are_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], stale: bool
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    changes = changes | ({"pid": dead_pid()} if changes.get("pid") == -1 else {})
    lock = tmp_path / ".genes.h5.lock"
    lock.write_text(lock_text(**changes))
    if stale:
        AtomicFile(tmp_path / "genes.h5").discard()
        assert list(tmp_path.iterdir()) == []
    else:
        with pytest.raises(OutputError, match="another process is writing"):
            AtomicFile(tmp_path / "genes.h5")
        assert lock.read_text() == lock_text(**changes)
        assert list(tmp_path.iterdir()) == [lock]


def test_a_lock_that_says_nothing_is_respected(tmp_path: Path) -> None:
    (tmp_path / ".genes.h5.lock").write_text("")
    with pytest.raises(OutputError, match="its lock file is unreadable"):
        AtomicFile(tmp_path / "genes.h5")


def test_a_lock_that_this_process_lost_is_taken_over(tmp_path: Path) -> None:
    lock = OutputLock(tmp_path / "genes.h5")
    text = (tmp_path / ".genes.h5.lock").read_text()
    lock.release()
    (tmp_path / ".genes.h5.lock").write_text(text)
    AtomicFile(tmp_path / "genes.h5").discard()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with AtomicFile(tmp_path / "genes.h5"), pytest.raises(OutputError, match="another process"):
        AtomicFile(tmp_path / "genes.h5")
    assert list(tmp_path.iterdir()) == []


def test_only_leftovers_of_this_output_are_removed(tmp_path: Path) -> None:
    mine = [".g*.h5.123.part", f".g*.h5.{dead_pid()}.lock"]
    others = [".genes.h5.123.part", ".g*.h5.x.part", "g*.h5.123.part", ".g*.h5.bak", f".g*.h5.{os.getppid()}.lock"]
    for name in mine + others:
        (tmp_path / name).touch()
    AtomicFile(tmp_path / "g*.h5").discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_a_lock_taken_by_somebody_else_stops_the_publication(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "genes.h5") as place:
        place.temporary.write_bytes(b"new")
        (tmp_path / ".genes.h5.lock").write_text(lock_text(host="elsewhere"))
        with pytest.raises(OutputError, match="took over"):
            place.publish()
    assert [path.name for path in tmp_path.iterdir()] == [".genes.h5.lock"]


def test_an_output_that_appeared_meanwhile_is_kept(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "genes.h5") as place:
        place.temporary.write_bytes(b"new")
        (tmp_path / "genes.h5").write_bytes(b"somebody's")
        with pytest.raises(OutputError, match="--force"):
            place.publish()
    assert (tmp_path / "genes.h5").read_bytes() == b"somebody's"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "genes.h5").symlink_to(tmp_path / "elsewhere" / "real.h5")
    with AtomicFile(tmp_path / "genes.h5") as place:
        place.temporary.write_bytes(b"new")
        place.publish()
    assert (tmp_path / "genes.h5").is_symlink()
    assert (tmp_path / "elsewhere" / "real.h5").read_bytes() == b"new"


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path / "missing" / "genes.h5", "the folder does not exist"),
        (tmp_path / "file" / "genes.h5", "a part of the path is a file"),
        (tmp_path / ("x" * 250), "the file name is too long"),
        (tmp_path, "the output is a folder"),
    ):
        with pytest.raises(OutputError, match=reason) as refused:
            AtomicFile(path)
        assert refused.value.where == str(path)
        assert refused.value.fix


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission"):
        AtomicFile(tmp_path / "genes.h5")


def test_more_than_the_disk_holds(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="are free") as refused:
        AtomicFile(tmp_path / "genes.h5", needed_bytes=10**18)
    assert "--dtype f2" in refused.value.fix
    assert list(tmp_path.iterdir()) == []
