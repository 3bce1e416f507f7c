"""A token that is taken back at @BotFather."""

from contextlib import contextmanager

from tests.sandbox.conftest import Api, Reply


@contextmanager
def with_another_token(telegram):
    """Take the bot's token back; the calls of the next one."""
    api = Api(telegram.base_url, telegram.revokes_token())
    yield api
    api.client.close()


class TestATokenThatIsTakenBack:
    def test_opens_nothing_any_more_and_the_next_does(self, telegram, api):
        bot = api.result("getMe")

        with with_another_token(telegram) as renewed:
            assert api("getMe")["error_code"] == 401
            assert renewed.result("getMe") == bot

    def test_takes_the_webhook_and_what_waited_for_it_along(self, telegram, api, alice, receiver):
        receiver.answer = lambda update: Reply(status=503)
        api.result("setWebhook", url=receiver.url)
        alice.says("hello")

        with with_another_token(telegram) as renewed:
            info = renewed.result("getWebhookInfo")
        assert (info["url"], info["pending_update_count"]) == ("", 0)

    def test_lets_people_go_on_and_the_next_one_hear_them(self, telegram, alice):
        with with_another_token(telegram) as renewed:
            alice.says("still there?")

            assert [update["message"]["text"] for update in renewed.updates()] == ["still there?"]
