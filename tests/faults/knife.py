"""What takes a safeguard out of the running product: an attribute is replaced, and put back when the trial is over.

The product itself has no switch for any of this. A name that is not there is an error, so that a safeguard which
moves takes its ablation with it or fails loudly.
"""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

#: modules whose own names of a function are replaced with it
ROOMS: Final = ("kopitra", "gateway_container", "brokers", "tests")


class Knife:
    """Replaces, remembers, puts back."""

    def __init__(self) -> None:
        #: (owner, name, what was there)
        self.taken: list[tuple[object, str, object]] = []

    def swap(self, owner: object, name: str, made: object) -> None:
        """Replace one attribute of a class or module. Raises KeyError when the owner itself does not have it."""
        self.taken.append((owner, name, vars(owner)[name]))
        setattr(owner, name, made)

    def everywhere(self, function: Callable[..., object], made: object) -> None:
        """Replace a function in every module that has imported it by its name."""
        self.everything(sys.modules[function.__module__], function.__name__, made)

    def everything(self, module: object, name: str, made: object) -> None:
        """The same for anything that a module defines."""
        known = vars(module)[name]
        owners = [m for key, m in sorted(sys.modules.items()) if key.partition(".")[0] in ROOMS]
        found = [m for m in owners if vars(m).get(name) is known]
        for module in found:
            self.swap(module, name, made)

    def restore(self) -> None:
        """Everything as it was."""
        while self.taken:
            owner, name, before = self.taken.pop()
            setattr(owner, name, before)


def always(result: object) -> Callable[..., object]:
    """A function that looks at nothing."""

    def made(*_given: object, **_named: object) -> object:
        return result

    return made


#: takes one safeguard out
Cut = Callable[[Knife], None]


@contextmanager
def without(cut: Cut) -> Generator[None]:
    """While this lasts the safeguard is out."""
    knife = Knife()
    try:
        cut(knife)
        yield
    finally:
        knife.restore()
