"""Evidence from the log: prove one request in one file, and verify proofs, logs and checkpoints offline."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from walletgate.audit.entry import Kind
from walletgate.audit.keys import follow_keys
from walletgate.audit.merkle import root_of
from walletgate.audit.note import (
    Checkpoint,
    SigningKey,
    VerifyingKey,
    open_checkpoint,
    parse_checkpoint,
    parse_verifying_key,
)
from walletgate.audit.proof import FILE_BYTES_MAX, is_proof, open_proof
from walletgate.audit.verify import VerifyReport, verify_entries
from walletgate.audit.witness import cosigned_at
from walletgate.cli.audit import LogReader
from walletgate.cli.client import OperatorClient, signed_command
from walletgate.cli.common import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    OperatorFileOption,
    OperatorOption,
    YesOption,
    escape,
    home_of,
    leaving,
    out,
    print_json,
    talk,
)  # fmt: skip
from walletgate.cli.show import moment
from walletgate.encoding import to_hex
from walletgate.errors import AuditError, ConfigError
from walletgate.gate.checkpoints import Checkpoints
from walletgate.gate.evidence import check_evidence, key_links, make_evidence
from walletgate.server.app import clock_ms
from walletgate.server.home import Home
from walletgate.server.witness import read_seen, seen_path
from walletgate.store import open_store, read_store
from walletgate.types import Hash32

KeyOption = Annotated[
    list[str] | None,
    typer.Option("--key", help="The log's vkey, or a file with it; by default the home's own. Repeatable."),
]


def prove(
    request: Annotated[str, typer.Argument(help="The request's id, as `walletgate request list` shows it.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here instead of to stdout.")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Write one file that proves what happened to a request: who asked, why it was decided so, who approved, what was signed."""  # noqa: E501 - one sentence of help
    with leaving(as_json=as_json):
        place = home_of(home)
        note = fresh_note(place)
        with read_store(place.store()) as store:
            data = make_evidence(store, request, note=note, first=trusted_keys(place, None)[0])
        if output is None:
            sys.stdout.write(data.decode())
            return
        _write(output, data)
        talk.print(f"{output}  {len(data)} bytes. Next: [bold]walletgate audit verify {output}[/]")


def verify(
    file: Annotated[
        Path | None, typer.Argument(help="A proof or an exported directory; by default the home's own log.")
    ] = None,
    key: KeyOption = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--checkpoint", help="A kept checkpoint the log must contain. Repeatable.")
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option("--against", help="An old checkpoint to look for a fork against. Repeatable.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Check a proof, or hash every entry of the log again and compare with head, checkpoints and signatures."""
    with leaving(as_json=as_json):
        place = home_of(home)
        trusted = trusted_keys(place, key)
        if file is not None and file.is_dir():
            from walletgate.cli.export import verify_directory  # noqa: PLC0415 - it builds on this module

            _print_report(verify_directory(file, trusted), trusted, as_json=as_json)
        elif file is not None:
            verify_file(file, trusted, as_json=as_json)
        else:
            verify_home(place, trusted, checkpoint or [], against or [], as_json=as_json)


def verify_file(file: Path, trusted: list[VerifyingKey], *, as_json: bool) -> None:
    """Checks a proof and says what it proves.

    Raises:
        ConfigError: `file_unreadable`.
        AuditError: what does not hold.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}", code="file_unreadable") from None
    if not is_proof(data):
        raise AuditError(f"{file} is not a proof that this version knows", code="proof_malformed")
    proof = open_proof(data, trusted=trusted)
    statements = check_evidence(proof)
    if as_json:
        print_json(
            {
                "request": proof.request, "log": proof.origin, "size": proof.checkpoint.size,
                "root": to_hex(proof.checkpoint.root), "key": str(proof.key), "bound": dict(proof.bound),
                "withheld": list(proof.withheld), "unproven": list(proof.unproven),
                "proven": [{"text": s.text, "entry": s.seq} for s in statements],
            }
        )  # fmt: skip
        return
    out.print(f"[bold green]proven[/]  request {escape(proof.request)}")
    for statement in statements:
        place = "       " if statement.seq is None else f"#{statement.seq:<6}"
        out.print(f"  [dim]{place}[/] {escape(statement.text)}")
    for name in proof.withheld:
        out.print(f"  [dim]withheld[/] {escape(name)}: the log holds a commitment to it, the file not the text")
    out.print("[bold]not proven[/]")
    for text in proof.unproven:
        out.print(f"  {escape(text)}")


def verify_home(
    place: Home, trusted: list[VerifyingKey], kept: list[Path], against: list[Path], *, as_json: bool
) -> None:
    """Verifies the log of a home against everything that is signed.

    Raises:
        AuditError: the first bad entry.
    """
    reader = LogReader(place)
    origin = place.read_config().name
    notes = [*reader.checkpoints(), *[read_text(path) for path in kept]]
    if place.checkpoint.exists():
        notes.append(read_text(place.checkpoint))
    opened, keys = open_all(place, trusted, origin, notes)
    report = verify_entries(reader.rows(), origin=origin, head=reader.head(), checkpoints=opened)
    for path in against:
        check_fork(place, trusted, read_text(path), as_json=as_json)
    gone = reader.missing_triggers()
    _print_report(report, keys, as_json=as_json, missing=gone)
    if gone and not as_json:
        talk.print(f"[bold yellow]warning[/] the store's append-only triggers are not as made: {', '.join(gone)}")


def check_fork(place: Home, trusted: list[VerifyingKey], note: str, *, as_json: bool) -> None:
    """Whether the log, which verifies by itself, still begins with what an old checkpoint says.

    Raises:
        AuditError: `log_forked`, with both signed notes: who has them can show anybody that the log lied to someone.
    """
    origin = place.read_config().name
    (theirs,), _ = open_all(place, trusted, origin, [note])
    with read_store(place.store()) as store:
        size = store.log_size
        leaves = store.leaves(theirs.size) if theirs.size <= size else []
        ours = max(store.checkpoints(), key=lambda text: int(text.split("\n")[1]), default="")
    if theirs.size <= size and root_of(map(Hash32, leaves)) == theirs.root:
        if not as_json:
            out.print(f"[bold green]no fork[/]  the log still begins with the {theirs.size} entries of that checkpoint")
        return
    if not as_json:
        out.print("[bold red]FORK[/]  one key signed two histories of this log; keep both notes:", highlight=False)
        sys.stdout.write(f"\n{note}\n{ours}\n")
    why = f"has {size} entries" if theirs.size > size else "begins otherwise"
    raise AuditError(
        f"the checkpoint was signed over {theirs.size} entries, and the log now {why}",
        code="log_forked",
        data={"index": 0, "end": theirs.size, "theirs": note, "ours": ours},
    )


def _print_report(
    report: VerifyReport, keys: list[VerifyingKey], *, as_json: bool, missing: Sequence[str] = ()
) -> None:
    if as_json:
        print_json(
            {
                "size": report.size,
                "root": to_hex(report.root),
                "checkpoints": report.checkpoints,
                "covered": report.covered,
                "keys": [str(key) for key in keys],
                "missing_triggers": list(missing),
            }
        )
        return
    out.print(f"[bold green]verified[/]  {report.size} entries, root {to_hex(report.root)}")
    out.print(f"{report.checkpoints} signed checkpoints agree; they cover {report.covered} entries")


def open_all(
    place: Home, trusted: list[VerifyingKey], origin: str, notes: list[str]
) -> tuple[list[Checkpoint], list[VerifyingKey]]:
    """Every note opened, under the trusted keys or those the log handed over to; and these keys.

    Raises:
        AuditError: what the first bad note is.
    """
    try:
        return [open_checkpoint(note, origin=origin, trusted=trusted) for note in notes], trusted
    except AuditError as error:
        if error.code != "note_unsigned":
            raise
    # Only a log that changed its key is searched for where it did.
    keys = all_keys(place, trusted, origin)
    return [open_checkpoint(note, origin=origin, trusted=keys) for note in notes], keys


def all_keys(place: Home, trusted: list[VerifyingKey], origin: str) -> list[VerifyingKey]:
    """The keys that may have signed the home's log: those trusted, and those that the log hands over to.

    Raises:
        AuditError: `key_chain_broken`.
    """
    reader = LogReader(place)
    changes = [
        (seq, entry) for seq, _, entry in reader.rows() if b'"kind":"%s"' % Kind.LOG_KEY_CHANGED.value.encode() in entry
    ]
    if not changes:
        return trusted
    with read_store(place.store()) as store:
        links = key_links(store, changes, origin)
    return [key for first in trusted for key in follow_keys(first, links, origin=origin)]


def trusted_keys(place: Home, given: list[str] | None) -> list[VerifyingKey]:
    """The keys that the verifier starts from: those given, otherwise the home's own.

    Raises:
        ConfigError: `home_missing`.
        AuditError: `key_malformed`.
    """
    texts = [read_text(Path(text)) if "+" not in text else text for text in given or []]
    return [parse_verifying_key(text.strip()) for text in texts or [read_text(place.log_vkey)]]


def fresh_note(place: Home) -> str:
    """A checkpoint over everything committed so far, signed by the running gate, or here if none runs.

    Raises:
        StoreError: `behind_checkpoint`, `history_changed`, `store_locked`.
    """
    client = OperatorClient(place)
    if client.is_running():
        return str(client.get("/v1/log?start=0&stop=0")["checkpoint"])
    with read_store(place.store()) as store:
        if place.checkpoint.exists():
            kept = read_text(place.checkpoint)
            if parse_checkpoint(kept.partition("\n\n")[0] + "\n").size == store.log_size:
                return kept
    key = place.read_log_key()
    return asyncio.run(_sign(place, key))


async def _sign(place: Home, key: SigningKey) -> str:
    store = open_store(place.store(), origin=place.read_config().name)
    try:
        checkpoints = Checkpoints(store, key, place.checkpoint)
        checkpoints.check_kept()
        return await checkpoints.sign(clock_ms())
    finally:
        await store.close()


def read_text(path: Path) -> str:
    """A small file.

    Raises:
        ConfigError: `home_missing`.
    """
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"cannot read {path}: {problem}", code="home_missing") from None


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", code="file_unwritable") from None


def witness(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show the key with which this gate cosigns other logs, what it has seen of them, and who cosigned its own."""
    with leaving(as_json=as_json):
        place = home_of(home)
        config = place.read_config()
        key = place.read_cosigner().key
        logs = config.witness.logs if config.witness is not None else {}
        seen = {origin: read_seen(seen_path(place.witness_folder, origin)) for origin in logs}
        own = {
            cosigner: place.witness_folder / f"cosigned-{cosigner.key_id.hex()}.note"
            for _, cosigner in config.witnesses
        }
        notes = {cosigner: read_text(path) if path.exists() else None for cosigner, path in own.items()}
        if as_json:
            print_json(
                {
                    "key": str(key),
                    "logs": {origin: None if at is None else at.size for origin, at in seen.items()},
                    "witnesses": {
                        cosigner.name: None if note is None else {"at": cosigned_at(note, cosigner), "note": note}
                        for cosigner, note in notes.items()
                    },
                }
            )
            return
        out.print(f"cosigns with  {key}", highlight=False)
        for origin, at in seen.items():
            out.print(f"log      {escape(origin)}  {'nothing seen yet' if at is None else f'{at.size} entries seen'}")
        for cosigner, note in notes.items():
            state = "not yet" if note is None else f"cosigned at {moment(cosigned_at(note, cosigner) * 1000)} UTC"
            out.print(f"witness  {escape(cosigner.name)}  {state}")
        if not logs and not notes:
            talk.print("Neither \\[witness] nor \\[\\[witnesses]] is in walletgate.toml; the README shows both.")


def rotate_key(
    yes: YesOption = False,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Change the key that signs the log; the old key vouches for the new, so verifiers need nothing."""
    with leaving(as_json=as_json):
        place = home_of(home)
        before = str(place.read_log_key().verifying_key)
        if not yes and not typer.confirm("Change the key that signs the log?", err=True):
            raise typer.Abort
        after = place.make_next_log_key()
        payload = {"before": before, "after": str(after.verifying_key)}
        answer = signed_command(
            home, "log.rotate_key", payload, operator=operator, passphrase_file=operator_passphrase_file
        )
        if "done" not in answer:  # no gate runs
            asyncio.run(_rotate(place, after))
        if as_json:
            print_json({"before": before, "after": str(after.verifying_key)})
        else:
            out.print(f"signs now  {after.verifying_key}", highlight=False)
            talk.print("Witnesses that name the old key must be given the new one as well.")


async def _rotate(place: Home, after: SigningKey) -> None:
    store = open_store(place.store(), origin=place.read_config().name)
    try:
        checkpoints = Checkpoints(store, place.read_log_key(), place.checkpoint)
        checkpoints.check_kept()
        await checkpoints.rotate(after, place.adopt_next_log_key, max(clock_ms(), store.last_time_ms()))
    finally:
        await store.close()


def redact(
    request: Annotated[str, typer.Argument(help="The request's id.")],
    yes: YesOption = False,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Erase what an agent wrote for people with a request; the log and every proof stay valid without it."""
    with leaving(as_json=as_json):
        if not yes and not typer.confirm(f"Erase the memo of {request}? It cannot be brought back.", err=True):
            raise typer.Abort
        answer = signed_command(
            home, "request.redact", {"request": request}, operator=operator, passphrase_file=operator_passphrase_file
        )
        if as_json:
            print_json(answer)
        else:
            out.print(f"erased  {', '.join(answer['erased'])} of {escape(answer['request'])}")


def add_to(app: typer.Typer) -> None:
    """Makes these tools verbs of `walletgate audit`."""
    app.command()(verify)
    app.command()(prove)
    app.command()(witness)
    app.command("rotate-key")(rotate_key)
    app.command()(redact)
