"""The local Telegram: the Bot API, its payments and its people, on this machine.

A stand-alone program for development and tests, on aiohttp and the standard library. It knows
nothing of Django or of the shop it serves, and nothing of the shop imports it.

==================  ======================================================================
``schema``          which methods and types exist, and what they are made of
``rules``           what Telegram refuses, beyond shapes
``truth``           everything that is so, kept between runs when asked
``delivery``        updates on their way to the bot: webhook with its retries, getUpdates
``methods``         what a bot may ask for
``checkout``        pre-checkout, charge, refund
``subscriptions``   renewals and their end
``buyers``          what people do
``faults``          what goes wrong on order
``bot_api``         HTTP for the bot;  ``control``  HTTP for the page and tests;  ``page``  the chat
``server``          all of it together;  ``handle``  the same for Python tests
==================  ======================================================================

Where Telegram's behaviour is not documented and was not seen, the local one takes the harsher reading.
"""
