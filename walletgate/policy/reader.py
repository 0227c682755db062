"""Strict reading of TOML tables: every value is taken by name and type, and whatever is left over is an error.

An error names the file, the dotted path of the key (`permit[2].to`) and, where it helps, the nearest right word.
Nothing is converted silently: numbers where text is expected, floats anywhere and empty lists are refused.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NoReturn

from walletgate.errors import ConfigError
from walletgate.policy.amounts import AmountError

TEXT_LENGTH_MAX: Final = 1024 * 1024
_LINE = re.compile(r"at line (\d+), column (\d+)")
_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def parse_toml(text: str, *, source: str) -> Table:
    """The root table of `text`.

    Raises:
        ConfigError: `toml_syntax` with the line, `policy_too_large`, or `float_refused` with the key.
    """
    if len(text) > TEXT_LENGTH_MAX:
        problem = f"{source} is longer than {TEXT_LENGTH_MAX} characters"
        raise ConfigError(problem, code="policy_too_large", data={"file": source, "key": ""})
    try:
        text.encode()
        root = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        at = _LINE.search(str(error))
        line = int(at.group(1)) if at else None
        where = f"{source}, line {line}" if at else source
        raise ConfigError(
            f"{where} is not TOML: {error}", code="toml_syntax", data={"file": source, "key": "", "line": line}
        ) from error
    table = Table(root, source=source, path="")
    _refuse_floats(table, root, "")
    return table


def _refuse_floats(table: Table, value: object, path: str) -> None:
    if isinstance(value, float):
        raise table.error(path, "is a floating-point number: write it as text", code="float_refused")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_floats(table, item, _join(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_floats(table, item, f"{path}[{index}]")


def nearest(word: str, words: Iterable[str]) -> str:
    """A hint in words, empty when nothing is near."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


class Table:
    """One TOML table being read. `done` refuses the keys that nobody asked for."""

    def __init__(self, values: Mapping[str, object], *, source: str, path: str) -> None:
        self._values = values
        self._asked: set[str] = set()
        self.source = source
        self.path = path

    def error(self, key: str, problem: str, *, code: str) -> ConfigError:
        """An error at `key`, a full dotted path."""
        data = {"file": self.source, "key": key}
        return ConfigError(f"{self.source}: {key or 'the policy'} {problem}", code=code, data=data)

    def fail(self, key: str, problem: str, *, code: str) -> NoReturn:
        """Raises an error at `key` of this table; the empty key is the table itself."""
        raise self.error(self.at(key) if key else self.path, problem, code=code)

    def at(self, key: str) -> str:
        """The full dotted path of `key`."""
        return _join(self.path, key)

    def given(self) -> Sequence[str]:
        """The keys that are there, in the order of the text."""
        return tuple(self._values)

    def peek(self, key: str) -> object:
        """The value of `key`, or None; peeking does not make it a known key."""
        return self._values.get(key)

    def has(self, key: str) -> bool:
        """Whether `key` is there; asking makes it a known one."""
        self._asked.add(key)
        return key in self._values

    def raw(self, key: str) -> object:
        """The value of `key`, or None."""
        self._asked.add(key)
        return self._values.get(key)

    def need(self, key: str) -> object:
        """The value of `key`, which must be there."""
        if not self.has(key):
            self.fail(key, "is missing", code="missing_key")
        return self._values[key]

    def text(self, key: str, default: str | None = None) -> str | None:
        """Text at `key`."""
        return self._typed(key, str, default, "text in quotes")

    def need_text(self, key: str) -> str:
        """Text at `key`, which must be there."""
        value = self.need(key)
        return value if isinstance(value, str) else self._wrong(key, "text in quotes")

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false at `key`."""
        value = self.raw(key) if self.has(key) else default
        return value if isinstance(value, bool) else self._wrong(key, "true or false")

    def integer(self, key: str, default: int | None = None, *, least: int = 0, most: int = 2**63) -> int | None:
        """An integer at `key` from `least` to `most`."""
        if not self.has(key):
            return default
        value = self.raw(key)
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong(key, "a whole number")
        if not least <= value <= most:
            self.fail(key, f"must be between {least} and {most}", code="out_of_range")
        return value

    def texts(self, key: str) -> tuple[str, ...] | None:
        """One text or a list of them at `key`, without repetition; None when it is not there."""
        if not self.has(key):
            return None
        value = self.raw(key)
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not items or not all(isinstance(item, str) for item in items):
            self._wrong(key, "text, or a list of texts that is not empty")
        if len(set(items)) != len(items):
            self.fail(key, "names something twice", code="duplicate_name")
        return tuple(items)

    def moment(self, key: str) -> int | None:
        """Unix seconds of a date and time with an offset at `key`."""
        if not self.has(key):
            return None
        value = self.raw(key)
        if not isinstance(value, datetime) or value.tzinfo is None:
            self._wrong(key, "a date and time with an offset, such as 2027-01-31T00:00:00Z")
        moment = value.astimezone(UTC) if 1970 <= value.year < 9999 else None
        return int(moment.timestamp()) if moment is not None else self._wrong(key, "between the years 1970 and 9998")

    def section(self, key: str) -> Table:
        """The table at `key`, empty where there is none."""
        return self.table(key) or Table({}, source=self.source, path=self.at(key))

    def need_table(self, key: str) -> Table:
        """The table at `key`, which must be there."""
        self.need(key)
        return self.section(key)

    def table(self, key: str) -> Table | None:
        """The table at `key`."""
        if not self.has(key):
            return None
        value = self.raw(key)
        if not isinstance(value, dict):
            self._wrong(key, "a table")
        return Table(value, source=self.source, path=self.at(key))

    def tables(self, key: str) -> list[Table]:
        """The array of tables at `key`, `[[key]]` in the text."""
        if not self.has(key):
            return []
        value = self.raw(key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.fail(key, f"must be written as [[{key}]]", code="wrong_type")
        return [Table(item, source=self.source, path=f"{self.at(key)}[{index}]") for index, item in enumerate(value)]

    def exact(self, key: str, value: str, parse: Callable[[str], int]) -> int:
        """`parse(value)` for the value at `key`."""
        try:
            return parse(value)
        except AmountError as error:
            raise self.error(self.at(key), f"{value!r} {error}", code=error.code) from error

    def done(self) -> None:
        """Refuses keys that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                self.fail(key, f"is not a known key{nearest(key, sorted(self._asked))}", code="unknown_key")

    def _typed(self, key: str, kind: type[str], default: str | None, words: str) -> str | None:
        if not self.has(key):
            return default
        value = self.raw(key)
        return value if isinstance(value, kind) else self._wrong(key, words)

    def _wrong(self, key: str, words: str) -> NoReturn:
        self.fail(key, f"must be {words}", code="wrong_type")


def _join(path: str, key: str) -> str:
    shown = key if _BARE.match(key) else f'"{key}"'
    return f"{path}.{shown}" if path else shown
