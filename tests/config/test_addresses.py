"""Whom a request comes from is known through proxies of ours, and cannot be forged."""

import random

import pytest

from config.addresses import address_of, household_of, is_in

CLIENT, CDN, NGINX = "198.51.100.7", "203.0.113.80", "127.0.0.1"
FORGED = [
    "192.0.2.1",
    "127.0.0.1",
    "10.0.0.1",
    "::1",
    "unix:",
    "unknown",
    "",
    " ",
    "127.0.0.1:80",
    "[::1]",
    "é",
    "\x00",
]


def requested(rf, *, peer, forwarded=None):
    return rf.get("/", REMOTE_ADDR=peer, **({} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}))


class TestWithoutTrustedProxies:
    def test_the_address_is_that_of_the_connection(self, rf):
        assert address_of(requested(rf, peer=CLIENT)) == CLIENT

    def test_nothing_that_is_said_counts(self, rf):
        assert address_of(requested(rf, peer=NGINX, forwarded=CLIENT)) == NGINX


class TestBehindTrustedProxies:
    @pytest.fixture(autouse=True)
    def proxies(self, settings):
        settings.TRUSTED_PROXIES = [NGINX, "203.0.113.0/24", "2001:db8:f::/48"]

    @pytest.mark.parametrize(
        ("peer", "forwarded", "address"),
        [
            (NGINX, CLIENT, CLIENT),
            ("::ffff:127.0.0.1", f"::ffff:{CLIENT}", CLIENT),
            ("2001:db8:f::80", "2001:DB8::7", "2001:db8::7"),
            (NGINX, f"{CLIENT}, {CDN}", CLIENT),
            (NGINX, f"{CLIENT}:4711,[2001:db8:f::80]:443", CLIENT),
            (NGINX, f"{CDN},{NGINX}", CDN),
            (NGINX, None, NGINX),
        ],
        ids=["one", "mapped", "of IPv6", "two", "with ports", "the proxies themselves", "silent"],
    )
    def test_the_address_is_what_the_first_of_them_was_reached_from(self, rf, peer, forwarded, address):
        assert address_of(requested(rf, peer=peer, forwarded=forwarded)) == address

    @pytest.mark.parametrize("said", ["unknown", "unix:", "", "198.51.100.300"])
    def test_a_proxy_that_knows_no_address_is_one(self, rf, said):
        assert address_of(requested(rf, peer=NGINX, forwarded=f"192.0.2.1, {said}")) == NGINX

    def test_a_client_past_them_is_not_believed(self, rf):
        assert address_of(requested(rf, peer=CLIENT, forwarded="192.0.2.1")) == CLIENT

    def test_a_thousand_forged_headers_are_one_client(self, rf):
        dice = random.Random(52)
        forged = [", ".join(dice.choices([*FORGED, NGINX, CDN], k=dice.randint(0, 9))) for _ in range(1_000)]

        told = {address_of(requested(rf, peer=NGINX, forwarded=f"{said}, {CLIENT}, {CDN}")) for said in forged}

        assert told == {CLIENT}

    def test_a_socket_is_trusted_when_it_is_named(self, rf, settings):
        request = requested(rf, peer="", forwarded=CLIENT)
        assert address_of(request) == ""

        settings.TRUSTED_PROXIES = ["unix"]

        assert address_of(request) == CLIENT


@pytest.mark.parametrize(
    ("peer", "household"), [(CLIENT, CLIENT), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("", "")]
)
def test_limits_count_a_network_of_ipv6_as_one(rf, peer, household):
    assert household_of(requested(rf, peer=peer)) == household


def test_networks_of_one_family_hold_no_address_of_the_other():
    assert not is_in(["::/0"], CLIENT)
