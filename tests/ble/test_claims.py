from __future__ import annotations

from vskd_stream.sources.ble.claims import Claims


def test_an_address_belongs_to_one_device() -> None:
    claims = Claims()
    claims.claim("A", device="chest")
    assert claims.allow("A", device="chest")
    assert not claims.allow("A", device="wrist")
    assert claims.allow("B", device="wrist")


def test_a_device_has_one_address() -> None:
    claims = Claims()
    claims.claim("A", device="chest")
    claims.claim("B", device="chest")
    assert claims.allow("A", device="wrist")
    assert not claims.allow("B", device="wrist")


def test_a_released_address_is_free() -> None:
    claims = Claims()
    claims.claim("A", device="chest")
    claims.release("chest")
    assert claims.allow("A", device="wrist")
