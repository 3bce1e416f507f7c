"""What this process counts; it may restart at zero."""

from prometheus_client import Counter

entitlement_denied = Counter("entitlement_denied", "Requests refused for want of an entitlement.", ["entitlement"])
