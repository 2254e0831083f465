"""What an instance can be told, and what it says when it was told nonsense."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from config.errors import ConfigError
from config.settings import Settings, load

SECRET = "hunter2-do-not-show"
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
    monkeypatch.setattr("config.settings.DEFAULT_FILES", (Path("blacktree.toml"),))
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
        ("port", "http", "integer"),
        ("port", "65536", "65535"),
        ("port", "-1", "0"),
        ("worker_slots", "0", "1"),
        ("worker_slots", "65", "64"),
        ("worker_pool", "two words", "pattern"),
        ("worker_name", "a/b", "pattern"),
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
        ("github_app_id", "blacktree", "integer"),
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
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    others = {
        "github_app_private_key": {"github_app_id": "7"},
        "registry_password": {"registry_username": "u"},
    }

    settings = load(env(**{f"{name}_file": str(tmp_path / "secret")}, **others.get(name, {})))

    assert getattr(settings, name).get_secret_value() == SECRET


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
        ({"github_app_private_key": SECRET}, "GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY go together"),
        (
            {"github_token": SECRET, "github_app_id": "7", "github_app_private_key": SECRET},
            "GITHUB_TOKEN or GITHUB_APP_ID, not both",
        ),
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
            github_app_private_key=SECRET,
            registry_username="ada",
            registry_password=SECRET,
            secret_key=SECRET,
            api_token=SECRET,
        )
    )

    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)


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
