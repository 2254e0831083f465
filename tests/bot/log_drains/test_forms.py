"""What drains are sent is what their standards say, whatever was printed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from bot.log_drains import forms, protobuf
from bot.log_drains.forms import Source
from bot.store.outputs import Kept, Said
from config.errors import ConfigError
from config.log_drains import LogDrain, address
from config.networks import parse_reachable
from config.reaching import may_reach
from config.repository import parse

SHOP = Source("acme/shop", "production")
AT = 1_795_857_123_120_455_000


def said(text: str, place: int = 9, **more: object) -> Kept:
    known = {"process": "web", "name": "shop-1", "container": "c" * 64, "release": 41}
    return Kept(place, Said(at=AT, text=text, **{**known, **more}))  # type: ignore[arg-type]


def test_a_line_of_json_has_all_that_the_api_has_and_whose_it_is() -> None:
    (line,) = forms.json_lines(SHOP, [said('"x"\u2028é')]).decode().split("\n")[:-1]
    assert json.loads(line) == {
        "at": "2026-11-28T09:12:03.120455Z", "text": '"x"\u2028é', "repository": "acme/shop",
        "environment": "production", "process": "web", "release": 41, "name": "shop-1", "container": "c" * 12,
        "note": False, "place": 9,
    }  # fmt: skip


def test_otlp_has_a_resource_for_each_container_and_numbers_of_64_bits_as_texts() -> None:
    lines = [said("a", 1), said("b", 2, container="d" * 64), said("c", 3), forms.missing(7, 70, AT)]
    told = json.loads(forms.otlp(SHOP, lines, AT + 1))["resourceLogs"]
    records = [[one["body"]["stringValue"] for one in r["scopeLogs"][0]["logRecords"]] for r in told]
    assert records[:2] == [["a", "c"], ["b"]]
    assert "7 lines" in records[2][0]
    attributes = {one["key"]: one["value"]["stringValue"] for one in told[0]["resource"]["attributes"]}
    assert attributes["service.name"] == "web"
    assert attributes["deployment.environment.name"] == "production"
    record = told[0]["scopeLogs"][0]["logRecords"][0]
    assert (record["timeUnixNano"], record["observedTimeUnixNano"]) == (str(AT), str(AT + 1))
    assert told[2]["scopeLogs"][0]["logRecords"][0]["severityNumber"] == 13


# RFC 5424, 6, as far as we use it.
SYSLOG = re.compile(
    r'<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) ([!-~]{1,255})'
    r' ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) '
    r'(\[blacktree@32473(?: [a-z]+="(?:[^"\\\]]|\\["\\\]])*")+\]) \ufeff(.*)', re.DOTALL
)  # fmt: skip


@pytest.mark.parametrize("name", ["shop-1", 'a"b]c\\d'])
def test_syslog_is_what_rfc_5424_says_whatever_the_names_are(name: str) -> None:
    (message,) = forms.syslog(SHOP, [said("GET /é 200", process="we b" * 20, name=name)])
    found = SYSLOG.fullmatch(message.decode())
    assert found is not None, message
    assert found[1] == "14"
    assert found[3] == "production.shop.acme"
    assert found[6] == "41"
    assert found[8] == "GET /é 200"
    assert forms.counted(b"\xc3\xa9") == b"2 \xc3\xa9"


def test_a_datagram_that_is_too_long_loses_its_end_and_no_half_of_a_character() -> None:
    whole = ("é" * 5000).encode()
    assert len(forms.datagram(whole)) <= 8192
    assert forms.datagram(whole).decode().strip("é") == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ftp://x", "must be"),
        ("https://ada:secret@x", "no login"),
        ("https://", "must be"),
        ("https://x y", "spaces"),
        ("https://x:99999", "port"),
        ("syslog+tls://x/path", "alone"),
        ("https://ex ample", "spaces"),
        ("https://-", "host"),
    ],
)
def test_an_address_that_is_none_is_refused_and_not_quoted(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        address(text)
    assert "secret" not in str(refused.value)


def test_an_address_says_its_form_its_way_and_its_usual_port_and_path() -> None:
    otlp = address("otlp+https://otel.example.com")
    assert (otlp.url, otlp.form) == ("https://otel.example.com:443/v1/logs", "otlp")
    binary = address("otlp-protobuf+https://otel.example.com")
    assert (binary.url, binary.form, binary.encrypted) == (otlp.url, "otlp-protobuf", True)
    assert binary.shown == "otlp-protobuf+https://otel.example.com:443"
    assert address("syslog+tls://[2001:db8::1]").port == 6514
    assert address("https://x.example/in?key=hidden").shown == "https://x.example:443"


def test_a_files_drain_has_no_secret_in_the_clear() -> None:
    with pytest.raises(ValueError, match="in the clear"):
        LogDrain.model_validate({"to": "http://x.example", "headers": {"X-Key": "LOGS_KEY"}})
    with pytest.raises(ConfigError, match=r"logs\.drain"):
        parse("logs: {drain: {to: 'gopher://x'}}")


def test_an_environments_drain_goes_before_that_of_all_and_none_of_its_own_is_none() -> None:
    config = parse(
        "logs: {drain: 'https://x.example'}\n"
        "environments: {production: {}, quiet: {logs: {}},"
        " staging: {logs: {drain: 'syslog+tcp://y.example'}}}"
    )
    drains = {name: config.logs_of(place).drain for name, place in config.environments.items()}
    assert {name: drain and drain.to for name, drain in drains.items()} == {
        "production": "https://x.example", "staging": "syslog+tcp://y.example", "quiet": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ip", "allowed", "may"),
    [
        ("1.1.1.1", "", True),
        ("10.0.0.9", "", False),
        ("10.0.0.9", "10.0.0.9:514", True),
        ("10.0.0.9", "10.0.0.9:515", False),
        ("127.0.0.1", "", False),
        ("::1", "", False),
        ("::ffff:10.0.0.9", "", False),
        ("::ffff:10.0.0.9", "10.0.0.0/8", True),
        ("64:ff9b::a00:9", "", False),
        ("2002:a00:9::1", "", False),
        ("169.254.169.254", "", False),
        ("168.63.129.16", "", False),
        ("fd00:ec2::254", "", False),
        ("fe80::1%eth0", "", False),
        ("100.64.0.1", "", False),
        ("0.0.0.0", "", False),  # noqa: S104
        ("224.0.0.1", "", False),
        ("2606:4700:4700::1111", "", True),
    ],
)
def test_a_private_address_is_reached_only_where_the_instance_allows_it(
    ip: str, allowed: str, may: bool
) -> None:
    assert may_reach(ip, 514, parse_reachable(allowed)) is may


@pytest.mark.parametrize("text", ["GET /é 200", "half \ud83d of a pair", ""])
def test_otlps_protobuf_says_what_its_json_says(text: str) -> None:
    lines = [said(text, 1), said("b", 2, container="d" * 64), said("c", 2**40), forms.missing(7, 70, AT)]
    read = ExportLogsServiceRequest.FromString(protobuf.otlp(SHOP, lines, AT + 1))
    told = json.loads(forms.otlp(SHOP, lines, AT + 1))["resourceLogs"]
    assert [attributes(one.resource.attributes) for one in read.resource_logs] == [
        {one["key"]: one["value"]["stringValue"] for one in r["resource"]["attributes"]} for r in told
    ]
    records = [list(one.scope_logs[0].log_records) for one in read.resource_logs]
    assert [[recorded(one) for one in theirs] for theirs in records] == [
        r["scopeLogs"][0]["logRecords"] for r in told
    ]
    assert [one.severity_number for one in records[2]] == [13]


def attributes(of: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in of}


def recorded(one: Any) -> dict[str, Any]:
    """A record as OTLP's JSON has it."""
    level = {"severityNumber": one.severity_number, "severityText": one.severity_text}
    (place,) = one.attributes
    return {
        "timeUnixNano": str(one.time_unix_nano),
        "observedTimeUnixNano": str(one.observed_time_unix_nano),
        **(level if one.severity_number else {}),
        "body": {"stringValue": one.body.string_value},
        "attributes": [{"key": place.key, "value": {"intValue": str(place.value.int_value)}}],
    }
