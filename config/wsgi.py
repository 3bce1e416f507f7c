"""What the web server serves."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()
for path in reversed(settings.WSGI_MIDDLEWARE):
    application = import_string(path)(application)
