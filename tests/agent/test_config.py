import copy
import os
import pickle

import pytest

import walletgate
from walletgate.agent.config import Token, check_url, read_settings
from walletgate.errors import ConfigError

URL = "http://127.0.0.1:8550"


def refusal(call, *args, **kwargs):
    with pytest.raises(ConfigError) as caught:
        call(*args, **kwargs)
    return caught.value


@pytest.fixture
def write(home):
    def write(text, *, name="trader", mode=0o600):
        path = home / ".config" / "walletgate" / "agents" / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


def test_arguments_win_over_environment_and_file(write, token, monkeypatch):
    write(f'url = "http://file"\ntoken = "{token}-file"\n')
    assert read_settings("trader").url == "http://file"
    monkeypatch.setenv("WALLETGATE_URL", "http://environment")
    settings = read_settings("trader")
    assert (settings.url, settings.token.reveal()) == ("http://environment", token + "-file")
    monkeypatch.setenv("WALLETGATE_TOKEN", token + "-environment")
    settings = read_settings("trader", url="http://argument/")
    assert (settings.url, settings.token.reveal()) == ("http://argument", token + "-environment")
    assert read_settings("trader", url=URL, token=token).token.reveal() == token


@pytest.mark.parametrize(
    ("text", "code", "key"), [("", "url_missing", "url"), (f'url = "{URL}"', "token_missing", "token")]
)
def test_missing_setting_names_the_file_and_the_command(write, text, code, key):
    path = write(text)
    error = refusal(read_settings, "trader")
    assert (error.code, error.data["key"], error.data["file"]) == (code, key, str(path))
    assert "walletgate grant create trader" in error.detail
    assert f"WALLETGATE_{key.upper()}" in error.detail


def test_missing_file_is_the_same_as_an_empty_one():
    assert refusal(walletgate.account, "trader").code == "url_missing"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o622, 0o601])
def test_file_that_others_can_touch_is_refused(write, token, mode):
    path = write(f'url = "{URL}"\ntoken = "{token}"\n', mode=mode)
    error = refusal(read_settings, "trader")
    assert (error.code, error.data["file"]) == ("file_unsafe", str(path))
    assert f"chmod 600 {path}" in error.detail


def test_file_that_is_not_a_file_is_refused(home):
    (home / ".config" / "walletgate" / "agents" / "trader.toml").mkdir(parents=True)
    assert refusal(read_settings, "trader").code == "file_unreadable"
    os.mkfifo(home / ".config" / "walletgate" / "agents" / "pipe.toml", 0o600)
    descriptor = os.open(home / ".config" / "walletgate" / "agents" / "pipe.toml", os.O_RDWR)
    assert refusal(read_settings, "pipe").code == "file_unsafe"
    os.close(descriptor)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("url = ", "toml_syntax"),
        ("\xff", "bad_url"),
        ('uri = "x"', "unknown_key"),
        ("url = 5", "wrong_type"),
        ("[url]", "wrong_type"),
    ],
)
def test_file_with_an_error_is_refused(write, text, code):
    path = write(text if code != "bad_url" else 'url = "ftp://x"\ntoken = "y"')
    error = refusal(read_settings, "trader")
    assert error.code == code
    assert error.data.get("file", str(path)) == str(path)


def test_broken_file_does_not_show_its_token(write, token):
    write(f'token = "{token}" oops')
    error = refusal(read_settings, "trader")
    assert error.code == "toml_syntax"
    assert token not in str(error)
    assert error.__cause__ is None


def test_file_that_is_not_text_is_refused(write):
    path = write("")
    path.write_bytes(b"\xff\xfe")
    assert refusal(read_settings, "trader").code == "toml_syntax"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 65, "ä", "a\n"])
def test_agent_name_is_a_plain_word(name):
    assert refusal(read_settings, name, url=URL).code == "bad_agent_name"


@pytest.mark.parametrize(
    "text", ["", "wg_grant_", "wg_operator_aaaaaaaaaaaa", "0x" + "11" * 32, "wg_grant_aaaa aaaa", "wg_grant_aaaaaaaa\n"]
)
def test_what_is_not_a_grants_token_is_refused_without_showing_it(text):
    error = refusal(Token, text)
    assert error.code == "bad_token"
    assert text not in error.detail or len(text) < 10


def test_token_shows_and_copies_itself_nowhere(token):
    secret = Token(token)
    assert token not in repr(secret) + str(secret) + f"{secret}"
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(secret)


@pytest.mark.parametrize("url", [URL, "https://gate.example", "http://[::1]:8550/gate", "unix:///run/agent.sock"])
def test_good_url_is_taken_without_its_last_slash(url):
    assert check_url(url) == check_url(url + "/") == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gate:8550",
        "ftp://gate",
        "http://",
        "http://user:pass@gate",
        "http://gate?x=1",
        "http://gate#x",
        "http://gate:99999",
        "http://ga te",
        "http://gäte",
        "http://gate\r\nX: y",
        "unix://",
        "unix:///",
        "unix:relative.sock",
        "unix://host/path",
        "file:///etc/passwd",
    ],
)
def test_bad_url_is_refused(url):
    assert refusal(check_url, url).code == "bad_url"


def test_node_url_has_the_token_in_its_path_and_headers_have_it(write, token):
    write(f'url = "{URL}"\ntoken = "{token}"\n')
    assert walletgate.rpc_url("trader") == f"{URL}/rpc/{token}"
    assert walletgate.rpc_url("trader", chain="base") == f"{URL}/rpc/{token}/base"
    assert walletgate.rpc_url("trader", url="https://gate.example/") == f"https://gate.example/rpc/{token}"
    assert walletgate.rpc_headers("trader") == {"Authorization": f"Bearer {token}"}


def test_unix_socket_has_no_node_url(token):
    assert refusal(walletgate.rpc_url, "trader", url="unix:///run/agent.sock", token=token).code == "no_rpc_url"
