"""What must hold in the books, and whether it does."""

from __future__ import annotations

from django.contrib import admin

from config import shown
from config.admin import FactAdmin
from config.shown import Tone
from payments.models import InvariantCheck


@admin.register(InvariantCheck)
class InvariantCheckAdmin(FactAdmin):
    list_display = ("check_name", "contradictions", "first", "checked_at", "passed_at", "seconds")
    ordering = ["-differences", "check_name"]
    fields = ("check_name", "differences", "found", "position", "tried_at", "checked_at", "passed_at", "seconds")
    change_form_outer_before_template = "admin/payments/check.html"

    @admin.display(description="contradictions")
    def contradictions(self, check: InvariantCheck) -> str:
        if check.differences:
            return shown.badge(f"{check.differences:,}", Tone.BAD)
        return "none" if check.checked_at else shown.badge("not looked yet", Tone.WAITING)

    @admin.display(description="the first of them")
    def first(self, check: InvariantCheck) -> str:
        return check.detail.partition("\n")[0] or shown.NOTHING
