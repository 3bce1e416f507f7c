"""Django's reports of errors, as pages for developers and as mails, without secrets wherever they stand."""

from __future__ import annotations

from django.utils.safestring import SafeString
from django.views.debug import ExceptionReporter

from config.logging import Redactor, configured_secrets


class RedactedReporter(ExceptionReporter):
    """Django hides values by their names; a secret is also in addresses, in variables of any name and in sentences."""

    def get_traceback_html(self) -> SafeString:
        return redacted(super().get_traceback_html())

    def get_traceback_text(self) -> SafeString:
        return redacted(super().get_traceback_text())


def redacted(report: str) -> SafeString:
    return SafeString(Redactor(configured_secrets())(report))
