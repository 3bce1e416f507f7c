"""README is true: it names every variable that is read, and every command there is."""

import re

import pytest

from config.env import BASE_DIR
from tests.payments.test_metrics import PROMISED

README = (BASE_DIR / "README.md").read_text()
READ = re.compile(
    r'(?:\benv\.\w+|amounts|networks|required|os\.environ\.get|getenv)\(\s*"([A-Z_]+)"|os\.environ\["([A-Z_]+)"\]'
)
SOURCES = [
    *(BASE_DIR / "config").rglob("*.py"),
    *(BASE_DIR / "telegram_bot").rglob("*.py"),
    BASE_DIR / "manage.py",
    BASE_DIR / "tests" / "postgres.py",
]
# Set by us for our own processes, or by tools.
NOT_FOR_PEOPLE = {"DJANGO_SETTINGS_MODULE", "TEST_POSTGRES_LOG", "LD_LIBRARY_PATH", "PATH"}
VARIABLES = {
    name for source in SOURCES for names in READ.findall(source.read_text()) for name in names if name
} - NOT_FOR_PEOPLE
COMMANDS = {
    file.stem
    for app in ("config", "entitlements", "payments", "telegram_bot")
    for file in (BASE_DIR / app / "management" / "commands").glob("[a-z]*.py")
} - {"demo"}  # make run


@pytest.mark.parametrize("variable", sorted(VARIABLES))
def test_names_the_variable(variable):
    assert f"`{variable}`" in README


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_names_the_command(command):
    assert f"manage.py {command}" in README


@pytest.mark.parametrize("metric", PROMISED)
def test_names_the_metric(metric):
    assert f"`{metric}`" in README


def test_looks_where_variables_are():
    assert {"DATABASE_URL", "SECRET_KEY", "TELEGRAM_BOT_TOKEN"} <= VARIABLES
