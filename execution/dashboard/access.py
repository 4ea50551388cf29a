"""Decides who may open a page: staff of the admin, with the permissions that its tables ask for."""

from collections.abc import Callable
from functools import wraps

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse

View = Callable[..., HttpResponseBase]
# Everything that decides what a page of the dashboard has on it.
RIGHTS = (
    "execution.view_position",
    "execution.view_order",
    "execution.view_trade",
    "execution.view_executionrequest",
    "execution.view_killswitch",
    "execution.move_killswitch",
)
UNAUTHORIZED = 401


def rights_of(request: HttpRequest) -> frozenset[str]:
    """Return those of RIGHTS that the reader has. Readers with the same rights see the same."""
    return frozenset(right for right in RIGHTS if request.user.has_perm(right))


def is_staff(request: HttpRequest) -> bool:
    """Whether the reader has signed in and may use the admin."""
    return request.user.is_active and request.user.is_staff


def staff_only(permission: str = "") -> Callable[[View], View]:
    """Send readers who are not signed in to the admin's sign-in, and refuse who lacks the permission."""

    def guarded(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
            if not is_staff(request):
                return redirect_to_login(request.get_full_path(), login_url=reverse("admin:login"))
            if permission and not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return answer

    return guarded


def staff_only_in_background(view: View) -> View:
    """Answer 401 to a page that asks by itself and whose reader is signed out.

    A sign-in form does not belong into a part of a page.
    """

    @wraps(view)
    def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if not is_staff(request):
            return HttpResponse("Signed out.", status=UNAUTHORIZED, content_type="text/plain")
        return view(request, *args, **kwargs)

    return answer
