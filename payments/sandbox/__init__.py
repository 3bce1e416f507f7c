"""The local Stripe: as much of its API as a shop of ours asks for, with pages to pay on, on this machine.

A stand-alone program for development and tests, on the standard library alone. It knows nothing of Django or of the
shop it serves, and nothing of the shop imports it. It lies beside the channel for which it stands in: telegram_bot,
which is above payments, may start it, and it needs none of them.

============  ======================================================================
``account``   everything that is so, and what Stripe refuses
``api``       HTTP for the shop: forms in, JSON out, keys of idempotency, ``expand``
``forms``     parameters as Stripe's libraries write them
``faults``    what goes wrong on order
``delivery``  events on their way to the shop, signed, and brought again
``pages``     where a buyer pays, and sees to his subscriptions
``server``    all of it together, as a program and for tests
============  ======================================================================

Where Stripe's behaviour is not documented, the local one takes the harsher reading.
"""
