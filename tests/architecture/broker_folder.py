"""What every broker folder holds, so that any one looks like its neighbour."""

from pathlib import Path

#: modules, or packages of the same name
_PIECES = ("auth", "codec", "symbols", "session", "simulator")


def missing_pieces(folder: Path) -> list[str]:
    """What `folder` lacks; empty for a complete broker."""
    init = folder / "__init__.py"
    lacks = [] if init.exists() and "ADAPTER" in init.read_text() else ["__init__.py with ADAPTER"]
    lacks += [
        f"{piece}.py"
        for piece in _PIECES
        if not (folder / f"{piece}.py").exists() and not (folder / piece / "__init__.py").exists()
    ]
    if not (folder / "README.md").exists():
        lacks.append("README.md (capability matrix, sources, dates)")
    if not any((folder / "recordings").glob("*")):
        lacks.append("recordings/ (payload samples with their source)")
    if not any((folder / "tests").glob("test_*.py")):
        lacks.append("tests/test_*.py")
    return [f"{folder.name} lacks {piece}" for piece in lacks]
