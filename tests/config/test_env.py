"""Variables of more than one value."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.env import amounts, networks


class TestAmounts:
    @pytest.mark.parametrize(
        ("text", "meaning"),
        [
            ("", {}),
            ("XTR=5000", {"XTR": 5000}),
            ("XTR=5000, GBP=20000", {"XTR": 5000, "GBP": 20000}),
            ("XTR=0", {"XTR": 0}),
        ],
    )
    def test_are_so_many_for_each_currency(self, monkeypatch, text, meaning):
        monkeypatch.setenv("REFUND_APPROVAL_ABOVE", text)

        assert amounts("REFUND_APPROVAL_ABOVE") == meaning

    @pytest.mark.parametrize("text", ["5000", "XTR", "XTR=", "xtr=5", "XTR=-5", "XTR=5.0", "XTR=5,XTR=6", "XTR=٥", "="])
    def test_that_say_nothing_clear_stop_the_start(self, monkeypatch, text):
        monkeypatch.setenv("REFUND_APPROVAL_ABOVE", text)

        with pytest.raises(ImproperlyConfigured, match="REFUND_APPROVAL_ABOVE holds"):
            amounts("REFUND_APPROVAL_ABOVE")


class TestNetworks:
    @pytest.mark.parametrize(
        ("text", "meaning"),
        [
            ("", []),
            ("127.0.0.1", ["127.0.0.1"]),
            ("10.0.0.0/8, 2001:db8::/32, unix", ["10.0.0.0/8", "2001:db8::/32", "unix"]),
        ],
    )
    def test_are_those_named(self, monkeypatch, text, meaning):
        monkeypatch.setenv("TRUSTED_PROXIES", text)

        assert networks("TRUSTED_PROXIES") == meaning

    @pytest.mark.parametrize("text", ["proxy", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "*", "10.0.0.1:80"])
    def test_that_are_none_stop_the_start(self, monkeypatch, text):
        monkeypatch.setenv("TRUSTED_PROXIES", text)

        with pytest.raises(ImproperlyConfigured, match="TRUSTED_PROXIES holds"):
            networks("TRUSTED_PROXIES")
