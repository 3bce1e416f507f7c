"""A middleware as shops put it in front of everything, and lose payments by."""

from django.http import HttpResponse


class Maintenance:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return HttpResponse("Back soon", status=503)
