"""What an instance can be told, and what it says when it was told nonsense."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from config.errors import ConfigError
from config.settings import Settings
from config.sources import load
from tests.config.test_properties import LIBRARYS
from tests.github.keys import key_pair

SECRET = "hunter2-do-not-show"
KEY, _ = key_pair()
NAMED_IN_THE_ISSUE = [
    "DATABASE_URL",
    "QUEUE_URL",
    "DATA_DIR",
    "HOST",
    "PORT",
    "PUBLIC_URL",
    "GITHUB_API_URL",
    "GITHUB_WEBHOOK_SECRET",
    "GITHUB_TOKEN",
    "GITHUB_APP_ID",
    "GITHUB_APP_PRIVATE_KEY",
    "REGISTRY",
    "REGISTRY_USERNAME",
    "REGISTRY_PASSWORD",
    "WORKER_NAME",
    "WORKER_POOL",
    "WORKER_SLOTS",
    "SECRET_KEY",
]
SECRETS = (
    "github_webhook_secret github_webhook_secret_previous github_token github_app_private_key "
    "registry_password secret_key api_token"
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a blacktree.toml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("config.sources.DEFAULT_FILES", (Path("blacktree.toml"),))
    return tmp_path


def env(**values: str) -> Mapping[str, str]:
    return {f"BLACKTREE_{name.upper()}": value for name, value in values.items()}


def complaint(environ: Mapping[str, str], file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(environ, file)
    return str(caught.value)


def toml(folder: Path, text: str) -> Path:
    file = folder / "settings.toml"
    file.write_text(text)
    return file


def test_without_any_setting_there_are_the_embedded_defaults() -> None:
    settings = load({"PATH": "/bin", "DATABASE_URL": "not ours"})

    assert settings.queue_url == "memory://"
    assert settings.store_url == f"sqlite:///{settings.data_dir}/blacktree.db"
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.base_url == "http://127.0.0.1:8000"
    assert (settings.github_api_url, settings.github_url) == ("https://api.github.com", "https://github.com")
    assert (settings.worker_pool, settings.worker_slots) == ("default", 2)
    assert settings.worker, "the host's name"
    assert all(getattr(settings, name) is None for name in SECRETS.split())


def test_an_ipv6_address_is_in_brackets_where_a_url_has_it() -> None:
    settings = load(env(host="[fd00::7]"))

    assert settings.base_url == "http://[fd00::7]:8000"
    assert settings.environment_host == "fd00::7"


def test_the_data_is_kept_in_the_home_folder_by_default() -> None:
    assert load({}).data_dir == Path("~/.local/share/blacktree").expanduser()


def test_a_home_folder_in_a_path_is_found() -> None:
    assert load(env(data_dir="~/here")).data_dir == Path.home() / "here"


@pytest.mark.parametrize("name", NAMED_IN_THE_ISSUE)
def test_every_setting_that_was_promised_exists(name: str) -> None:
    field = Settings.model_fields[name.lower()]

    assert field.description


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WORKER_SLOT", "worker_slots"),
        ("DATABSE_URL", "database_url"),
        ("GITHUB_WEBHOOK_SECRETS", "github_webhook_secret"),
        ("GITHUB_WEBHOOK_SECRETT_FILE", None),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest_one(
    name: str, meant: str | None, tmp_path: Path
) -> None:
    (tmp_path / "value").write_text(SECRET)

    said = complaint({f"BLACKTREE_{name}": str(tmp_path / "value")})

    assert said.startswith(f"BLACKTREE_{name}: there is no such setting.")
    if meant:
        assert f"Did you mean {meant}?" in said
    assert SECRET not in said


def test_a_variable_like_no_other_gets_no_guess() -> None:
    assert complaint(env(xyzzy="1")) == "BLACKTREE_XYZZY: there is no such setting."


def test_an_unknown_key_of_the_file_is_named_with_the_file_and_the_nearest_key(tmp_path: Path) -> None:
    file = toml(tmp_path, 'worker_pol = "big"\n')

    said = complaint({}, file)

    assert "worker_pol: there is no such setting. Did you mean worker_pool?" in said
    assert said.startswith((f"{file}: ", "the TOML file: "))


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    said = complaint(env(port="http", slots="2", worker_slots="0"), toml(tmp_path, "lease = -1\n"))

    assert len(said.splitlines()) == 4


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("port", "http", "whole number"),
        ("port", "65536", "65535"),
        ("port", "-1", "0"),
        ("worker_slots", "0", "1"),
        ("worker_slots", "65", "64"),
        ("worker_pool", "two words", "letters, digits and . _ - only"),
        ("worker_name", "a/b", "letters, digits and . _ - only"),
        ("queue_prefix", "", None),
        ("queue_url", "redis://here", "amqp://"),
        ("queue_url", "memory", "memory://"),
        ("database_url", "mysql://here/db", "postgresql://"),
        ("github_api_url", "ftp://github", "https://"),
        ("public_url", "deploy.example.com", "https://"),
        ("proxy", "nginx", "http://"),
        ("proxy_tls", "letsencrypt", "acme"),
        ("proxy_files", "routes", "absolute path"),
        ("acme_directory", "ca.test", "https://"),
        ("proxy_ports", "20000", "FIRST-LAST"),
        ("proxy_ports", "300-200", "FIRST-LAST"),
        ("proxy_ports", "0-10", "FIRST-LAST"),
        ("proxy_ports", "60000-70000", "FIRST-LAST"),
        ("github_app_id", "blacktree", "whole number"),
        ("lease", "0", "greater than 0"),
        ("job_timeout", "soon", "number"),
        ("attempts", "0", "1"),
        ("attempts", "21", "20"),
        ("retention", "3", "greater than 3"),
        ("log_format", "xml", "'text' or 'json'"),
    ],
)
def test_a_bad_value_is_refused_with_the_variables_name(name: str, value: str, hint: str | None) -> None:
    if hint is None:
        assert load(env(**{name: value})) == load({}), "empty is the same as not set"
        return

    said = complaint(env(**{name: value}))

    assert said.startswith(f"BLACKTREE_{name.upper()}: ")
    assert hint in said


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("database_url", "postgres://db/blacktree", "postgres://db/blacktree"),
        ("queue_url", "amqps://broker/", "amqps://broker/"),
        ("github_api_url", "https://ghe.example.com/api/v3/", "https://ghe.example.com/api/v3"),
        ("public_url", "https://deploy.example.com/", "https://deploy.example.com"),
        ("proxy", "none", "none"),
        ("proxy", "http://caddy:2019/", "http://caddy:2019"),
        ("port", "0", 0),
        ("proxy_ports", "1-65535", "1-65535"),
    ],
)
def test_a_good_value_is_kept(name: str, value: str, kept: Any) -> None:
    assert getattr(load(env(**{name: value})), name) == kept


def test_github_enterprise_is_cloned_from_its_own_host() -> None:
    settings = load(env(github_api_url="https://ghe.example.com/api/v3"))

    assert settings.github_url == "https://ghe.example.com"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, 'worker_pool = "from-file"\nworker_slots = 7\n')

    settings = load(env(worker_pool="from-environment"), file)

    assert (settings.worker_pool, settings.worker_slots) == ("from-environment", 7)


def test_an_empty_variable_leaves_the_files_value(tmp_path: Path) -> None:
    assert load(env(worker_pool=""), toml(tmp_path, 'worker_pool = "gpu"\n')).worker_pool == "gpu"


def test_the_file_is_found_by_its_variable_and_in_its_place(tmp_path: Path) -> None:
    named = toml(tmp_path, "port = 1\n")
    (tmp_path / "blacktree.toml").write_text("port = 2\n")

    assert load(env(config=str(named))).port == 1
    assert load({}).port == 2


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"port = = 1\n", "is not TOML"), (b"\xff\xfe", "is not TOML"), (None, "cannot be read")],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, what: str) -> None:
    file = tmp_path / "broken.toml"
    if content is not None:
        file.write_bytes(content)

    assert complaint({}, file).startswith(f"{file}: {what}")


@pytest.mark.parametrize("name", SECRETS.split())
def test_any_secret_may_come_from_a_file_without_its_last_newline(tmp_path: Path, name: str) -> None:
    secret = KEY if name == "github_app_private_key" else SECRET
    (tmp_path / "secret").write_text(f"{secret}\n")
    others = {
        "github_app_private_key": {"github_app_id": "7"},
        "registry_password": {"registry_username": "u"},
    }

    settings = load(env(**{f"{name}_file": str(tmp_path / "secret")}, **others.get(name, {})))

    assert getattr(settings, name).get_secret_value() == secret


def test_a_secrets_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = complaint(env(secret_key_file=str(tmp_path / "nowhere")))

    assert said.startswith("BLACKTREE_SECRET_KEY_FILE: ")
    assert "nowhere cannot be read" in said


@pytest.mark.parametrize("order", [("", "_FILE"), ("_FILE", "")])
def test_a_secret_by_value_and_by_file_is_an_error(tmp_path: Path, order: tuple[str, str]) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    values = {"": SECRET, "_FILE": str(file)}

    said = complaint({f"BLACKTREE_API_TOKEN{suffix}": values[suffix] for suffix in order})

    assert said == "BLACKTREE_API_TOKEN and BLACKTREE_API_TOKEN_FILE are both set: remove one"


@pytest.mark.parametrize("order", [("", "_FILE"), ("_FILE", "")])
def test_an_empty_variable_beside_its_file_is_as_good_as_none(tmp_path: Path, order: tuple[str, str]) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    values = {"": "", "_FILE": str(file)}

    settings = load({f"BLACKTREE_API_TOKEN{suffix}": values[suffix] for suffix in order})

    assert settings.api_token is not None


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"github_app_id": "7"}, "GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY go together"),
        ({"github_app_private_key": KEY}, "GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY go together"),
        (
            {"github_token": SECRET, "github_app_id": "7", "github_app_private_key": KEY},
            "GITHUB_TOKEN or GITHUB_APP_ID, not both",
        ),
        ({"queue_url": "amqp://a/", "queue_ca": "/ca.pem"}, "for TLS: set QUEUE_URL to amqps://"),
        ({"queue_url": "amqps://a/", "queue_key": "/key.pem"}, "set QUEUE_CERTIFICATE too"),
        ({"registry_username": "ada"}, "REGISTRY_USERNAME and REGISTRY_PASSWORD go together"),
        ({"registry_password": SECRET}, "REGISTRY_USERNAME and REGISTRY_PASSWORD go together"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(given: dict[str, str], hint: str) -> None:
    said = complaint(env(**given))

    assert hint in said
    assert SECRET not in said


@pytest.mark.parametrize("name", SECRETS.split())
def test_a_secret_of_the_wrong_type_is_in_no_complaint(tmp_path: Path, name: str) -> None:
    said = complaint({}, toml(tmp_path, f'{name} = ["{SECRET}"]\n'))

    assert re.search(rf"\b{name}: ", said)
    assert SECRET not in said


def test_secrets_are_in_no_repr() -> None:
    settings = load(
        env(
            github_webhook_secret=SECRET,
            github_app_id="7",
            github_app_private_key=KEY,
            registry_username="ada",
            registry_password=SECRET,
            secret_key=SECRET,
            api_token=SECRET,
        )
    )

    for secret in (SECRET, KEY.split()[4]):
        assert secret not in repr(settings)
        assert secret not in str(settings)


@pytest.mark.parametrize("url", ["database_url=postgresql://ada:{}@db/x", "queue_url=amqp://ada:{}@mq/"])
def test_the_passwords_of_urls_are_in_no_repr(url: str) -> None:
    name, _, value = url.format(SECRET).partition("=")

    assert SECRET not in repr(load(env(**{name: value})))


def test_a_bad_url_is_told_without_its_password() -> None:
    assert SECRET not in complaint(env(database_url=f"mysql://ada:{SECRET}@db/x"))


def test_the_variables_of_the_tests_are_no_settings() -> None:
    assert load(env(test_postgres_url="postgresql://x")) == load({})


@pytest.mark.parametrize(
    ("patterns", "name", "trusted"),
    [
        ("", "acme/shop", False),
        ("acme/shop", "acme/shop", True),
        ("acme/shop", "Acme/Shop", True),
        ("umbra/*, acme/sh?p", "acme/shop", True),
        ("acme/*", "acme-evil/shop", False),
        ("*/shop", "acme/shop", True),
        ("acme/shop,", "acme/other", False),
    ],
)
def test_only_repositories_that_are_named_are_trusted(patterns: str, name: str, trusted: bool) -> None:
    assert load(env(trusted_repositories=patterns)).trusts(name) is trusted


@pytest.mark.parametrize("patterns", ["*", "acme", "acme/", "/shop", "a/b/c", "acme/shop, *"])
def test_a_pattern_for_everything_at_once_is_refused(patterns: str) -> None:
    assert "must be OWNER/NAME" in complaint(env(trusted_repositories=patterns))


ONE_LINE = KEY.replace("\n", "\\n")
FORMS = {
    "as GitHub gave it": KEY,
    "one line": ONE_LINE,
    "one line in quotes": f'"{ONE_LINE}"',
    "spaces for line breaks": KEY.replace("\n", " "),
    "line breaks of Windows": KEY.replace("\n", "\r\n"),
    "base64 of the file": base64.b64encode(KEY.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_apps_key_is_taken_in_every_form_that_people_have_it_in(form: str) -> None:
    settings = load(env(github_app_id="7", github_app_private_key=form))

    assert settings.github_app_private_key is not None
    assert settings.github_app_private_key.get_secret_value() == KEY
    assert jwt.encode({}, settings.github_app_private_key.get_secret_value(), algorithm="RS256")


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("/etc/blacktree/app.pem", "is a path, not the key: name the file in GITHUB_APP_PRIVATE_KEY_FILE"),
        ("./app.pem", "is a path, not the key"),
        (SECRET, "must be the whole PEM that GitHub gave"),
        (KEY[: len(KEY) // 2], "must be the whole PEM that GitHub gave"),
        (KEY.replace(KEY.split()[6], ""), "is damaged, or no RSA key"),
        (key_pair()[1], "must be the App's own private key without a passphrase, not a PUBLIC KEY"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----",
            "must be the App's own private key without a passphrase, not a OPENSSH PRIVATE KEY",
        ),
    ],
)
def test_what_is_no_key_stops_the_start_and_is_not_quoted(form: str, told: str) -> None:
    said = complaint(env(github_app_id="7", github_app_private_key=form))

    assert said.startswith(f"BLACKTREE_GITHUB_APP_PRIVATE_KEY: {told}")
    assert form not in said
    assert KEY.split()[5] not in said


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("registry", "ghcr.io/Acme/", "ghcr.io/acme"),
        ("registry", "https://ghcr.io/Acme/", "ghcr.io/acme"),
        ("registry", "localhost:5000", "localhost:5000"),
        ("registry", "[::1]:5000/acme", "[::1]:5000/acme"),
        ("push_registries", " https://ghcr.io/Acme/ , docker.io/acme,", "ghcr.io/acme,docker.io/acme"),
        ("github_api_url", "https://github.com/", "https://api.github.com"),
        ("worker_address", "10.0.0.7", "10.0.0.7"),
        ("proxy_bot", "bot:8000", "bot:8000"),
        ("host", "::", "::"),
        ("host", "[::]", "::"),
        ("proxy_bind", "[fd00::7]", "fd00::7"),
        ("domain", "{environment}.{repository}.example.com", "{environment}.{repository}.example.com"),
        ("api_token", "token\r", SecretStr("token")),
    ],
)
def test_what_can_mean_one_thing_only_is_put_right(name: str, value: str, kept: Any) -> None:
    assert getattr(load(env(**{name: value})), name) == kept


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("registry", "http://ghcr.io/acme", "must be a prefix of images' names, such as ghcr.io/acme"),
        ("registry", "ghcr.io/acme:latest", "must be a prefix of images' names"),
        ("push_registries", "ghcr.io/acme, two words", "must be a prefix of images' names"),
        ("domain", "https://{environment}.example.com", "a host name alone: write {environment}.example.com"),
        (
            "domain",
            "{env}.example.com",
            "there is no {env}. Known are environment, repository, owner, branch, pr",
        ),
        ("proxy_host", "https://example.com", "must be a host name alone: write example.com"),
        ("proxy_bot", "http://bot:8000", "must be HOST:PORT"),
        ("public_url", "https://", "must be a URL such as https://deploy.example.com"),
        ("public_url", "https://[x", "must be a URL such as"),
        ("public_url", "https://a:port", "must be a URL such as"),
        ("github_api_url", "https://api github com", "must be a URL such as"),
        ("worker_address", "worker.internal", "must be an IP address of this machine"),
        ("host", "0.0.0.0:8000", "must be an address alone"),
        ("host", "[::]:8000", "must be an address alone"),
        ("host", "[here]", "must be an address alone"),
        ("proxy_bind", "10.0.0.7:443", "must be an address alone"),
        ("acme_email", "ops", "must be a mail address"),
        ("lease", "inf", "must be a number, and not endless"),
        ("build_cpus", "nan", "must be a number"),
        ("port", "eighty", "must be a whole number"),
        ("ecr_scan", "perhaps", "must be true or false"),
    ],
)
def test_what_can_never_work_stops_the_start(name: str, value: str, hint: str) -> None:
    said = complaint(env(**{name: value}))

    assert said.startswith(f"BLACKTREE_{name.upper()}: ")
    assert hint in said


def test_a_byte_order_mark_is_no_part_of_a_secret_or_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\xef\xbb\xbfhook-secret\r\n")
    file = tmp_path / "settings.toml"
    file.write_bytes(b"\xef\xbb\xbfport = 7\r\n")

    settings = load(env(github_webhook_secret_file=str(tmp_path / "secret")), file)

    assert settings.port == 7
    assert settings.github_webhook_secret == SecretStr("hook-secret")


def test_a_slip_in_the_file_is_told_with_its_line(tmp_path: Path) -> None:
    file = toml(tmp_path, "port = 1\nhost = here\n")

    assert complaint({}, file) == f'{file}: is not TOML in line 2: write NAME = VALUE, texts as "TEXT"'


TOML_VALUES = [
    *('""', '"x"', '"https://"', '"' + "a" * 300 + '"', "0", "-1", "10" * 20, "1.5", "inf", "nan", "true"),
    *("[]", '["a"]', "{a = 1}", "2026-11-27", "10:00:00", '"\\u0000"', '"\\r\\n"', '"[::1"', '"{"', '"%"'),
]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_any_value_of_any_setting_is_taken_or_told_in_our_words(tmp_path: Path, name: str) -> None:
    for value in TOML_VALUES:
        try:
            load({}, toml(tmp_path, f"{name} = {value}\n"))
        except ConfigError as error:
            for line in str(error).splitlines():
                assert not LIBRARYS.search(line), line
                assert name.upper() in line.upper(), line


def test_names_at_github_are_compared_as_github_does() -> None:
    settings = Settings(admins="Ada, octo-cat", organizations=" Acme ,umbrella")

    assert settings.administers("ada")
    assert settings.administers("Octo-Cat")
    assert not settings.administers("bob")
    assert not settings.administers("")
    assert not Settings().administers("")
    assert settings.welcome == ("acme", "umbrella")


@pytest.mark.parametrize("name", ["@ada", "a b", "-ada", "acme/ops"])
def test_what_is_no_name_at_github_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="must be a name at GitHub"):
        load({"BLACKTREE_ADMINS": name})


def test_a_client_has_its_secret() -> None:
    with pytest.raises(ConfigError, match="GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET go together"):
        load({"BLACKTREE_GITHUB_CLIENT_ID": "Iv1"})
