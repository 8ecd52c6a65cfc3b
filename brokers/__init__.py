"""How each broker speaks: one folder per broker, and `_kit` with the technique they share."""

import importlib
from collections.abc import Mapping
from functools import lru_cache
from inspect import iscoroutinefunction
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast, get_args

from kopitra.domain.ids import CL_ORD_ID_LENGTH_MAX
from kopitra.domain.signals import OrdType, TimeInForce
from kopitra.ports import BrokerAdapter, Capabilities

_MEMBERS: Final = tuple(name for name in vars(BrokerAdapter) if not name.startswith("_"))
_COROUTINES: Final = ("list_accounts", "start_simulator")
_REGISTRIES_MAX: Final = 4  # one per package path; tests extend the path


def registry() -> Mapping[str, BrokerAdapter]:
    """Every broker by its code: the folder list is the broker list.

    A folder whose adapter is missing, incomplete or claims what cannot be stops the start with a TypeError
    that names the folder and the remedy. Folders are read once.
    """
    return _registry(tuple(__path__))


@lru_cache(maxsize=_REGISTRIES_MAX)
def _registry(path: tuple[str, ...]) -> Mapping[str, BrokerAdapter]:
    folders = sorted(folder.name for root in path for folder in Path(root).iterdir() if folder.is_dir())
    return MappingProxyType({name: _adapter(name) for name in folders if not name.startswith(("_", "."))})


def _adapter(folder: str) -> BrokerAdapter:
    try:
        module = importlib.import_module(f"{__name__}.{folder}")
    except ImportError as broken:
        raise TypeError(f"brokers/{folder} cannot be imported ({broken}): complete the folder") from broken
    adapter = cast("object", getattr(module, "ADAPTER", None))
    if adapter is None:
        raise TypeError(f"brokers/{folder} has no ADAPTER: set it in its __init__.py to a BrokerAdapter")
    missing = [name for name in _MEMBERS if not hasattr(adapter, name)]
    if missing:
        raise TypeError(f"brokers/{folder}: its ADAPTER lacks {', '.join(missing)}; see kopitra/ports.py")
    checked = cast("BrokerAdapter", adapter)
    faults = [*_adapter_faults(checked, folder), *_schema_faults(checked.credential_schema)]
    if faults:
        raise TypeError(f"brokers/{folder}: its ADAPTER {'; and it '.join(faults)}")
    return checked


def _adapter_faults(adapter: BrokerAdapter, folder: str) -> list[str]:
    faults: list[str] = []
    if adapter.code != folder:
        faults.append(f"calls itself {adapter.code!r}; the code is the folder's name")
    faults += [
        f"has a {name} that is no coroutine function; declare it with async def"
        for name in _COROUTINES
        if not iscoroutinefunction(getattr(adapter, name))
    ]
    claimed = cast("object", adapter.capabilities)
    if not isinstance(claimed, Capabilities):
        return [*faults, "has capabilities of another type; make them a kopitra.ports.Capabilities"]
    return faults + _capability_faults(claimed)


def _capability_faults(claimed: Capabilities) -> list[str]:
    faults: list[str] = []
    if not {"market"} <= claimed.ord_types <= set(get_args(OrdType)):
        faults.append(f"claims order types {sorted(claimed.ord_types)}; name known ones, market among them")
    if not claimed.times_in_force or not claimed.times_in_force <= set(get_args(TimeInForce)):
        faults.append(f"claims times in force {sorted(claimed.times_in_force)}; name one or more known ones")
    if claimed.cl_ord_id_length_max < CL_ORD_ID_LENGTH_MAX:
        faults.append(f"takes client ids of {claimed.cl_ord_id_length_max} characters; map ours to its own")
    return faults


def _schema_faults(schema: Mapping[str, object]) -> list[str]:
    # The whole of JSON schema is checked by the contract suite; here only what the forms rely on.
    properties = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, Mapping):
        return ["has a credential_schema that is no JSON schema of an object; give it type and properties"]
    names = set(cast("Mapping[str, object]", properties))
    required = schema.get("required", ())
    listed = cast("list[object]", required) if isinstance(required, list) else []
    unknown = [str(name) for name in listed if name not in names]
    return [f"requires {', '.join(unknown)} without describing it; add it to properties"] if unknown else []
