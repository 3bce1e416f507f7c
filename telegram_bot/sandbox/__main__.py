import sys

from telegram_bot.sandbox.console import main

sys.exit(main())
