"""Lists over millions of rows that read a bounded number of them, whatever is asked for."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import unfold.views
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views import main
from django.core.exceptions import ValidationError
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.timezone import is_naive

if TYPE_CHECKING:
    ChangeList = main.ChangeList
else:
    ChangeList = unfold.views.ChangeList

MOST_LISTED = 1_000  # rows, newest first; whoever looks for older ones narrows the list
MOST_READ = 10_000  # rows that are looked through at once for a filter that no index serves
MOST_READ_IN_INDEX = 100_000  # entries of an index that are looked through at once, where it has all that is asked for
BEFORE = "before"  # the parameter that names where the list goes on behind those


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Finds the keys of the first MOST_LISTED rows, once: they are the number of rows, and where each page's are."""

    object_list: QuerySet[Any]

    @cached_property
    def keys(self) -> list[Any]:
        return list(self.object_list.values_list("pk", flat=True)[:MOST_LISTED])

    @cached_property
    def count(self) -> int:
        return len(self.keys)

    def page(self, number: int | str) -> Page[Any]:
        number = self.validate_number(number)
        return Page(self.object_list.filter(pk__in=self.keys_of(number)), number, self)

    def keys_of(self, number: int) -> list[Any]:
        return self.keys[(number - 1) * self.per_page : number * self.per_page]


class BoundedList(ChangeList):
    """A list whose filters look through the newest MOST_READ rows, and through older ones when asked to go on.

    A filter that an index serves finds all its rows; it says so with `served_in_order_of`, the field by which that
    index orders them. So do the lookups that the page names in `served_lookups`. A filter by a further column of an
    index is judged there, by many more entries; it says so with `judged_in_order_of`. `whole` has all rows asked for.
    """

    model_admin: Any
    paginator: BoundedPaginator
    whole: QuerySet[Any]
    looked_through = 0  # rows at most; 0: all of them, by indexes
    read_to: Any = None  # where, in the list's order, the rows that were looked through end; None: nowhere

    @property
    def most_listed(self) -> str:
        """How many are listed, where there may be more."""
        return f"{MOST_LISTED:,}" if self.result_count == MOST_LISTED else ""

    @property
    def further_back(self) -> str:
        """The address of what comes behind the rows that were looked through, if there is anything."""
        if self.read_to is None or self.most_listed:
            return ""
        value = self.read_to.isoformat() if isinstance(self.read_to, datetime) else str(self.read_to)
        return self.get_query_string({BEFORE: value})

    @property
    def read_since(self) -> datetime | None:
        """The moment to which was looked back, in a list that is ordered by time."""
        return self.read_to if isinstance(self.read_to, datetime) else None

    @property
    def most_read(self) -> str:
        return f"{self.looked_through:,}"

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        """:raises IncorrectLookupParameters: for an address that does not say clearly what it asks for"""
        if any(len(values) > 1 or "\x00" in values[0] for _, values in request.GET.lists() if values):
            raise IncorrectLookupParameters
        rows: QuerySet[Any] = super().get_queryset(request, *args, **kwargs)
        if any(_asks_for_what_is_not_offered(spec) for spec in self.filter_specs):
            raise IncorrectLookupParameters
        return rows

    def get_filters_params(self, params: Any = None) -> Any:
        lookups = super().get_filters_params(params)
        lookups.pop(BEFORE, None)
        return lookups

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        """Another page goes on where this one does; another filter begins with the newest rows again."""
        if main.PAGE_VAR not in (new_params or {}):
            new_params = {BEFORE: None} | (new_params or {})
        return super().get_query_string(new_params, remove)

    def get_results(self, request: HttpRequest) -> None:
        self.whole = self.queryset
        (order, *_) = self.model_admin.get_ordering(request)
        if order.startswith("-"):
            self._bound(request, order.removeprefix("-"))
        super().get_results(request)
        keys = self.paginator.keys_of(self.page_num if self.multi_page else 1)
        rows = self.apply_select_related(self.root_queryset.filter(pk__in=keys))  # what it took to find them is done
        self.result_list = rows.order_by(*self.get_ordering(request, rows))

    def _bound(self, request: HttpRequest, order: str) -> None:
        among = self._found_by_index(request, order)
        if BEFORE in request.GET:
            behind = {f"{order}__lt": self._value(order, request.GET[BEFORE])}
            among, self.queryset = among.filter(**behind), self.queryset.filter(**behind)
        self.looked_through = self._most_read(order)
        if self.looked_through:
            places = among.order_by(f"-{order}").values_list(order, flat=True)
            self.read_to = next(iter(places[self.looked_through : self.looked_through + 1]), None)
        if self.read_to is not None:
            self.queryset = self.queryset.filter(**{f"{order}__gte": self.read_to})

    def _found_by_index(self, request: HttpRequest, order: str) -> Any:
        """The rows among which is looked."""
        rows: Any = self.root_queryset
        for spec in self.filter_specs:
            if getattr(spec, "served_in_order_of", None) == order:
                rows = spec.within(request, rows) if hasattr(spec, "within") else spec.queryset(request, rows)
        lookups = {name: value for name, value in self.params.items() if name in self.model_admin.served_lookups}
        return rows.filter(**lookups)

    def _most_read(self, order: str) -> int:
        """How many rows are looked through, if indexes do not serve it all. A search is bounded by itself."""
        served = {BEFORE, *main.IGNORED_PARAMS, *self.model_admin.served_lookups}
        asked = {name for name, value in self.params.items() if value} - served
        asked -= self._parameters("served_in_order_of", order)
        if self.query or not asked:
            return 0
        return MOST_READ_IN_INDEX if asked <= self._parameters("judged_in_order_of", order) else MOST_READ

    def _parameters(self, claim: str, order: str) -> set[str | None]:
        """Those of the filters that make this claim for this order."""
        claiming = (spec for spec in self.filter_specs if getattr(spec, claim, None) == order)
        return {name for spec in claiming for name in spec.expected_parameters()}

    def _value(self, order: str, text: str) -> Any:
        """:raises IncorrectLookupParameters: the field has no such value; the admin then shows the whole list"""
        field = self.lookup_opts.pk if order == "pk" else self.lookup_opts.get_field(order)
        try:
            value = field.to_python(text)  # type: ignore[union-attr]
        except ValidationError as error:
            raise IncorrectLookupParameters from error
        if isinstance(value, datetime) and is_naive(value):
            raise IncorrectLookupParameters
        return value


def _asks_for_what_is_not_offered(spec: object) -> bool:
    """A filter whose choices are few and fixed ignores others, and so would find what nobody meant to ask for."""
    if not getattr(spec, "closed", False):
        return False
    value, offered = spec.value(), spec.lookup_choices  # type: ignore[attr-defined]
    return bool(value) and value not in {choice for choice, _ in offered}
