"""The API's description, and the answer for addresses nobody serves."""

from django.urls import path, re_path

from config.api.docs import docs, for_readers
from config.api.problems import not_found
from config.api.schema import SchemaView

urlpatterns = [
    path("api/schema/", for_readers(SchemaView.as_view()), name="schema"),
    path("api/docs/", for_readers(docs)),
]

# Goes behind all others, so that an unknown address is a problem and not a page, while debugging too.
unknown = re_path(r"^(?:api|webhook)/", not_found)
