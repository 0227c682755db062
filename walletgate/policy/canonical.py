"""The canonical form of a policy's meaning, and its hash.

JSON with sorted keys, no spaces and no numbers: integers are decimal strings, bytes `0x` hex, sets are sorted,
values of the model carry their class in `is` and leave out fields that have their default. So what later
versions add does not change the hash of a policy that does not use it. And because the form is made from what
was compiled instead of from the text, comments, order, spelling of amounts ("10", "10.0") and of windows ("24h",
"1d") do not change the hash, while anything that could change a decision does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Final

from walletgate.encoding import to_hex
from walletgate.errors import InvariantViolation
from walletgate.types import Hash32

_DOMAIN: Final = b"walletgate policy 1\n"

Plain = None | bool | str | list["Plain"] | dict[str, "Plain"]


def canonical_json(value: object) -> str:
    """The one text for `value`, a value of the model."""
    return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def hash_terms(terms: object) -> Hash32:
    """SHA-256 of the canonical form."""
    return Hash32(hashlib.sha256(_DOMAIN + canonical_json(terms).encode()).digest())


def _plain(value: object) -> Plain:  # noqa: PLR0911 - one arm for each kind of value
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return to_hex(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, frozenset):
        return sorted((_plain(item) for item in value), key=_text)
    if isinstance(value, Mapping):
        return sorted(([_plain(key), _plain(item)] for key, item in value.items()), key=_text)
    if is_dataclass(value) and not isinstance(value, type):
        said = {each.name: getattr(value, each.name) for each in fields(value) if not _is_default(value, each)}
        return {**{name: _plain(item) for name, item in said.items()}, "is": type(value).__name__}
    raise InvariantViolation(f"{type(value).__name__} has no canonical form")


def _is_default(value: object, each: Field[object]) -> bool:
    """Whether a field has its default. Kinds count: False is not 0."""
    default = each.default_factory() if each.default_factory is not MISSING else each.default
    held = getattr(value, each.name)
    return default is not MISSING and type(held) is type(default) and bool(held == default)


def _text(plain: Plain) -> str:
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
