"""The sliding window: exact whatever the concurrency, in PostgreSQL and in Redis."""

import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from config.api import ratelimit
from config.api.ratelimit import RateLimited, forget_old_attempts, hit
from entitlements.models import RateLimit

needs_redis = pytest.mark.skipif(not shutil.which("redis-server"), reason="needs redis-server")
WINDOW = timedelta(seconds=60)


def allowed(subject="alice", limit=5, window=WINDOW) -> bool:
    try:
        hit(subject=subject, limit=limit, window=window)
    except RateLimited:
        return False
    return True


def make_older(seconds: float, subject="alice") -> None:
    """Let time pass for the subject."""
    kept = RateLimit.objects.get(pk=subject)
    kept.attempts = [attempt - timedelta(seconds=seconds) for attempt in kept.attempts]
    kept.save()
    ratelimit.refusals.forget()


def allowed_of(attempts: int, attempt=allowed) -> int:
    """How many of so many parallel attempts are let through."""

    def one(_):
        try:
            return attempt()
        finally:
            connection.close()

    with ThreadPoolExecutor(attempts) as threads:
        return sum(threads.map(one, range(attempts)))


@pytest.mark.django_db
class TestAWindow:
    def test_lets_as_many_through_as_its_limit(self):
        assert [allowed() for _ in range(7)] == [True] * 5 + [False] * 2

    def test_slides(self):
        for _ in range(3):
            allowed()
        make_older(50)
        for _ in range(2):
            allowed()

        assert not allowed()
        make_older(11)
        assert [allowed() for _ in range(4)] == [True, True, True, False]

    def test_says_when_the_next_attempt_will_be_let_through(self):
        for _ in range(5):
            allowed()
        make_older(42.5)

        with pytest.raises(RateLimited) as refused:
            hit(subject="alice", limit=5)

        assert refused.value.retry_after == 18
        make_older(17.6)
        assert allowed()

    def test_is_not_prolonged_by_refused_attempts(self):
        for _ in range(50):
            allowed()
        make_older(60.1)

        assert allowed()

    def test_says_so_under_a_limit_that_was_lowered(self):
        for _ in range(5):
            allowed()
            make_older(10)

        with pytest.raises(RateLimited) as refused:
            hit(subject="alice", limit=2)

        assert refused.value.retry_after == 40

    def test_refuses_a_flood_without_asking_the_store(self, django_assert_num_queries):
        for _ in range(6):
            allowed()

        with django_assert_num_queries(0):
            assert [allowed() for _ in range(100)] == [False] * 100

    def test_asks_the_store_again_when_the_wait_is_over_or_the_limit_is_another(self):
        allowed(limit=1, window=timedelta(seconds=0.5))
        assert not allowed(limit=1, window=timedelta(seconds=0.5))
        assert allowed(limit=2, window=timedelta(seconds=0.5))

        time.sleep(0.6)

        assert allowed(limit=1, window=timedelta(seconds=0.5))

    def test_remembers_a_bounded_number_of_refusals(self, monkeypatch):
        monkeypatch.setattr(ratelimit.Refusals, "MOST", 3)

        for number in range(20):
            ratelimit.refusals.note((f"subject {number}", 1, WINDOW), 60)

        assert len(ratelimit.refusals._until) <= 3

    def test_is_one_per_subject(self):
        assert [allowed("alice", 1), allowed("bob", 1), allowed("alice", 1)] == [True, True, False]

    def test_is_forgotten_when_it_is_long_over(self):
        allowed("alice")
        allowed("bob")
        RateLimit.objects.filter(pk="bob").update(updated_at=datetime.now(UTC) - timedelta(hours=2))

        assert forget_old_attempts() == 1
        assert RateLimit.objects.get().pk == "alice"


@pytest.mark.django_db(transaction=True)
class TestFiftyAttemptsAtOnce:
    def test_are_let_through_up_to_the_limit_exactly(self):
        assert allowed_of(50) == 5
        assert len(RateLimit.objects.get().attempts) == 5

    def test_would_not_be_without_the_row_lock(self):
        """The twin: the same in two statements, a look and a note."""

        def look_and_note() -> bool:
            kept, _ = RateLimit.objects.get_or_create(subject="alice")
            if len(kept.attempts) >= 5:
                return False
            time.sleep(0.05)
            kept.attempts.append(datetime.now(UTC))
            kept.save()
            return True

        assert allowed_of(50, look_and_note) > 5


@pytest.fixture
def redis(settings, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    settings.REDIS_URL = f"redis://127.0.0.1:{port}/0"
    for _ in range(100):
        if ratelimit._redis(settings.REDIS_URL).storage.check():
            break
        time.sleep(0.05)
    yield server
    ratelimit._redis(settings.REDIS_URL).storage.storage.close()
    server.terminate()
    server.wait()


@needs_redis
@pytest.mark.django_db
class TestInRedis:
    def test_a_window_lets_as_many_through_as_its_limit(self, redis):
        assert [allowed() for _ in range(7)] == [True] * 5 + [False] * 2
        assert not RateLimit.objects.exists()

    def test_a_window_slides(self, redis):
        assert [allowed(limit=1, window=timedelta(seconds=1)) for _ in range(2)] == [True, False]
        time.sleep(1.1)
        assert allowed(limit=1, window=timedelta(seconds=1))

    def test_a_window_says_when_the_next_attempt_will_be_let_through(self, redis):
        for _ in range(5):
            allowed()

        with pytest.raises(RateLimited) as refused:
            hit(subject="alice", limit=5)

        assert 58 <= refused.value.retry_after <= 60

    def test_fifty_at_once_are_let_through_up_to_the_limit_exactly(self, redis):
        assert allowed_of(50) == 5


@pytest.mark.django_db
class TestWithoutItsRedis:
    def test_attempts_are_counted_in_postgresql(self, settings, logged):
        settings.REDIS_URL = "redis://127.0.0.1:1/0"

        assert [allowed() for _ in range(6)] == [True] * 5 + [False]
        assert "Redis" in logged[0]["event"]

    @needs_redis
    def test_they_are_counted_when_it_dies_between_two(self, redis):
        allowed()
        redis.kill()
        redis.wait()

        assert [allowed() for _ in range(6)] == [True] * 5 + [False]
