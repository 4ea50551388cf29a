"""Addresses: REST under /api/execution, health, metrics, API page and admin."""

from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
]
