"""T52 at the real server: two hundred at once, by odd spellings of the address and with forged headers."""

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import pytest

from payments.invoicing import ATTEMPTS_PER_MINUTE
from tests.api.test_limits import ODD_SPELLINGS, SEND_INVOICE, forged
from tests.flows.test_hostile import exchange, request

pytestmark = pytest.mark.xdist_group("house")

ATTEMPTS, AT_ONCE = 200, 50


def test_a_buyer_gets_no_more_invoices_however_he_asks(house):
    token = house.sign_in(house.telegram.person("Alice")).headers["Authorization"]
    paths = islice(cycle(spelling.format(SEND_INVOICE) for spelling in ODD_SPELLINGS), ATTEMPTS)
    body = b'{"plan_code": "gold_1m", "delivery": "link"}'

    def attempt(number_and_path: tuple[int, str]) -> int:
        number, path = number_and_path
        headers = {"Authorization": token, "Content_Type": "application/json"} | forged(number)
        return exchange(house, request(body, path=path, secret=None, **headers)).status

    with ThreadPoolExecutor(AT_ONCE) as threads:
        statuses = list(threads.map(attempt, enumerate(paths)))

    assert 1 <= statuses.count(200) <= ATTEMPTS_PER_MINUTE
    assert set(statuses) <= {200, 400, 404, 429}  # 400: what is no address at all


@pytest.mark.parametrize("path", ["/admin/login/", "/api/v1/entitlements/check", "/nothing", "/metrics"])
def test_a_large_body_is_refused_by_what_it_announces(house, path):
    announced = request(b"{", path=path, secret=None, Content_Length=str(10**9), Content_Type="multipart/form-data")

    assert exchange(house, announced).status == 413
