import csv
import json

from genoconv.evaluation.table import Row, to_csv, to_json, to_text

ROW = Row(
    task="a, b", method="probe", features="3-mers", chosen="", metric="accuracy", value=0.87654, error=0.01234,
    classes=2, records=1200, bases=99,
)  # fmt: skip


def test_the_same_numbers_in_every_form() -> None:
    text = to_text([ROW])
    assert text.splitlines() == ["a, b: probe, 2 labels, 1,200 records", "  3-mers  accuracy 0.877 +- 0.012"]
    (line,) = csv.DictReader(to_csv([ROW]).splitlines())
    (held,) = json.loads(to_json([ROW]))
    assert line == {key: str(value) for key, value in held.items()}
    assert (held["task"], held["value"], held["error"]) == ("a, b", 0.8765, 0.0123)
