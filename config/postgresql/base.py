"""Django's backend for PostgreSQL, which does not wait for connections of a database that is silent."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import PoolTimeout

from config.patience import CHECKOUT, NoAnswer, PatientConnection, Silence, remaining
from config.postgresql.schema import DatabaseSchemaEditor


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = DatabaseSchemaEditor

    def get_new_connection(self, conn_params: dict[str, Any]) -> psycopg.Connection[Any]:
        """
        :raises NoAnswer: the database is silent and it is not our turn to try, or there is no time left to wait
        :raises PoolTimeout: all connections stayed in use, or none could be made
        """
        if remaining() < CHECKOUT:
            message = "No time is left to wait for a connection."
            raise NoAnswer(message)
        if self.pool and self._silence.reigns:
            if not self._silence.may_try():
                message = "The database does not answer at the moment."
                raise NoAnswer(message)
            self.pool.drain()  # those it has may never be answered again, whatever becomes of the database
        try:
            return super().get_new_connection(conn_params)  # type: ignore[no-any-return]
        except PoolTimeout:
            self._silence.waited(CHECKOUT)
            raise

    def _configure_connection(self, connection: psycopg.Connection[Any]) -> bool:
        self._silence.heard()
        return super()._configure_connection(connection)  # type: ignore[misc, no-any-return]

    @property
    def _silence(self) -> Silence:
        """Of the server that this connects to."""
        pool = self.settings_dict["OPTIONS"]["pool"]
        kind: type[PatientConnection] = pool["connection_class"] if pool else PatientConnection
        return kind.silence
