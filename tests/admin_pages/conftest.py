"""Staff before the admin, by Django's client."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from tests.staff import signed_in


@pytest.fixture
def dana(db) -> Client:
    """Staff who may do everything that the admin offers."""
    return signed_in(User.objects.create_superuser("dana"))


@pytest.fixture
def eve(db) -> Client:
    """Staff who may look at payments and at nothing else."""
    return staff_with("eve", "payments.view_paymentevent")


def staff_with(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    for permission in permissions:
        app_label, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app_label, codename=codename))
    return signed_in(user)
