import pytest

from brokers._kit.http_request import RequestTemplate


def test_a_request_is_complete_with_its_length() -> None:
    template = RequestTemplate("/api/Order/place", "api.example", {"Authorization": "Bearer t"})
    assert template.with_body(b'{"qty":1}') == (
        b"POST /api/Order/place HTTP/1.1\r\n"
        b"Host: api.example\r\n"
        b"Authorization: Bearer t\r\n"
        b"Content-Length: 9\r\n\r\n"
        b'{"qty":1}'
    )
    assert template.with_body(b"").endswith(b"Content-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "path, host, name, value",
    [
        ("/a", "h", "Authorization", "t\r\nX: y"),
        ("/a", "h", "Authorization", "t\n"),
        ("/a", "h", "X y", "z"),
        ("/a", "h", "", "z"),
        ("/a", "h\r\n", "X", "z"),
        ("/a b", "h", "X", "z"),
        ("/a\r\n", "h", "X", "z"),
        ("a", "h", "X", "z"),
        ("/a", "h", "X", "é"),
    ],
)
def test_nothing_can_split_the_head(path: str, host: str, name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"header|path"):
        RequestTemplate(path, host, {name: value})
