"""Addresses of the API. The three health addresses ask for no key, and a webhook for its own token."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from execution.api.equity import EquityViewSet
from execution.api.exports import ExportViewSet
from execution.api.health import HealthView, LivenessView, ReadinessView
from execution.api.hooks import HookView
from execution.api.preview import PreviewView
from execution.api.prometheus import PrometheusView
from execution.api.tca import TcaViewSet
from execution.api.views import DocsView, SchemaView, ServiceView
from execution.api.viewsets import (
    EventViewSet,
    KillSwitchViewSet,
    MetricsViewSet,
    OrderViewSet,
    PositionViewSet,
    RequestViewSet,
    TradeViewSet,
)

router = SimpleRouter(trailing_slash=False)
router.register("order", OrderViewSet, basename="order")
router.register("requests", RequestViewSet, basename="request")
router.register("positions", PositionViewSet, basename="position")
router.register("trades", TradeViewSet, basename="trade")
router.register("events", EventViewSet, basename="event")
router.register("equity", EquityViewSet, basename="equity")
router.register("exports", ExportViewSet, basename="export")
router.register("kill-switch", KillSwitchViewSet, basename="kill-switch")
router.register("tca", TcaViewSet, basename="tca")
router.register("metrics", MetricsViewSet, basename="execution-metrics")

urlpatterns = [
    path("", ServiceView.as_view(), name="service"),
    path("health", HealthView.as_view(), name="health"),
    path("health/live", LivenessView.as_view(), name="health-live"),
    path("health/ready", ReadinessView.as_view(), name="health-ready"),
    path("metrics", PrometheusView.as_view(), name="prometheus"),
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", DocsView.as_view(), name="docs"),
    path("hooks/<str:token>", HookView.as_view(), name="hook"),
    path("api/execution/preview", PreviewView.as_view(), name="preview"),
    path("api/execution/", include(router.urls)),
]
