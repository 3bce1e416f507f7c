"""Names, types and what is required, without the prose."""

import json

from telegram_bot.sandbox.distil import distil, written

DESCRIBED = {
    "version": "Bot API 1.0",
    "methods": {
        "getMe": {"description": ["Returns the bot."]},
        "send": {
            "description": ["Sends."],
            "fields": [
                {"name": "to", "types": ["Integer", "String"], "required": True, "description": "Whom"},
                {"name": "mark", "types": ["Mark"], "required": False, "description": "How"},
            ],
        },
    },
    "types": {
        "Mark": {"description": ["One of", " - Star", " - Unheard"], "subtypes": ["Tick"]},
        "Star": {"description": ["A star."], "fields": [{"name": "n", "types": ["Integer"], "required": True}]},
        "Tick": {"description": ["A tick - and more"]},
    },
}


def test_fields_keep_their_types_and_whether_they_may_be_left_out():
    methods = distil(DESCRIBED)["methods"]

    assert methods == {"getMe": {}, "send": {"to": "Integer | String", "mark?": "Mark"}}


def test_unions_are_what_is_listed_as_data_or_as_prose_and_known():
    distilled = distil(DESCRIBED)

    assert distilled["unions"] == {"Mark": ["Tick", "Star"]}
    assert distilled["types"] == {"Star": {"n": "Integer"}, "Tick": {}}


def test_what_is_written_is_json_with_an_entry_a_line():
    text = written(distil(DESCRIBED))

    assert json.loads(text) == distil(DESCRIBED)
    assert '"send": {"to": "Integer | String", "mark?": "Mark"}\n' in text
