"""How each broker speaks: one folder per broker, and `_kit` with the technique they share."""

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from kopitra.ports import BrokerAdapter

_MEMBERS = tuple(name for name in vars(BrokerAdapter) if not name.startswith("_"))


def registry() -> Mapping[str, BrokerAdapter]:
    """Every broker by its code: the folder list is the broker list.

    A folder whose adapter is missing or incomplete stops the start with a TypeError that names it.
    """
    folders = (module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    return MappingProxyType({name: _adapter(name) for name in sorted(folders) if not name.startswith("_")})


def _adapter(folder: str) -> BrokerAdapter:
    adapter = cast("object", getattr(importlib.import_module(f"{__name__}.{folder}"), "ADAPTER", None))
    if adapter is None:
        raise TypeError(f"brokers/{folder} has no ADAPTER: set it in its __init__.py to a BrokerAdapter")
    missing = [name for name in _MEMBERS if not hasattr(adapter, name)]
    if missing:
        raise TypeError(f"brokers/{folder}: its ADAPTER lacks {', '.join(missing)}; see kopitra/ports.py")
    checked = cast("BrokerAdapter", adapter)
    if checked.code != folder:
        raise TypeError(
            f"brokers/{folder}: its ADAPTER calls itself {checked.code!r}; the code is the folder's name"
        )
    return checked
