"""What no committed file may say: a broker's name outside its folder, or where packages are fetched from."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from tests.architecture.house import texts

#: pages for people, where naming brokers is the point
_PAGES = {"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "DECISIONS.md", "SECURITY.md"}

# Spelled in two halves, so that this file passes its own test.
_REGISTRIES = re.compile(
    "|".join(
        re.escape(head + tail)
        for head, tail in [
            ("pypi", ".org"),
            ("python", "hosted.org"),
            ("npm", "js.org"),
            ("npm", "js.com"),
            ("yarn", "pkg.com"),
            ("--index", "-url"),
            ("--extra-index", "-url"),
            ("--find", "-links"),
            ("index", "-url ="),
        ]
    ),
    re.IGNORECASE,
)

Texts = Mapping[PurePosixPath, str]


def broker_folders() -> set[str]:
    inside = (path.parts[1] for path in texts() if path.parts[0] == "brokers" and len(path.parts) > 2)
    return {folder for folder in inside if not folder.startswith("_")}


def brokers_named_elsewhere(files: Texts, brokers: Iterable[str]) -> list[str]:
    """A file may name a broker if it lies in its folder, bears its name, or is a page for people."""
    return [
        f"{path}:{number}: names {broker}"
        for broker in brokers
        for path, text in files.items()
        if broker in text.lower() and not _may_name(path, broker)
        for number, line in enumerate(text.splitlines(), start=1)
        if broker in line.lower()
    ]


def registries_named(files: Texts) -> list[str]:
    return [
        f"{path}:{number}: {match.group()}"
        for path, text in files.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if (match := _REGISTRIES.search(line))
    ]


def _may_name(path: PurePosixPath, broker: str) -> bool:
    is_page = str(path) in _PAGES or (path.parts[0] == "docs" and path.suffix == ".md")
    return is_page or broker in str(path).lower()


def _one(path: str, text: str) -> Texts:
    return {PurePosixPath(path): text}


def test_a_broker_is_named_only_in_its_folder() -> None:
    named = brokers_named_elsewhere(texts(), broker_folders())

    assert not named, "\n".join(named)


def test_no_file_says_where_packages_are_fetched_from() -> None:
    named = registries_named(texts())

    assert not named, "\n".join(named)


def test_a_broker_named_in_shared_code_is_caught() -> None:
    assert brokers_named_elsewhere(_one("kopitra/x.py", "if broker == 'ToyTown':"), ["toytown"])
    assert brokers_named_elsewhere(_one("docs/openapi/gateway.json", '"toytown"'), ["toytown"])
    assert brokers_named_elsewhere(_one("brokers/other/codec.py", "# like toytown"), ["toytown"])


def test_a_broker_may_be_named_at_home_and_on_pages() -> None:
    for path in (
        "brokers/toytown/codec.py",
        "tests/contract/test_toytown_wire.py",
        "README.md",
        "docs/sim.md",
    ):
        assert not brokers_named_elsewhere(_one(path, "toytown"), ["toytown"])


def test_a_registry_is_caught() -> None:
    assert registries_named(_one("requirements/x.txt", "--index" + "-url https://somewhere/simple"))
    assert registries_named(_one("package-lock.json", '"resolved": "https://registry.npm' + 'js.org/x"'))
    assert not registries_named(_one("requirements/x.txt", "httpx2==2.0 --hash=sha256:00"))
