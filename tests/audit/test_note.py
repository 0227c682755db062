import copy
import pickle
import traceback

import pytest

from walletgate.audit import (
    Checkpoint,
    SigningKey,
    leaf_hash,
    note,
    open_checkpoint,
    open_note,
    parse_checkpoint,
    parse_signing_key,
    parse_verifying_key,
    root_of,
    sign_checkpoint,
    sign_note,
)
from walletgate.audit.note import NOTE_BYTES_MAX, SIGNATURES_MAX
from walletgate.errors import AuditError

# The example key and note of the C2SP signed-note specification.
SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# The example of Go's golang.org/x/mod/sumdb/note; Ed25519 is deterministic, so the same key makes the same note.
GO_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = GO_TEXT + (
    "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

ORIGIN = "gate.example/audit/1"
KEY = SigningKey(ORIGIN, bytes(range(32)))
OTHER = SigningKey("witness.example", bytes(range(1, 33)))
ROOT = root_of([leaf_hash(b"a"), leaf_hash(b"b")])
CHECKPOINT = Checkpoint(ORIGIN, 2, ROOT)
NOTE = sign_checkpoint(CHECKPOINT, [KEY])
TEXT = str(CHECKPOINT)
LINE = NOTE.split("\n\n")[1]


def code_of(call, *args, **kwargs):
    with pytest.raises(AuditError) as caught:
        call(*args, **kwargs)
    return caught.value.code


def test_example_of_the_specification_opens():
    opened = open_note(SPEC_NOTE, [parse_verifying_key(SPEC_VKEY)])
    assert opened.text == "This is an example message.\n"
    assert [str(key) for key in opened.signers] == [SPEC_VKEY]


def test_example_of_the_go_implementation_is_made_byte_for_byte():
    key = parse_signing_key(GO_SKEY)
    assert str(key.verifying_key) == GO_VKEY
    assert key.unsafe_secret() == GO_SKEY
    assert sign_note(GO_TEXT, [key]) == GO_NOTE
    assert open_note(GO_NOTE.encode(), [parse_verifying_key(GO_VKEY)]).text == GO_TEXT


def test_example_in_the_documentation_is_a_signed_checkpoint():
    block = note.__doc__.split("A signature is")[0].split("\n")[4:]
    text = "\n".join(line.removeprefix("    ") for line in block).strip("\n") + "\n"
    assert open_checkpoint(text, origin=ORIGIN, trusted=[KEY.verifying_key]).size == 2


def test_checkpoint_round_trips():
    assert open_checkpoint(NOTE, origin=ORIGIN, trusted=[KEY.verifying_key]) == CHECKPOINT
    assert parse_checkpoint(TEXT) == CHECKPOINT


def test_note_with_two_signatures_names_both_and_passes_over_unknown_keys():
    both = sign_checkpoint(CHECKPOINT, [KEY, OTHER])
    assert open_note(both, [KEY.verifying_key, OTHER.verifying_key]).signers == (KEY.verifying_key, OTHER.verifying_key)
    assert open_note(both, [OTHER.verifying_key]).signers == (OTHER.verifying_key,)


def test_note_signed_by_nobody_known_is_refused():
    assert code_of(open_note, NOTE, [OTHER.verifying_key]) == "note_unsigned"
    assert code_of(open_note, NOTE, []) == "note_unsigned"


def test_key_with_the_name_and_id_of_another_opens_nothing():
    impostor = note.VerifyingKey(KEY.name, KEY.verifying_key.key_id, OTHER.verifying_key.public)
    assert code_of(open_note, NOTE, [impostor]) == "note_forged"


def test_one_forged_signature_of_a_trusted_key_spoils_the_note():
    forged = TEXT + "\n" + LINE + OTHER.sign("something else\n")
    assert open_note(forged, [KEY.verifying_key]).text == TEXT
    assert code_of(open_note, forged, [KEY.verifying_key, OTHER.verifying_key]) == "note_forged"


def test_every_changed_byte_of_a_note_is_refused():
    data = NOTE.encode()
    for at in range(len(data)):
        changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        assert code_of(open_checkpoint, changed, origin=ORIGIN, trusted=[KEY.verifying_key]) in {
            "note_malformed",
            "note_forged",
            "note_unsigned",
        }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        TEXT,
        TEXT + "\n",
        TEXT + LINE,
        NOTE.rstrip("\n"),
        NOTE + "\n",
        NOTE + "trailing",
        NOTE.replace("— ", "- "),
        NOTE.replace("— ", "—"),
        NOTE.replace("— ", "—  "),
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("gate", "ga\0te"),
        NOTE.replace("gate", "ga\tte"),
        TEXT + "\n— a+b AAAAAAAA\n",
        TEXT + "\n— a\u2028b AAAAAAAA\n",
        TEXT + "\n— name AAAA\n",
        TEXT + "\n— name AAAAAAB=\n",
        TEXT + "\n— name AAAAAAA\n",
        TEXT + "\n— name !AAAAAAA\n",
        TEXT + "\n— name\n",
        TEXT + "\n" + LINE * (SIGNATURES_MAX + 1),
        "x" * NOTE_BYTES_MAX + NOTE,
        "\ud800" + NOTE,
        b"\xff" + NOTE.encode(),
    ],
)
def test_malformed_note_is_refused(text):
    assert code_of(open_note, text, [KEY.verifying_key]) == "note_malformed"


def test_as_many_signatures_as_allowed_are_read():
    many = TEXT + "\n" + OTHER.sign(TEXT) * (SIGNATURES_MAX - 1) + LINE
    assert open_note(many, [KEY.verifying_key]).signers == (KEY.verifying_key,)


ROOT_TEXT = TEXT.split("\n")[2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{ORIGIN}\n2\n{ROOT_TEXT}",
        f"{ORIGIN}\n2\n{ROOT_TEXT}\nextension\n",
        f"{ORIGIN}\n2\n{ROOT_TEXT}\n\n",
        f"\n2\n{ROOT_TEXT}\n",
        f"two words\n2\n{ROOT_TEXT}\n",
        f"a+b\n2\n{ROOT_TEXT}\n",
        f"{'x' * 256}\n2\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n02\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n+2\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n-2\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n 2\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n2_0\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n\u0662\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n0x2\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n{2**63}\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n2\n{ROOT_TEXT[:-1]}\n",
        f"{ORIGIN}\n2\n{ROOT_TEXT} \n",
        f"{ORIGIN}\n2\nAAAA\n",
        f"{ORIGIN}\n2\n{'A' * 42}B=\n",
        f"{ORIGIN}\n2\n\u0662\n",
        f"{ORIGIN}\n2\n{'-' * 43}=\n",
    ],
)
def test_malformed_checkpoint_is_refused(text):
    assert code_of(parse_checkpoint, text) == "checkpoint_malformed"


def test_largest_checkpoint_parses():
    assert parse_checkpoint(f"{ORIGIN}\n{2**63 - 1}\n{ROOT_TEXT}\n").size == 2**63 - 1


def test_checkpoint_of_another_log_is_refused():
    signed = sign_checkpoint(Checkpoint("other.example", 2, ROOT), [KEY])
    assert code_of(open_checkpoint, signed, origin=ORIGIN, trusted=[KEY.verifying_key]) == "checkpoint_foreign"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name+00000000",
        SPEC_VKEY + "A",
        SPEC_VKEY.replace("530d903a", "530d903b"),
        SPEC_VKEY.replace("530d903a", "530D903A"),
        SPEC_VKEY.replace("example.com", "example.org"),
        SPEC_VKEY.replace("Aeky", "Aiky"),
        SPEC_VKEY.replace("example.com/foo", ""),
        GO_SKEY,
    ],
)
def test_malformed_verifying_key_is_refused(text):
    assert code_of(parse_verifying_key, text) == "key_malformed"


@pytest.mark.parametrize(
    "text", ["", GO_VKEY, GO_SKEY[:-1], GO_SKEY.replace("c74f20a3", "c74f20a4"), GO_SKEY.replace("Peter", "Petra")]
)
def test_malformed_signing_key_is_refused_without_showing_it(text):
    with pytest.raises(AuditError) as caught:
        parse_signing_key(text)
    assert caught.value.code == "key_malformed"
    assert "AYEKFALVFGy" not in "".join(traceback.format_exception_only(caught.value))


@pytest.mark.parametrize(("name", "seed"), [("a b", bytes(32)), ("", bytes(32)), ("a", bytes(31)), ("a", bytes(33))])
def test_signing_key_with_a_bad_name_or_seed_is_refused(name, seed):
    assert code_of(SigningKey, name, seed) == "key_malformed"


@pytest.mark.parametrize("text", ["no newline", "tab\t\n", "nul\0\n", ""])
def test_text_that_cannot_be_a_note_is_not_signed(text):
    assert code_of(sign_note, text, [KEY]) == "note_malformed"


def test_note_without_a_key_is_not_made():
    assert code_of(sign_note, TEXT, []) == "note_malformed"


def test_signing_key_neither_shows_nor_copies_itself():
    secret = KEY.unsafe_secret()
    assert repr(KEY) == "SigningKey('gate.example/audit/1')"
    assert secret.rsplit("+", 1)[1] not in repr(KEY) + str(KEY)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(KEY)
