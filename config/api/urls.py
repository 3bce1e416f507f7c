"""The API's description, and the answer for addresses nobody serves."""

from csp.decorators import csp_update
from django.urls import path, re_path
from drf_spectacular.views import SpectacularSwaggerSplitView

from config.api.problems import not_found
from config.api.schema import SchemaView
from config.api.views import FirstRenderer

# The page has a style element of its own; its scripts and everything else come from our static files.
docs = csp_update({"style-src": ["'unsafe-inline'"]})(
    SpectacularSwaggerSplitView.as_view(content_negotiation_class=FirstRenderer)
)

urlpatterns = [
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", docs),
]

# Goes behind all others, so that an unknown address is a problem and not a page, while debugging too.
unknown = re_path(r"^(?:api|webhook)/", not_found)
