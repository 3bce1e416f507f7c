"""Pages on which staff change a row: they ask why, and keep the change with who made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib.auth import get_permission_codename
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.db.models import Field, Model
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget

from config.admin import staff_of
from entitlements import audit
from entitlements.models import Customer


class Reason(forms.CharField):
    """Why a row is changed. It is no part of the row, so it never counts as a change itself."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 2})

    def has_changed(self, initial: Any, data: Any) -> bool:
        return False


class Seen(forms.CharField):
    """What the page showed, so that nobody undoes what he has not seen. It is no part of the row either."""

    widget = forms.HiddenInput

    def has_changed(self, initial: Any, data: Any) -> bool:
        return False


class ReasonForm(forms.ModelForm):  # type: ignore[type-arg]
    seen = Seen(required=False)
    reason = Reason(max_length=1000, help_text="Kept for ever, with what you change.")
    before: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stands = _digest(_values(self.instance, self.fields)) if self.instance.pk else ""
        self.initial["seen"] = self.stands

    def clean_seen(self) -> str:
        seen: str = self.cleaned_data["seen"]
        if seen != self.stands:
            message = "Somebody changed this meanwhile. Look at the page again, and then say what you want to change."
            raise ValidationError(message)
        return seen


class Audited:
    """A page of a `ModelAdmin` whose every change has a reason and an audit entry, committed with it.

    A form that changes nothing leaves no entry. What the form has no field for is never told: no hash, no secret.
    """

    form: Any = ReasonForm
    model: type[Any]

    def deed(self, row: Any, changed: Iterable[str]) -> str:
        """What was done, in the past and in a few words."""
        return f"changed the {row._meta.verbose_name}"  # noqa: SLF001 - Django's API

    def whose(self, row: Any) -> Customer | None:
        """The customer whom it concerns, so that his page tells it."""
        return None

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)  # type: ignore[misc]
        may_change = self.has_change_permission(request, obj)  # type: ignore[attr-defined]
        return [*fieldsets, ("Why", {"fields": ["reason", "seen"]})] if may_change else fieldsets

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Whoever is about to change a row holds it from its reading to the end of the transaction."""
        row = super().get_object(request, object_id, from_field)  # type: ignore[misc]
        if row is None or request.method != "POST" or not connection.in_atomic_block:
            return row
        return self.model.objects.select_for_update(no_key=True).get(pk=row.pk)

    def save_model(self, request: HttpRequest, obj: Model, form: ReasonForm, change: bool) -> None:
        """Write what the form changed and nothing else.

        :raises PermissionDenied: this person may not
        :raises audit.ReasonMissing: no reason is given
        """
        permission = f"{obj._meta.app_label}.{get_permission_codename('change', obj._meta)}"  # noqa: SLF001
        audit.authorised(staff=staff_of(request), permission=permission, reason=form.cleaned_data["reason"])
        form.before = _values(self.model.objects.get(pk=obj.pk), form.fields)
        written = {field.name for field in obj._meta.concrete_fields}  # noqa: SLF001
        obj.save(update_fields=written.intersection(form.changed_data))

    def save_related(self, request: HttpRequest, form: ReasonForm, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)  # type: ignore[misc]
        row = self.model.objects.get(pk=form.instance.pk)
        after = _values(row, form.fields)
        changed = [name for name in after if after[name] != form.before[name]]
        if changed:
            audit.record(
                staff=staff_of(request),
                what=self.deed(row, changed),
                subject=row,
                reason=form.cleaned_data["reason"],
                before={name: form.before[name] for name in changed},
                after={name: after[name] for name in changed},
                customer=self.whose(row),
            )


def _digest(values: dict[str, Any]) -> str:
    told = json.dumps(values, cls=DjangoJSONEncoder, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _values(row: Model, names: Iterable[str]) -> dict[str, Any]:
    """The fields among these names, as JSON can hold them: rows of other tables by what they are called."""
    meta = row._meta  # noqa: SLF001 - Django's API
    fields: list[Field[Any, Any]] = [*meta.concrete_fields, *meta.many_to_many]
    values = {field.name: field.value_from_object(row) for field in fields if field.name in names}
    many = {field.name for field in meta.many_to_many}
    return {name: sorted(map(str, value)) if name in many else value for name, value in values.items()}
