"""Addresses of the dashboard. All but `/` lie under `/dashboard/`."""

from django.urls import path

from execution.dashboard import views

app_name = "dashboard"
urlpatterns = [
    path("", views.root, name="home"),
    path("dashboard/board", views.board, name="board"),
    path("dashboard/stream", views.stream, name="stream"),
]
