#!/bin/sh
# Makes the role and the database of Starledger in a new PostgreSQL; its image runs this once. The role is an ordinary
# one: it owns its database and may do nothing else.
set -eu
psql --quiet --set=ON_ERROR_STOP=1 --dbname=postgres <<'SQL'
\getenv password STARLEDGER_PASSWORD
CREATE ROLE starledger LOGIN PASSWORD :'password';
CREATE DATABASE starledger OWNER starledger ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0;
SQL
