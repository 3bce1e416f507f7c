"""What may stand in an address."""

from django.urls import register_converter
from django.urls.converters import StringConverter


class UserIdConverter(StringConverter):
    """Whatever a host calls its users; slashes and line breaks too."""

    regex = r"[\s\S]+"


register_converter(UserIdConverter, "user_id")
