"""Every Python file keeps every rule, and every rule is able to fail."""

import pytest

from tests.architecture.exceptions import EXCEPTIONS
from tests.architecture.house import Finding, Rule, python_error, sample, sources, texts
from tests.architecture.rules import bounds, clock, money, reach, scope, size

RULES = (*size.RULES, *clock.RULES, *money.RULES, *bounds.RULES, *reach.RULES, *scope.RULES)


def _name(rule: Rule) -> str:
    return rule.name


def _samples(*, bad: bool) -> list[object]:
    return [
        pytest.param(rule, *pair, id=f"{rule.name}-{number}")
        for rule in RULES
        for number, pair in enumerate(rule.bad if bad else rule.good)
    ]


def _all_findings(rule: Rule) -> list[Finding]:
    return sorted(finding for source in sources() for finding in rule.check(source))


def test_every_file_is_python_3_11() -> None:
    errors = {str(path): python_error(text) for path, text in texts().items() if path.suffix == ".py"}

    assert not {path: error for path, error in errors.items() if error}
    assert python_error("def first[T](items: list[T]) -> T: ...")


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_the_house_keeps_the_rule(rule: Rule) -> None:
    excused = EXCEPTIONS.get(rule.name, {})

    broken = [str(finding) for finding in _all_findings(rule) if finding.path not in excused]

    assert not broken, "\n".join([f"{len(broken)} findings", *broken])


@pytest.mark.parametrize("rule, path, text", _samples(bad=True))
def test_a_violation_is_caught(rule: Rule, path: str, text: str) -> None:
    assert list(rule.check(sample(path, text)))


@pytest.mark.parametrize("rule, path, text", _samples(bad=False))
def test_what_is_allowed_passes(rule: Rule, path: str, text: str) -> None:
    assert not list(rule.check(sample(path, text)))


def test_every_rule_carries_its_proof() -> None:
    assert all(rule.bad for rule in RULES)
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_every_exception_is_still_needed_and_says_why() -> None:
    findings = {rule.name: {finding.path for finding in _all_findings(rule)} for rule in RULES}

    stale = [
        f"{name}: {path}"
        for name, places in EXCEPTIONS.items()
        for path, why in places.items()
        if path not in findings.get(name, set()) or not why
    ]

    assert not stale
