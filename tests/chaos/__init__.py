"""`make chaos`: the house under load while its processes and its database are killed, held against Telegram's truth.

==============  ==========================================================================
``plan``        what shall happen, and when: the same for the same seed
``database``    a PostgreSQL of its own that can be crashed
``processes``   single processes, which can be killed;  ``house``  all of them, started again whenever they end
``shop``        buyers with their quotes, and the program that asks for refunds
``watch``       what the local Telegram sees meanwhile, counted and let go of
``settling``    whether everything has come to rest
``books``       the two accounts;  ``verdict``  one beside the other;  ``report``  how it is told
``run``         all of it together;  ``restore``  `make drill`, the same with a dump instead of kills
==============  ==========================================================================
"""
