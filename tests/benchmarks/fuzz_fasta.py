"""Coverage-guided fuzzing of the FASTA reader: no crash without a clear error, no silent change of data.

pip install atheris; python tests/benchmarks/fuzz_fasta.py FOLDER -max_total_time=600

Starts from the corpus in tests/data, which the tests replay, and writes what it kept back there.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import atheris

ORACLE = Path(__file__).resolve().parents[1] / "inputs" / "test_fuzzed_fasta.py"


def oracle() -> Any:
    """The test module that says what is right, its imports of the reader instrumented."""
    spec = spec_from_file_location("test_fuzzed_fasta", ORACLE)
    assert spec is not None
    assert spec.loader is not None
    sys.modules.setdefault("pytest", _no_pytest())
    module = module_from_spec(spec)
    with atheris.instrument_imports(include=["genoconv.inputs"]):
        spec.loader.exec_module(module)
    return module


def _no_pytest() -> ModuleType:
    """Stands in for pytest, which the oracle does not need."""
    stub: Any = ModuleType("pytest")
    stub.mark = ModuleType("mark")
    stub.mark.parametrize = lambda *names, **options: lambda function: function
    stub.MonkeyPatch = object
    return stub  # type: ignore[no-any-return]


def fuzz(arguments: list[str]) -> None:
    """Fuzz until the time is up; libFuzzer ends the process."""
    module = oracle()
    folder = Path(tempfile.mkdtemp(prefix="genoconv-fuzz-"))

    def once(content: bytes) -> None:
        # Small blocks, so that small inputs reach every border.
        module.sections.BLOCK_BYTES = 16 + (content[1] if len(content) > 1 else 0)
        module.check(content, folder)

    atheris.Setup(arguments, once)
    atheris.Fuzz()


def main() -> None:
    """Unpack the corpus, fuzz in a process of its own, and pack the corpus that it leaves."""
    corpus, packed = Path(sys.argv[1]), ORACLE.parents[1] / "data" / "fuzzed_fasta.json"
    corpus.mkdir(exist_ok=True)
    for text in json.loads(packed.read_text()) if packed.exists() else []:
        content = base64.b64decode(text)
        (corpus / hashlib.sha256(content).hexdigest()).write_bytes(content)
    done = subprocess.run([sys.executable, __file__, "--fuzz", *sys.argv[1:]], check=False)
    texts = sorted(base64.b64encode(path.read_bytes()).decode() for path in corpus.iterdir())
    packed.write_text(json.dumps(texts, indent=0) + "\n")
    sys.exit(done.returncode)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fuzz"]:
        fuzz([sys.argv[0], *sys.argv[2:]])
    else:
        main()
