"""`make trials`: what the house does when Telegram, its buyers or its keepers are difficult, in figures with limits.

==================  ==========================================================================
``figures``         what a trial found, each figure beside its limit
``stage``           what each trial is made on: a database, a local Telegram, the house, the load
``stopwatch``       how long payments and their messages took, as the local Telegram saw it
``poison``          T08: updates that always fail
``outages``         T12: our house away for hours
``side_by_side``    T13: the reconciliation and the webhook bring the same charges
``slow_clients``    T15: hundreds who send a byte now and then
``bot_api_down``    T37: the Bot API refuses, says nothing, or is a proxy's error page
``patience``        T38: Telegram asks for patience
``rolling``         T40: restarts under load
``trial``           what a trial is, and the list of them
==================  ==========================================================================
"""
