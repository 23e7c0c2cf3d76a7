from __future__ import annotations

import asyncio
import contextlib
import stat
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from vskd_stream.errors import HttpError
from vskd_stream.supervision import http
from vskd_stream.supervision.http import Address, Answer, HttpServer, is_literal_host

PATIENCE_S = 30.0


async def hello():
    return Answer(HTTPStatus.OK, b"hello\n")


async def fault():
    raise ZeroDivisionError


ROUTES = {"/hello": hello, "/fault": fault}


@contextlib.asynccontextmanager
async def serving(address=None, **options):
    async with HttpServer(address or Address(), ROUTES, **options) as server:
        yield server


async def say(server, data: bytes, *, ends=False) -> bytes:
    """All that comes back on one connection."""
    async with asyncio.timeout(PATIENCE_S):
        if server.port is None:
            reader, writer = await asyncio.open_unix_connection(server._address.socket)
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        answer = b""
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            if ends:
                writer.write_eof()
            while part := await reader.read(65536):
                answer += part
        writer.close()
        return answer


async def until(is_so):
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.01)


def request(target="/hello", *headers, method="GET", host="127.0.0.1"):
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_a_request_is_answered_and_the_connection_ends():
    async with serving() as server:
        answer = await say(server, request())
        head, _, body = answer.partition(b"\r\n\r\n")
        assert (status(answer), body) == (200, b"hello\n")
        assert b"connection: close" in head.lower()


async def test_a_second_request_on_the_same_connection_is_not_read():
    async with serving() as server:
        assert (await say(server, request() * 5)).count(b"HTTP/1.1") == 1


async def test_head_is_answered_without_a_body():
    async with serving() as server:
        answer = await say(server, request(method="HEAD"))
        assert status(answer) == 200
        assert b"content-length: 6" in answer.lower()
        assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (request("/other"), 404),
        (request("/hello?x=1"), 200),
        (request(method="POST"), 405),
        (request(method="DELETE"), 405),
        (request("/hello", "Content-Length: 999999999999", method="POST"), 405),
        (request("/hello", "Transfer-Encoding: chunked", method="POST"), 405),
        (request("/hello", "Content-Length: -1"), 400),
        (request("/hello", "Content-Length: 1", "Content-Length: 2"), 400),
        (request("/hello", "X: a\rb"), 400),
        (b"GET /hello HTTP/1.1\r\n\r\n", 400),
        (b"GET /hello HTTP/1.0\r\n\r\n", 200),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 4 + b"\r\n\r\n", 400),
        (request("/../../etc/passwd"), 404),
        (request("/hello", "X: " + "a" * 2 * http.MAX_REQUEST_BYTES), 431),
        (b"a" * (2 * http.MAX_REQUEST_BYTES), 431),
    ],
)
async def test_what_is_no_good_request_is_refused(asked, wanted):
    async with serving() as server:
        assert status(await say(server, asked)) == wanted
        assert status(await say(server, request())) == 200


async def test_with_a_token_only_who_knows_it_is_answered():
    async with serving(token="s3cret") as server:
        for headers, wanted in (
            ((), 401),
            (("Authorization: Bearer s3cre",), 401),
            (("Authorization: Bearer s3crets",), 401),
            (("Authorization: Basic s3cret",), 401),
            (("Authorization: Bearer \xff\xfe",), 401),
            (("Authorization: Bearer s3cret",), 200),
        ):
            answer = await say(server, request("/hello", *headers, host="gateway.lan"))
            assert status(answer) == wanted
            assert b"s3cret" not in answer
        assert status(await say(server, request("/nothing"))) == 401


@pytest.mark.parametrize(
    ("host", "is_taken"),
    [
        ("127.0.0.1:9464", True),
        ("localhost", True),
        ("LocalHost:80", True),
        ("[::1]:9464", True),
        ("192.168.1.2", True),
        ("", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:80", False),
        ("[::1].evil", False),
    ],
)
async def test_a_name_that_a_web_page_gave_this_machine_is_refused(host, is_taken):
    async with serving() as server:
        assert status(await say(server, request(host=host))) == (200 if is_taken else 421)


async def test_a_unix_socket_is_for_its_owner_and_group(tmp_path):
    path = tmp_path / "http.sock"
    async with serving(Address(socket=path)) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert status(await say(server, request(host="anything"))) == 200
    assert not path.exists()


async def test_a_socket_that_a_crash_left_behind_is_replaced(tmp_path):
    path = tmp_path / "http.sock"
    left = await asyncio.start_unix_server(lambda r, w: None, path)
    left.close()
    assert path.exists()
    async with serving(Address(socket=path)) as server:
        assert status(await say(server, request())) == 200


async def test_an_address_that_is_taken_is_told_in_words(tmp_path):
    async with serving() as server:
        with pytest.raises(HttpError, match=r"127\.0\.0\.1 port \d+: .*choose another"):
            async with serving(Address(port=server.port)):
                pass
    with pytest.raises(HttpError, match="No such file"):
        async with serving(Address(socket=tmp_path / "no" / "http.sock")):
            pass


async def test_whoever_asks_too_slowly_is_cut_off():
    async with serving(request_s=0.05) as server:
        assert await say(server, b"GET /hello HT") == b""


async def test_whoever_does_not_read_the_answer_is_cut_off(monkeypatch):
    async def large():
        return Answer(HTTPStatus.OK, b"x" * 50_000_000)

    monkeypatch.setitem(ROUTES, "/large", large)
    async with serving(answer_s=0.05) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request("/large"))
        await until(lambda: server._connections)
        await until(lambda: not server._connections)
        writer.transport.abort()


async def test_connections_beyond_the_bound_are_closed_unread():
    async with serving() as server:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(http.MAX_CONNECTIONS)]
        await until(lambda: len(server._connections) == http.MAX_CONNECTIONS)
        assert await say(server, request()) == b""
        for _, writer in held:
            writer.transport.abort()
        await until(lambda: not server._connections)
        assert status(await say(server, request())) == 200


async def test_a_fault_in_one_answer_costs_no_other(capsys):
    async with serving() as server:
        assert await say(server, request("/fault")) == b""
        assert status(await say(server, request())) == 200


async def test_whoever_leaves_without_a_word_is_forgotten():
    async with serving() as server:
        assert await say(server, b"", ends=True) == b""
        assert await say(server, b"GET /he", ends=True) == b""
        assert status(await say(server, request())) == 200


async def test_stopping_waits_for_nobody():
    async with serving() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await until(lambda: server._connections)
    assert not server._connections
    writer.transport.abort()


def test_any_bytes_are_answered_with_a_refusal_or_not_at_all():
    async def ask(payloads):
        async with serving() as server:
            for payload in payloads:
                answer = await say(server, payload, ends=True)
                assert answer == b"" or status(answer) in (200, 400, 404, 405, 413, 421, 431, 501)
            assert status(await say(server, request())) == 200

    pieces = st.sampled_from(
        [b"GET ", b"/hello", b" HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n", b"Content-Length: 5\r\n", b"\n", b":"]
    )
    hostile = st.lists(st.one_of(pieces, st.binary(max_size=40)), max_size=12).map(b"".join)

    @given(st.lists(hostile, min_size=1, max_size=5))
    @hypothesis_settings(max_examples=40, deadline=None)
    def check(payloads):
        asyncio.run(ask(payloads))

    check()


@given(st.binary(max_size=300))
def test_any_host_header_is_judged(host):
    assert is_literal_host(host) in (True, False)
