"""The real Hugging Face client, in processes of its own, against a small hub on 127.0.0.1 that can misbehave."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import genoconv
from genoconv.model.catalogue import PUBLIC_MODELS

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "some-lab/some-model"


@dataclass(frozen=True)
class Request:
    """What the server saw and did."""

    method: str
    path: str
    range: str | None
    sent: int


@dataclass
class Hub:
    """One repository, its files, and the mischief that is planned.

    Attributes:
        files: Contents by name.
        commit: What the branch main stands for.
        drop_after: Bytes of a weight file after which the connection is cut, for the next so many downloads.
        claimed_sha256: Reported instead of the true SHA-256 of the weights.
        status: Answered to everything instead of the files.
    """

    files: dict[str, bytes]
    repository: str = REPOSITORY
    commit: str = COMMIT
    drop_after: list[int] = field(default_factory=list)
    claimed_sha256: str | None = None
    status: int | None = None
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    storage_url: str = ""

    def downloads(self) -> list[Request]:
        """The requests that were answered with contents (the client has questions of its own under /api)."""
        return [request for request in self.requests if request.sent]

    def large_bytes(self) -> int:
        """Bytes of weights that went over the wire."""
        return sum(request.sent for request in self.downloads() if not request.path.endswith("config.json"))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: object) -> None:
        """Stay quiet."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        sent = 0
        if self.hub.status is not None:
            self._error(HTTPStatus(self.hub.status), "")
        elif self.path.startswith("/storage/"):
            sent = self._file(self.path.removeprefix("/storage/"), with_body=with_body)
        elif not self.path.startswith(f"/{self.hub.repository}/resolve/"):
            self._error(HTTPStatus.NOT_FOUND, "RepoNotFound")
        else:
            revision, _, name = self.path.removeprefix(f"/{self.hub.repository}/resolve/").partition("/")
            if revision not in ("main", self.hub.commit):
                self._error(HTTPStatus.NOT_FOUND, "RevisionNotFound")
            elif name not in self.hub.files:
                self._error(HTTPStatus.NOT_FOUND, "EntryNotFound")
            elif name == "config.json":
                sent = self._file(name, with_body=with_body)
            else:
                self._redirect(name)
        self.hub.requests.append(Request(self.command, self.path, self.headers["Range"], sent))

    def _error(self, status: HTTPStatus, code: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("X-Repo-Commit", self.hub.commit)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()

    def _redirect(self, name: str) -> None:
        """Large files lie on another host; what the hub knows of them is in the headers."""
        content = self.hub.files[name]
        self.send_response(HTTPStatus.FOUND)
        self.send_header("Location", f"{self.hub.storage_url}/storage/{name}")
        self.send_header("Content-Length", "0")
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("X-Linked-Etag", f'"{self.hub.claimed_sha256 or hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.end_headers()

    def _file(self, name: str, *, with_body: bool) -> int:
        content = self.hub.files[name]
        start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0]) if self.headers["Range"] else 0
        self.send_response(HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK)
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.end_headers()
        if not with_body:
            return 0
        body = content[start:]
        if name != "config.json" and self.hub.drop_after:
            body = body[: self.hub.drop_after.pop(0)]
            self.close_connection = True
        self.wfile.write(body)
        self.wfile.flush()
        return len(body)


class Running:
    """A hub that is up while the with block lasts."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        handler = type("Handler", (_Handler,), {"hub": hub})
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
        hub.url = f"http://127.0.0.1:{self._servers[0].server_port}"
        hub.storage_url = f"http://localhost:{self._servers[1].server_port}"

    def __enter__(self) -> Hub:
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self.hub

    def __exit__(self, *exception: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


@dataclass(frozen=True)
class Answer:
    """What a client process printed."""

    result: dict[str, Any]
    words: str


_CLIENT = """
import json, os, sys
from genoconv.errors import GenoconvError
{prelude}
from genoconv.model import hub, names
try:
    found = {call}
    print(json.dumps({{"path": str(getattr(found, "path", None) or found.folder), "weights": str(found.weights),
                       "revision": getattr(found, "revision", None), "name": getattr(found, "name", None)}}))
except GenoconvError as error:
    print(json.dumps({{"error": type(error).__name__, "what": error.what, "where": error.where, "fix": error.fix}}))
"""


def environment(home: Path, endpoint: str, **more: str) -> dict[str, str]:
    """Variables for a client process that knows only the small hub and a cache of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    return {
        **inherited,
        "PYTHONPATH": str(Path(genoconv.__file__).parents[1]),
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **more,
    }


def ask(call: str, variables: Mapping[str, str], *, prelude: str = "") -> Answer:
    """Run one call in a process of its own (the client reads its environment when it is imported).

    Args:
        call: Python that gives a ResolvedModel or a Snapshot; `say` prints a line of words.
        variables: The environment.
        prelude: Python to run first.
    """
    script = _CLIENT.format(call=call, prelude="say = lambda line: print(line, file=sys.stderr)\n" + prelude)
    done = subprocess.run(
        [sys.executable, "-c", script], env=dict(variables), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return Answer(json.loads(done.stdout), done.stderr)


CONFIG = b'{"d_model": 8}'
WEIGHTS = bytes(range(256)) * 2000
"""512,000 bytes: what is in them does not matter to a download."""
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
RESOLVE = f"names.resolve({REPOSITORY!r}, report=say)"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Running(Hub({"config.json": CONFIG, "model.safetensors": WEIGHTS, "modeling_hyena.py": b"evil()"})) as hub:
        yield hub


@pytest.fixture
def online(hub: Hub, tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path / "home", hub.url)


@pytest.fixture
def offline(hub: Hub, tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path / "home", hub.url, HF_HUB_OFFLINE="1")


@pytest.fixture
def unplugged(tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path / "home", "http://127.0.0.1:9")


def cached_blobs(variables: Mapping[str, str]) -> list[Path]:
    """Every file of the cache that holds, or held a part of, the weights."""
    return [path for path in Path(variables["HF_HOME"]).rglob("*") if path.is_file() and path.stat().st_size > 1000]


def is_quiet(words: str) -> bool:
    """Whether neither the client nor Python says anything on its own."""
    return not any(noise in words for noise in ("Traceback", "Warning", "warning", "HF_TOKEN", "symlink", "\r"))


def test_a_fresh_download_fetches_config_and_weights_only(hub: Hub, online: dict[str, str]) -> None:
    answer = ask(RESOLVE, online)
    assert answer.result["revision"] == COMMIT
    assert answer.result["name"] == REPOSITORY
    assert Path(answer.result["weights"]).read_bytes() == WEIGHTS
    assert (Path(answer.result["path"]) / "config.json").read_bytes() == CONFIG
    assert {request.path.rpartition("/")[2] for request in hub.downloads()} == {"config.json", "model.safetensors"}
    assert "downloading model.safetensors (0.5 MB)" in answer.words
    assert is_quiet(answer.words)


def test_the_second_resolve_transfers_nothing_large(hub: Hub, online: dict[str, str]) -> None:
    ask(RESOLVE, online)
    before = hub.large_bytes()
    assert before == len(WEIGHTS)
    again = ask(RESOLVE, online)
    assert hub.large_bytes() == before
    assert again.words == ""


def test_a_pinned_commit_in_the_cache_asks_the_server_nothing(hub: Hub, online: dict[str, str]) -> None:
    call = f"hub.fetch({REPOSITORY!r}, revision={COMMIT!r}, sha256={SHA256!r}, report=say)"
    ask(call, online)
    before = len(hub.requests)
    answer = ask(call, online)
    assert Path(answer.result["weights"]).read_bytes() == WEIGHTS
    assert len(hub.requests) == before


def test_a_dropped_connection_resumes_where_it_stopped(hub: Hub, online: dict[str, str]) -> None:
    hub.drop_after = [200_000, 100_000]
    small_chunks = "from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = 50_000"
    answer = ask(RESOLVE, online, prelude=small_chunks)
    assert Path(answer.result["weights"]).read_bytes() == WEIGHTS
    assert [request.range for request in hub.downloads() if request.range] == ["bytes=200000-", "bytes=300000-"]
    assert hub.large_bytes() == len(WEIGHTS)
    assert is_quiet(answer.words)


def test_a_wrong_checksum_is_refused_and_the_file_deleted(hub: Hub, online: dict[str, str]) -> None:
    hub.claimed_sha256 = "a" * 64
    answer = ask(RESOLVE, online)
    assert answer.result["error"] == "ModelError"
    assert "wrong checksum" in answer.result["what"]
    assert SHA256 in answer.result["what"]
    assert "a" * 64 in answer.result["what"]
    assert cached_blobs(online) == []
    hub.claimed_sha256 = None
    assert Path(ask(RESOLVE, online).result["weights"]).read_bytes() == WEIGHTS


def test_a_public_model_must_have_the_pinned_checksum(tmp_path: Path) -> None:
    model = PUBLIC_MODELS["hyenadna-tiny-1k"]
    files = {"config.json": CONFIG, "model.safetensors": WEIGHTS}
    with Running(Hub(files, repository=model.repository, commit=model.revision)) as hub:
        variables = environment(tmp_path, hub.url)
        for name in (model.name, model.repository):
            answer = ask(f"names.resolve({name!r})", variables)
            assert answer.result["error"] == "ModelError"
            assert model.sha256 in answer.result["what"]
        assert cached_blobs(variables) == []
        asked = [request.path for request in hub.requests if "/resolve/" in request.path]
        assert asked
        assert all(f"/resolve/{model.revision}/" in path for path in asked)


def test_a_public_model_at_another_revision_is_checked_against_the_server(tmp_path: Path) -> None:
    model = PUBLIC_MODELS["hyenadna-tiny-1k"]
    files = {"config.json": CONFIG, "model.safetensors": WEIGHTS}
    with Running(Hub(files, repository=model.repository)) as hub:
        answer = ask("names.resolve('hyenadna-tiny-1k@main')", environment(tmp_path, hub.url))
    assert answer.result["name"] == model.name
    assert answer.result["revision"] == COMMIT


def test_a_damaged_copy_in_the_cache_is_fetched_again(online: dict[str, str]) -> None:
    weights = Path(ask(RESOLVE, online).result["weights"])
    weights.write_bytes(WEIGHTS[:-1] + b"x")
    answer = ask(RESOLVE, online)
    assert "damaged" in answer.words
    assert Path(answer.result["weights"]).read_bytes() == WEIGHTS


def test_a_repository_with_only_a_checkpoint(hub: Hub, online: dict[str, str]) -> None:
    hub.files["weights.ckpt"] = hub.files.pop("model.safetensors")
    answer = ask(RESOLVE, online)
    assert Path(answer.result["weights"]).name == "weights.ckpt"
    assert Path(answer.result["weights"]).read_bytes() == WEIGHTS


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(hub: Hub, online: dict[str, str], missing: str) -> None:
    del hub.files[missing]
    answer = ask(RESOLVE, online)
    assert answer.result["error"] == "ModelError"
    assert missing in answer.result["what"]
    assert REPOSITORY in answer.result["where"]


def test_offline_with_a_cached_copy(hub: Hub, online: dict[str, str], offline: dict[str, str]) -> None:
    ask(RESOLVE, online)
    before = len(hub.requests)
    answer = ask(RESOLVE, offline)
    assert answer.result["revision"] == COMMIT
    assert Path(answer.result["weights"]).read_bytes() == WEIGHTS
    assert len(hub.requests) == before


def test_offline_without_a_cached_copy(hub: Hub, offline: dict[str, str]) -> None:
    answer = ask(RESOLVE, offline)
    assert answer.result["error"] == "ModelError"
    assert "not in the cache" in answer.result["what"]
    assert offline["HF_HOME"] in answer.result["where"]
    assert f"genoconv models pull {REPOSITORY}" in answer.result["fix"]
    assert hub.requests == []


def test_offline_as_an_argument(hub: Hub, online: dict[str, str]) -> None:
    answer = ask(f"names.resolve({REPOSITORY!r}, offline=True)", online)
    assert answer.result["error"] == "ModelError"
    assert hub.requests == []


def test_no_network(unplugged: dict[str, str]) -> None:
    started = time.monotonic()
    answer = ask(RESOLVE, unplugged)
    assert answer.result["error"] == "EnvironmentProblem"
    assert "cannot reach http://127.0.0.1:9" in answer.result["what"]
    assert is_quiet(answer.words)
    assert time.monotonic() - started < 15


def test_no_network_but_a_cached_copy(online: dict[str, str], unplugged: dict[str, str]) -> None:
    ask(RESOLVE, online)
    answer = ask(RESOLVE, unplugged)
    assert answer.result["revision"] == COMMIT
    assert "using the cached copy" in answer.words


def test_a_server_in_trouble(hub: Hub, online: dict[str, str]) -> None:
    hub.status = 500
    answer = ask(RESOLVE, online)
    assert answer.result["error"] == "EnvironmentProblem"
    assert "500" in answer.result["what"]


def test_an_unknown_repository(online: dict[str, str]) -> None:
    answer = ask("names.resolve('some-lab/other-model')", online)
    assert answer.result["error"] == "ModelError"
    assert "no repository some-lab/other-model" in answer.result["what"]
    assert "genoconv models list" in answer.result["fix"]


def test_an_unknown_revision(online: dict[str, str]) -> None:
    answer = ask(f"names.resolve('{REPOSITORY}@v9')", online)
    assert answer.result["error"] == "ModelError"
    assert f"{REPOSITORY}@v9" in answer.result["what"]


def test_a_disk_that_is_too_small_is_noticed_before(hub: Hub, online: dict[str, str]) -> None:
    prelude = "import shutil; shutil.disk_usage = lambda path: type('Usage', (), {'free': 100_000})()"
    answer = ask(RESOLVE, online, prelude=prelude)
    assert answer.result["error"] == "EnvironmentProblem"
    assert "0.5 MB" in answer.result["what"]
    assert "HF_HOME" in answer.result["fix"]
    assert hub.large_bytes() == 0


def test_a_disk_that_fills_up_meanwhile(online: dict[str, str]) -> None:
    prelude = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    answer = ask(RESOLVE, online, prelude=prelude)
    assert answer.result["error"] == "EnvironmentProblem"
    assert "no space left" in answer.result["what"]
    assert "HF_HOME" in answer.result["fix"]


def test_something_that_is_not_a_hub(hub: Hub, online: dict[str, str]) -> None:
    hub.status = 200
    answer = ask(RESOLVE, online)
    assert answer.result["error"] == "EnvironmentProblem"


def test_the_command_pull_prints_the_folder(online: dict[str, str]) -> None:
    def models(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from genoconv.cli.models import app; app()", *arguments]
        return subprocess.run(command, env=online, capture_output=True, text=True, timeout=120, check=True)

    pulled = models("pull", REPOSITORY)
    folder = Path(pulled.stdout.strip())
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert "downloading model.safetensors" in pulled.stderr
    assert is_quiet(pulled.stderr)
    again = models("path", f"{REPOSITORY}@{COMMIT}")
    assert (again.stdout, again.stderr) == (pulled.stdout, "")
