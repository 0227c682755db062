"""A gate's home: one directory with everything it needs, readable by its own user only.

    walletgate.toml     configuration (this module's format)
    gate.db             the store, unless it is a database that several gates share
    wallets/NAME.json   keystores of wallets (Web3 Secret Storage, V3)
    operators/NAME.json keystores of operators who work on this machine
    log.key             the key that signs checkpoints (C2SP note key), 0600
    log.key.next        the key that will sign them, while the log's key is being changed
    log.vkey            the public half of the log's first key, for auditors; the log itself names the later ones
    checkpoint          the newest signed checkpoint
    witness.key         the key that cosigns other logs' checkpoints, where this gate is a witness
    witness/            what this gate has seen of other logs, and its own checkpoints as others cosigned them
    operator.token      what reads the operators' endpoint; signs nothing
    operator.sock       the operators' endpoint
    agent.sock          the agents' endpoint, beside TCP

Configuration is TOML; unknown keys are refused with file and key:

    name = "gate.example/audit/1"       # the log's origin and the gate's name in every signed word
    listen = "127.0.0.1:8550"           # agents; loopback unless you know what you do
    operators = "127.0.0.1:8551"        # operators on TCP too; left out, they have the socket alone
    poll_s = 1                          # how often the chain is asked what became of transactions
    store = "postgresql://gate@db/wg"   # a store that several gates share; left out, it is gate.db

    spans = true                        # OpenTelemetry spans of requests, by the process' own exporter

    sinks = ["/mnt/worm/checkpoints"]   # files that every signed checkpoint is appended to

    [chains.base]                       # a name from the built-in table, or any name with an id
    url = "http://127.0.0.1:8545"
    confirmations = 3                   # blocks until a transaction counts as settled
    finality = 64                       # blocks until nothing is taken back any more; 64 if left out

    [[witnesses]]                       # who cosigns this log (C2SP tlog-witness); another gate will do
    url = "https://witness.example"
    key = "witness.example+…"           # the vkey that `walletgate audit witness` prints there

    [witness]                           # this gate cosigns other logs, at POST /add-checkpoint
    listen = "127.0.0.1:8552"
    [witness.logs]
    "other.example/audit/1" = "other.example/audit/1+…"

    [[notify]]                          # who is told without asking (docs/notify.md)
    name = "on-call"
    urls = ["slack://…", "mailto://…"]  # Apprise URLs; they are secrets, as is this file then
    events = ["approval", "freeze"]     # all if left out

    [[notify]]
    webhook = "https://ops.example/walletgate"
    secret_file = "/etc/walletgate/webhook.key"
"""

from __future__ import annotations

import base64
import difflib
import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from walletgate.audit.entry import is_origin
from walletgate.audit.note import SigningKey, VerifyingKey, parse_signing_key, parse_verifying_key
from walletgate.audit.witness import Cosigner, CosignerKey, parse_cosigner_key
from walletgate.errors import AuditError, ConfigError
from walletgate.gate.notices import Event
from walletgate.store.place import is_url
from walletgate.types import CHAINS

_KEYS = ("name", "listen", "operators", "poll_s", "store", "chains", "sinks", "witnesses", "witness", "notify", "spans")
_CHAIN_KEYS = ("id", "url", "confirmations", "finality")
FINALITY = 64
DEFAULT_LISTEN = "127.0.0.1:8550"


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """One chain the gate serves. `confirmations` and `finality` are in blocks, 1 is the block itself."""

    name: str
    chain_id: int
    url: str
    confirmations: int
    finality: int = FINALITY


@dataclass(frozen=True, slots=True)
class WitnessConfig:
    """Where this gate listens as a witness, and the keys of the logs it cosigns, by origin."""

    listen: tuple[str, int]
    logs: Mapping[str, tuple[VerifyingKey, ...]]


@dataclass(frozen=True, slots=True)
class NotifyConfig:
    """Who is told of `events`: Apprise URLs, or a webhook whose secret is in a file. URLs stay out of `repr`."""

    name: str
    events: frozenset[str]
    urls: tuple[str, ...] = field(default=(), repr=False)
    webhook: str | None = field(default=None, repr=False)
    secret_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """`walletgate.toml`, read. `listen` and `operators` are host and port; no `operators` is the socket alone.

    `store` is the URL of a database; none is the file of the home. `sinks` are files that checkpoints are appended to,
    `witnesses` (URL, key) who cosigns them.
    """

    name: str
    listen: tuple[str, int]
    operators: tuple[str, int] | None
    chains: tuple[ChainConfig, ...]
    poll_s: float
    store: str | None = None
    sinks: tuple[Path, ...] = ()
    witnesses: tuple[tuple[str, CosignerKey], ...] = ()
    witness: WitnessConfig | None = None
    notify: tuple[NotifyConfig, ...] = ()
    spans: bool = False


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of a gate's home."""

    root: Path

    @property
    def config(self) -> Path:
        """walletgate.toml."""
        return self.root / "walletgate.toml"

    @property
    def store_file(self) -> Path:
        """gate.db."""
        return self.root / "gate.db"

    def store(self) -> Path | str:
        """Where the store is: the database of the configuration, or gate.db.

        Raises:
            ConfigError: `home_missing`, `config_invalid`.
        """
        return self.read_config().store or self.store_file

    @property
    def log_key(self) -> Path:
        """log.key."""
        return self.root / "log.key"

    @property
    def next_log_key(self) -> Path:
        """log.key.next."""
        return self.root / "log.key.next"

    @property
    def log_vkey(self) -> Path:
        """log.vkey."""
        return self.root / "log.vkey"

    @property
    def checkpoint(self) -> Path:
        """The newest signed checkpoint."""
        return self.root / "checkpoint"

    @property
    def witness_key(self) -> Path:
        """witness.key."""
        return self.root / "witness.key"

    @property
    def witness_folder(self) -> Path:
        """witness/."""
        return self.root / "witness"

    @property
    def operator_token(self) -> Path:
        """operator.token."""
        return self.root / "operator.token"

    @property
    def operator_socket(self) -> Path:
        """operator.sock."""
        return self.root / "operator.sock"

    @property
    def agent_socket(self) -> Path:
        """agent.sock."""
        return self.root / "agent.sock"

    def wallet(self, name: str) -> Path:
        """The keystore of a wallet."""
        return self.root / "wallets" / f"{name}.json"

    def operator(self, name: str) -> Path:
        """The keystore of an operator."""
        return self.root / "operators" / f"{name}.json"

    def read_config(self) -> Config:
        """The configuration.

        Raises:
            ConfigError: `home_missing`, `config_invalid`, with file and key.
        """
        try:
            text = self.config.read_text()
        except OSError as error:
            raise ConfigError(
                f"{self.root} is not a gate's home ({error.strerror}); make one with `walletgate init`",
                code="home_missing",
                data={"file": str(self.config), "key": ""},
            ) from None
        return parse_config(text, source=str(self.config))

    def read_log_key(self) -> SigningKey:
        """The key that signs checkpoints.

        Raises:
            ConfigError: `home_missing`.
            AuditError: `key_malformed`.
        """
        return parse_signing_key(self._secret(self.log_key))

    def make_next_log_key(self) -> SigningKey:
        """The key that is to sign the log next; the same again if one was made and never came into force."""
        if not self.next_log_key.exists():
            key = SigningKey(self.read_config().name, secrets.token_bytes(32))
            write_private(self.next_log_key, key.unsafe_secret() + "\n")
        return parse_signing_key(self._secret(self.next_log_key))

    def adopt_next_log_key(self) -> None:
        """Puts the next key in the place of the one that signs now."""
        self.next_log_key.replace(self.log_key)

    def read_cosigner(self) -> Cosigner:
        """The key with which this gate cosigns other logs; made when it is first asked for.

        Raises:
            AuditError: `key_malformed`.
        """
        if not self.witness_key.exists():
            name = f"{self.read_config().name}/witness"
            write_private(self.witness_key, SigningKey(name, secrets.token_bytes(32)).unsafe_secret() + "\n")
        text = self._secret(self.witness_key)
        return Cosigner(parse_signing_key(text).name, base64.b64decode(text.split("+", 4)[4])[1:])

    def read_operator_token(self) -> str:
        """What reads the operators' endpoint.

        Raises:
            ConfigError: `home_missing`.
        """
        return self._secret(self.operator_token)

    def _secret(self, path: Path) -> str:
        try:
            return path.read_text().strip()
        except OSError as error:
            raise ConfigError(
                f"cannot read {path}: {error.strerror}", code="home_missing", data={"file": str(path), "key": ""}
            ) from None


def create_home(root: Path, *, name: str, chains: Mapping[str, str], listen: str = DEFAULT_LISTEN) -> Home:
    """Makes a new home with its configuration, log key and operator token; `chains` are names and URLs.

    Raises:
        ConfigError: `home_exists`, `config_invalid`.
    """
    home = Home(root)
    if home.config.exists():
        raise ConfigError(f"{root} is a gate's home already", code="home_exists", data={"file": str(root), "key": ""})
    lines = [f'name = "{name}"', f'listen = "{listen}"', ""]
    for chain, url in chains.items():
        lines += [f"[chains.{chain}]", f'url = "{url}"', "confirmations = 1", ""]
    text = "\n".join(lines)
    parse_config(text, source=str(home.config))
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    root.chmod(0o700)
    key = SigningKey(name, secrets.token_bytes(32))
    write_private(home.log_key, key.unsafe_secret() + "\n")
    write_private(home.log_vkey, f"{key.verifying_key}\n")
    write_private(home.operator_token, f"wg_operator_{secrets.token_urlsafe(32)}\n")
    write_private(home.config, text)
    return home


def write_private(path: Path, text: str) -> None:
    """Writes a new file that only its owner can read, durably; an old one is replaced in one step."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def parse_config(text: str, *, source: str) -> Config:
    """Reads `walletgate.toml`.

    Raises:
        ConfigError: `config_invalid`, with file and key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(source, "", f"not TOML: {error}") from None
    _check_keys(document, _KEYS, source, "")
    name = document.get("name")
    if not isinstance(name, str) or not is_origin(name):
        raise _invalid(source, "name", "must be 1 to 255 visible characters without spaces or +")
    listen = _listen(document.get("listen", DEFAULT_LISTEN), source, "listen")
    operators = _listen(document["operators"], source, "operators") if "operators" in document else None
    poll_s = document.get("poll_s", 1)
    if isinstance(poll_s, bool) or not isinstance(poll_s, int | float) or not 0.05 <= poll_s <= 600:
        raise _invalid(source, "poll_s", "must be seconds between 0.05 and 600")
    chains = document.get("chains")
    if not isinstance(chains, dict) or not chains:
        raise _invalid(source, "chains", "at least one [chains.NAME] with a url is needed")
    read = tuple(_chain(key, value, source) for key, value in chains.items())
    if len({chain.chain_id for chain in read}) != len(read):
        raise _invalid(source, "chains", "two of them have the same id")
    store = document.get("store")
    if store is not None and not (isinstance(store, str) and is_url(store)):
        raise _invalid(source, "store", "must be a postgresql:// URL")
    return Config(
        name, listen, operators, read, float(poll_s), store, _sinks(document.get("sinks", []), source),
        _witnesses(document.get("witnesses", []), source), _witness(document.get("witness"), source),
        _notify(document.get("notify", []), source), _switch(document.get("spans", False), source, "spans"),
    )  # fmt: skip


def _sinks(value: object, source: str) -> tuple[Path, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item.startswith("/") for item in value):
        raise _invalid(source, "sinks", "must be a list of absolute paths")
    return tuple(Path(item) for item in value)


def _witnesses(value: object, source: str) -> tuple[tuple[str, CosignerKey], ...]:
    if not isinstance(value, list):
        raise _invalid(source, "witnesses", "are [[witnesses]] with a url and a key")
    found = []
    for number, item in enumerate(value):
        where = f"witnesses[{number}]"
        if not isinstance(item, dict):
            raise _invalid(source, where, "must be a table with a url and a key")
        _check_keys(item, ("url", "key"), source, where)
        url = item.get("url")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise _invalid(source, f"{where}.url", "must be an http or https URL")
        try:
            found.append((url.rstrip("/"), parse_cosigner_key(str(item.get("key")))))
        except AuditError as error:
            raise _invalid(source, f"{where}.key", error.detail) from None
    return tuple(found)


def _witness(value: object, source: str) -> WitnessConfig | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _invalid(source, "witness", "must be a table with listen and logs")
    _check_keys(value, ("listen", "logs"), source, "witness")
    logs = value.get("logs")
    if not isinstance(logs, dict) or not logs:
        raise _invalid(source, "witness.logs", "names at least one log with its key")
    keys: dict[str, tuple[VerifyingKey, ...]] = {}
    for origin, texts in logs.items():
        try:
            keys[origin] = tuple(parse_verifying_key(str(t)) for t in (texts if isinstance(texts, list) else [texts]))
        except AuditError as error:
            raise _invalid(source, f"witness.logs.{origin}", error.detail) from None
    return WitnessConfig(_listen(value.get("listen"), source, "witness.listen"), keys)


def _notify(value: object, source: str) -> tuple[NotifyConfig, ...]:
    if not isinstance(value, list):
        raise _invalid(source, "notify", "are [[notify]] tables with urls or a webhook")
    found = tuple(_notify_one(item, f"notify[{number}]", source) for number, item in enumerate(value))
    if len({each.name for each in found}) != len(found):
        raise _invalid(source, "notify", "two of them have the same name")
    return found


def _notify_one(item: object, where: str, source: str) -> NotifyConfig:
    """One table. What it holds is secret, so no message repeats a value."""
    if not isinstance(item, dict):
        raise _invalid(source, where, "must be a table with urls or a webhook")
    _check_keys(item, ("name", "events", "urls", "webhook", "secret_file"), source, where)
    name, events = item.get("name", where), item.get("events", [each.value for each in Event])
    urls, webhook, secret_file = item.get("urls", []), item.get("webhook"), item.get("secret_file")
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 64:
        raise _invalid(source, f"{where}.name", "must be 1 to 64 printable characters")
    if not isinstance(events, list) or not events or not all(e in [each.value for each in Event] for e in events):
        raise _invalid(source, f"{where}.events", f"must be some of {', '.join(Event)}")
    if not isinstance(urls, list) or not all(isinstance(url, str) and "://" in url for url in urls):
        raise _invalid(source, f"{where}.urls", "must be a list of Apprise URLs")
    if bool(urls) == (webhook is not None):
        raise _invalid(source, where, "needs either urls or a webhook")
    if webhook is not None and not (isinstance(webhook, str) and _is_private_way(webhook)):
        raise _invalid(source, f"{where}.webhook", "must be an https URL, or http on this machine")
    if (webhook is not None) != isinstance(secret_file, str):
        raise _invalid(source, f"{where}.secret_file", "is the path of a webhook's secret, and needed with one")
    return NotifyConfig(
        name, frozenset(events), tuple(urls), webhook, Path(secret_file) if isinstance(secret_file, str) else None
    )


def _is_private_way(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return host is not None and (
        parts.scheme == "https" or (parts.scheme == "http" and host in ("127.0.0.1", "::1", "localhost"))
    )


def _chain(name: str, body: object, source: str) -> ChainConfig:
    where = f"chains.{name}"
    if not isinstance(body, dict):
        raise _invalid(source, where, "must be a table with a url")
    _check_keys(body, _CHAIN_KEYS, source, where)
    known = CHAINS.get(name, (None, ""))[0]
    chain_id = body.get("id", known)
    if isinstance(chain_id, bool) or not isinstance(chain_id, int) or not 0 < chain_id < 2**53:
        raise _invalid(source, f"{where}.id", "a chain that is not in the built-in table needs its id")
    if known is not None and chain_id != known:
        raise _invalid(source, f"{where}.id", f"{name} is chain {known}")
    url, confirmations = body.get("url"), body.get("confirmations", 1)
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise _invalid(source, f"{where}.url", "must be an http or https URL")
    if isinstance(confirmations, bool) or not isinstance(confirmations, int) or not 1 <= confirmations <= 10_000:
        raise _invalid(source, f"{where}.confirmations", "must be blocks between 1 and 10000")
    finality = body.get("finality", max(FINALITY, confirmations))
    if isinstance(finality, bool) or not isinstance(finality, int) or not confirmations <= finality <= 100_000:
        raise _invalid(source, f"{where}.finality", "must be blocks, from the confirmations to 100000")
    return ChainConfig(name, chain_id, url, confirmations, finality)


def _switch(value: object, source: str, key: str) -> bool:
    if not isinstance(value, bool):
        raise _invalid(source, key, "must be true or false")
    return value


def _listen(value: object, source: str, key: str) -> tuple[str, int]:
    host, _, port = str(value).rpartition(":")
    if not isinstance(value, str) or not host or not port.isdigit() or int(port) > 65_535:
        raise _invalid(source, key, "must be HOST:PORT")
    return host, int(port)


def _check_keys(body: Mapping[str, Any], known: tuple[str, ...], source: str, where: str) -> None:
    for key in body:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            raise _invalid(source, f"{where}.{key}".lstrip("."), f"is not a key here{hint}")


def _invalid(source: str, key: str, problem: str) -> ConfigError:
    place = f"{source}: {key}" if key else source
    return ConfigError(f"{place} {problem}", data={"file": source, "key": key})
