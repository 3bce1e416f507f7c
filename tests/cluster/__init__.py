"""`make cluster`: several machines' worth of processes on one PostgreSQL, and one of each killed under load.

==============  ==========================================================================
``standby``     the read replica: a copy of the database that streams its changes
``programs``    PgBouncer and nginx with the files of deploy/, on this machine's loopback
``house``       two web servers behind the proxy and two workers, all of them by the pooler
``run``         a run from its first payment to its verdict
==============  ==========================================================================

The load, the books and the verdict are those of tests.chaos.
"""
