"""Whatever is wrong in a file is said with the file, the key and the reason."""

import shutil
from pathlib import Path

import pytest

from orchestrator.catalogue.loader import CatalogueError, load
from tests.catalogue.requests import DEPLOY

COUPONS = "programmes/citi-alipayhk-coupons.toml"
MILES = "programmes/uprp-harbour-miles.toml"
CITI = "participants/citi.toml"

WRONG = (
    # File, what stands there, what stands there instead, the key, a part of the reason.
    (COUPONS, "version = 1", "version = 0", "version", "greater than or equal to 1"),
    (COUPONS, "version = 1", "version = ", "(file)", "is not TOML"),
    (COUPONS, "version = 1", "", "version", "required"),
    (COUPONS, "version = 1", "version = 1\ncolour = 1", "colour", "Extra inputs"),
    (COUPONS, '"Asia/Hong_Kong"', '"Asia/Atlantis"', "zone", "'Asia/Atlantis' is not an IANA"),
    (COUPONS, '"Asia/Hong_Kong"', '"../x"', "zone", "is not an IANA time zone"),
    (COUPONS, '"sequenced"', '"prededucted"', "debtor", "only there"),
    (COUPONS, '"keep_issued"', '"keep"', "partial", "'keep_issued' or 'all_or_nothing'"),
    (COUPONS, 'origins = ["alipayhk"]', "origins = []", "origins", "at least 1 item"),
    (COUPONS, 'origins = ["alipayhk"]', 'origins = ["nobody"]', "origins", "'nobody'"),
    (COUPONS, 'debtor = "citi"', 'debtor = "nobody"', "debtor", "'nobody'"),
    (COUPONS, 'debtor = "citi"', 'debtor = "alipayhk"', "debtor", "no [legs.deduct]"),
    (COUPONS, 'creditor = "alipayhk"', 'creditor = "citi"', "creditor", "no [legs.credit]"),
    (COUPONS, "points = 5", "points = 2.5", "rate.points", "integer"),
    (COUPONS, "points = 5", "points = 0", "rate.points", "greater than or equal to 1"),
    (COUPONS, "minimum = 10000", "minimum = 200000", "redemption.minimum", "above"),
    (COUPONS, "worth = 100000", "worth = 9999", "limit.worth", "nothing could be asked"),
    (COUPONS, 'period = "day"', 'period = "year"', "limit.period", "'day'"),
    (COUPONS, 'id = "hkd20"', 'id = "hkd50"', "items", "an id stands twice"),
    (COUPONS, 'id = "hkd20"', 'id = "HKD20"', "items.1.id", "pattern"),
    (COUPONS, 'currency = "HKD"\n', "", "currency", "has a face"),
    (COUPONS, 'currency = "HKD"', 'currency = "hkd"', "currency", "pattern"),
    (COUPONS, '"INVALID_FACE_VALUE"', '"NO"', "unknown_item", "Input should be"),
    (COUPONS, "face = 5000", "face = 1\nquantity_max = 1000000000", None, None),
    (COUPONS, "points = 5", "points = 1000000000", None, None),
    (MILES, "maximum = 100000", "maximum = 1000000000000", None, None),
    (CITI, 'response_timeout = "5s"', "response_timeout = 5", "legs.deduct", "5 is not a duration"),
    (CITI, 'response_timeout = "5s"', 'response_timeout = "5"', "legs.deduct", "'5' is not a"),
    (CITI, 'response_timeout = "5s"', 'response_timeout = "1ms"', "legs.deduct", "equal to 10"),
    (CITI, "times = 20", "times = -1", "legs.deduct.times", "equal to 0"),
    (CITI, '["resend"]', '["shout"]', "legs.return.rungs", "'inquire' or 'resend'"),
    (CITI, '["resend"]', '["resend"]\ntimes = 3', "legs.return.times", "None"),
    (CITI, "[legs.deduct]", "[health]\nprobes = 0\n[legs.deduct]", "health.probes", "equal to 1"),
    (
        CITI,
        "[legs.deduct]",
        "[health]\nbreaker_failure_percent = 101\n[legs.deduct]",
        "health.breaker_failure_percent",
        "equal to 100",
    ),
    (
        CITI,
        "[legs.deduct]",
        "[health]\nburst = 5\n[legs.deduct]",
        "health.burst",
        "nothing without rate_per_s",
    ),
    (
        CITI,
        "[legs.deduct]",
        '[health]\nhold_for = "5m"\n[legs.deduct]',
        "health.hold_for",
        'unless when_unavailable is "hold"',
    ),
    (
        CITI,
        "[legs.deduct]",
        '[health]\nwhen_unavailable = "wait"\n[legs.deduct]',
        "health.when_unavailable",
        "'refuse' or 'hold'",
    ),
    (
        CITI,
        "[legs.deduct]",
        "[health]\nopen_for = 30\n[legs.deduct]",
        "health.open_for",
        "30 is not a duration",
    ),
    (CITI, "[legs.deduct]", "[health]\ncolour = 1\n[legs.deduct]", "health.colour", "Extra"),
    (CITI, "[legs.deduct]", "[legs.debit]", "legs.debit", "Extra inputs"),
    (CITI, 'id = "citi"', 'id = "Citi"', "id", "pattern"),
    (CITI, 'name = "Citi"', 'name = ""', "name", "at least 1 character"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the files that ship."""
    for name in ("programmes", "participants"):
        shutil.copytree(DEPLOY / name, tmp_path / name)
    return tmp_path


def test_the_files_that_ship_are_right(folder: Path) -> None:
    found = load(folder)
    assert set(found.programmes["redemption"]) == {
        "citi-alipayhk-coupons",
        "uprp-harbour-coupons",
        "uprp-harbour-miles",
    }
    assert set(found.participants) == {"citi", "alipayhk", "harbour", "pacificair", "unionpay"}
    assert found.policies.by_leg["citi", "return"].times is None


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong[0]}-{wrong[2]}")
def test_what_is_wrong(folder: Path, wrong: tuple[str, str, str, str | None, str | None]) -> None:
    file, was, now, key, why = wrong
    path = folder / file
    text = path.read_text("utf-8")
    assert was in text
    path.write_text(text.replace(was, now, 1), "utf-8")
    if key is None:
        load(folder)
        return
    with pytest.raises(CatalogueError) as caught:
        load(folder)
    matching = [
        problem
        for problem in caught.value.problems
        if problem.file == file and problem.key.startswith(key) and (why or "") in problem.why
    ]
    assert matching, str(caught.value)
    assert f"{file}: {matching[0].key}: {matching[0].why}" in str(caught.value)


def test_every_problem_is_told_at_once(folder: Path) -> None:
    for file, word in ((COUPONS, 'zone = "Asia/'), (MILES, 'zone = "Asia/'), (CITI, 'name = "')):
        path = folder / file
        path.write_text(path.read_text("utf-8").replace(word, word.replace('"', '"\\u0000'), 1))
    (folder / "participants" / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(CatalogueError) as caught:
        load(folder)
    files = {problem.file for problem in caught.value.problems}
    assert {COUPONS, MILES, "participants/latin.toml"} <= files


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="there is no file"):
        load(tmp_path)


def test_the_newest_version_counts_and_each_is_there_once(folder: Path) -> None:
    text = (folder / COUPONS).read_text("utf-8")
    newer = folder / "programmes" / "newer.toml"
    newer.write_text(text.replace("version = 1", "version = 2", 1), "utf-8")
    assert load(folder).programmes["redemption"]["citi-alipayhk-coupons"].version == 2
    newer.write_text(text, "utf-8")
    with pytest.raises(CatalogueError, match=r"newer\.toml: version: .* this version twice"):
        load(folder)


def test_what_cannot_be_counted_is_not_offered(folder: Path) -> None:
    """Neither by one line, nor by the sum of all lines."""
    path = folder / COUPONS
    dear = path.read_text("utf-8").replace("points = 5", "points = 1000000000")
    dear = dear.replace("maximum = 100000", "maximum = 1000000000000")
    for line, key in (("face = 5000\nquantity_max = 4000", "items.quantity_max"), ("", None)):
        path.write_text(dear.replace("face = 5000", line or "face = 5000"), "utf-8")
        if key is None:
            load(folder)
            continue
        with pytest.raises(CatalogueError, match="more than can be counted"):
            load(folder)
    both = dear.replace("face = 5000", "face = 5000\nquantity_max = 3000")
    both = both.replace("face = 2000", "face = 2000\nquantity_max = 8000")
    path.write_text(both, "utf-8")
    with pytest.raises(CatalogueError, match=r"redemption\.maximum: costs more points"):
        load(folder)
