"""Who waits how long for whom, and what a proxy and its clients may say."""

from tests.mutants.mutant import Edit, Mutant

RECEIVING = "telegram_bot/receiving.py"
PATIENCE = "config/patience.py"
TURNS = "config/turns.py"
WAITING = "tests/config/test_patience.py"
TAKING_TURNS = "tests/config/test_turns.py"

MUTANTS = (
    Mutant(
        "X21",
        "that the database is silent is never noticed, and all wait in line for it",
        (Edit(PATIENCE, "            self.reigns = True\n", "            pass\n"),),
        (f"{WAITING}::TestSilence::test_is_noticed_by_whoever_waits_in_vain",),
    ),
    Mutant(
        "X21b",
        "while the database is silent everybody tries",
        (Edit("config/postgresql/base.py", "silence.may_try():", "silence.may_try() and False:"),),
        (f"{WAITING}::TestASilentDatabase::test_is_asked_by_nobody_whose_turn_it_is_not",),
    ),
    Mutant(
        "X22",
        "a request may wait for the database as often as it likes",
        (Edit(PATIENCE, "        with within(REQUEST):\n", "        if True:\n"),),
        (f"{WAITING}::TestTime::test_of_a_request_is_less_than_telegram_waits",),
    ),
    Mutant(
        "X22b",
        "who lets another act for him waits as long as that one may",
        (Edit("config/together.py", "min(max(0.0, remaining()), within, ", "min(within, "),),
        ("tests/config/test_together.py::test_who_was_taken_along_waits_no_longer_than_he_may",),
    ),
    Mutant(
        "X23",
        "a worker waits for an answer without an end",
        (Edit(PATIENCE, "await super().wait(gen, interval, limit)", "await super().wait(gen, interval)"),),
        (f"{WAITING}::TestAConnection::test_is_as_patient_in_an_event_loop",),
    ),
    Mutant(
        "X24",
        "all requests that are at hand work at once",
        (Edit(TURNS, "            if self._free:\n", "            if True:\n"),),
        (f"{TAKING_TURNS}::TestTurns::test_are_as_many_as_there_are",),
    ),
    Mutant(
        "X24b",
        "who comes last is next",
        (Edit(TURNS, "self._waiting.popleft()", "self._waiting.pop()"),),
        (f"{TAKING_TURNS}::TestTurns::test_come_in_the_order_of_waiting",),
    ),
    Mutant(
        "X24c",
        "whoever comes as a turn is given back takes it before those who wait",
        (
            Edit(
                TURNS,
                "            if self._waiting:\n"
                "                self._waiting.popleft().release()\n"
                "            else:\n"
                "                self._free += 1\n",
                "            self._free += 1\n",
            ),
        ),
        (f"{TAKING_TURNS}::TestTurns::test_are_not_taken_before_those_who_wait",),
    ),
    Mutant(
        "X25",
        "the proxy passes on what has not arrived yet",
        (Edit("deploy/nginx.conf", "proxy_request_buffering on;", "proxy_request_buffering off;"),),
        ("tests/config/test_proxy.py::test_a_request_goes_on_only_when_it_is_here_as_a_whole",),
    ),
    Mutant(
        "X26",
        "a client's address is what he says it is",
        (Edit("config/addresses.py", "if not is_in(settings.TRUSTED_PROXIES, address) or not (", "if not ("),),
        ("tests/config/test_addresses.py::TestWithoutTrustedProxies::test_nothing_that_is_said_counts",),
    ),
    Mutant(
        "X26b",
        "behind a proxy, a client's address is what he says it is",
        (Edit("config/addresses.py", "in reversed(request", "in (request"),),
        ("tests/config/test_addresses.py::TestBehindTrustedProxies::test_a_thousand_forged_headers_are_one_client",),
    ),
    Mutant(
        "X27",
        "who finds no free connection waits longer than Telegram does",
        (Edit("config/settings.py", '"timeout": CHECKOUT,', '"timeout": 5 * CHECKOUT,'),),
        (f"{WAITING}::test_limits_nest_as_they_are_in_production",),
    ),
    Mutant(
        "X27b",
        "who finds no free connection is told that all is well",
        (Edit(RECEIVING, "raise NotStored(retry_after=1 if is_urgent else 5) from error", "return None"),),
        (f"{WAITING}::test_a_payment_that_finds_no_free_connection_is_asked_for_again_and_then_recorded",),
    ),
)
