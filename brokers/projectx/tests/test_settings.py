"""Settings: parsed once, with the remedy in the error."""

import pytest

from brokers.projectx.settings import Settings


def test_defaults_are_production() -> None:
    settings = Settings.parse({})

    assert settings.api_url == "https://api.topstepx.com"
    assert settings.budget_per_window == 180


def test_texts_become_what_the_setting_is() -> None:
    settings = Settings.parse({"live_data": "true", "order_connections": "2", "ping_s": "1.5"})

    assert (settings.live_data, settings.order_connections, settings.ping_s) == (True, 2, 1.5)


@pytest.mark.parametrize(
    "name, text",
    [
        ("api_url", "api.topstepx.com"),
        ("rtc_url", "wss://rtc.topstepx.com"),
        ("api_url", "https://user:secret@api.topstepx.com"),
        ("live_data", "yes"),
        ("order_connections", "0"),
        ("order_connections", "many"),
        ("ping_s", "-1"),
        ("ping_s", "nan"),
        ("silence_max_s", "1"),
        ("token_renew_share", "1.0"),
        ("no_such", "1"),
        ("api_url", "https://" + "a" * 600),
    ],
)
def test_a_wrong_setting_is_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings.parse({name: text})
