"""Addresses of the dashboard. All but `/` lie under `/dashboard/`."""

from django.urls import path

from execution.dashboard import views

app_name = "dashboard"
urlpatterns = [
    path("", views.root, name="home"),
    path("dashboard/board", views.board, name="board"),
    path("dashboard/stream", views.stream, name="stream"),
    path("dashboard/decisions", views.decisions, name="decisions"),
    path("dashboard/decisions/<uuid:pk>", views.decision, name="decision"),
    path("dashboard/trades/<uuid:pk>", views.trade, name="trade"),
    path("dashboard/trades/<uuid:pk>/chart", views.chart, name="chart"),
    path("dashboard/trades/<uuid:pk>/stop", views.stop, name="stop"),
]
