"""Addresses: the dashboard, the API with health, metrics and its page, and the admin."""

from django.contrib import admin
from django.urls import include, path

# Here and not with the applications: only who answers requests loads the admin.
admin.autodiscover()

urlpatterns = [
    # First: it shares `/` with the API, and chooses by what the client accepts.
    path("", include("execution.dashboard.urls")),
    path("", include("execution.api.urls")),
    path("admin/", admin.site.urls),
]
handler400 = "execution.api.errors.bad_request"
handler403 = "execution.api.errors.forbidden"
handler404 = "execution.api.errors.not_found"
handler500 = "execution.api.errors.server_error"
