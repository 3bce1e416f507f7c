"""How far in time the books have been worked through, where that is kept instead of an index on what is left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Self

from django.db import connection, models

from config.database import settled_moment

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
CATCHING_UP = timedelta(minutes=10)  # for one statement: the first time, or after a long pause, it may be years


class UpTo(models.Model):
    """The one row that says up to which moment; what comes after it is still to be done, or read from the books."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    moment = models.DateTimeField()

    objects: models.Manager[Self]

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.moment.isoformat()

    @classmethod
    def locked(cls) -> Self:
        """The row, which one transaction at a time may move."""
        cls.objects.bulk_create([cls(moment=BEGINNING)], ignore_conflicts=True)
        return cls.objects.select_for_update().get()

    def advance(self, add: str) -> datetime:
        """Sum what has become final since the last time, and return the new moment.

        :param add: SQL that adds what the books say of the time after %(after)s and up to %(until)s
        """
        until = max(self.moment, settled_moment())
        self._sum(add, after=self.moment, until=until)
        self.moment = until
        self.save()
        return until

    def sum_anew(self, add: str) -> None:
        """Sum all up to the moment, which stays; the caller has deleted the sums."""
        self._sum(add, after=BEGINNING, until=self.moment)

    def _sum(self, add: str, *, after: datetime, until: datetime) -> None:
        with connection.cursor() as cursor:
            cursor.execute(add, {"after": after, "until": until})
