"""Django's settings, all derived from the environment through `execution_project.env`."""

from pathlib import Path
from secrets import token_urlsafe
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from execution_project.admin_theme import theme
from execution_project.env import Mode, environment
from execution_project.logs import logging_settings
from execution_project.waits import DATABASE_SOCKET
from execution_project.web import LONGEST_BODY_BYTES

ENV = environment()
# What no policy value passes, by policy key; read where the policy in force is.
POLICY_CEILINGS = ENV.policy_ceilings
BASE_DIR = Path(__file__).resolve().parent.parent

# A random key is enough where nobody is asked to sign in across restarts; other modes must bring their own (checks.py).
SECRET_KEY = ENV.secret_key.get_secret_value() or token_urlsafe(50)
DEBUG = False
ALLOWED_HOSTS = ENV.hosts
# Forms of the admin are accepted from the page that people see, whatever stands in front of this process.
CSRF_TRUSTED_ORIGINS = ENV.origins
# The header counts from TRUSTED_PROXIES only: the middleware removes everybody else's.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "execution",
]
MIDDLEWARE = [
    "execution_project.probes.ProbesByAddress",
    "execution_project.proxies.TrustedProxies",
    "django.middleware.security.SecurityMiddleware",
    "execution_project.security_headers.SecurityHeadersMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "execution_project.sessions.EndSessions",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "execution_project.urls"
WSGI_APPLICATION = "execution_project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def database_settings(url: str, password: str = "") -> dict[str, Any]:
    """Return Django's settings for a PostgreSQL URL; libpq's own parser reads it. A password in it comes first."""
    parts = conninfo_to_dict(url)
    return {
        # PostgreSQL as Django knows it, with bounded waits.
        "ENGINE": "execution_project.postgres",
        "NAME": parts.pop("dbname", "execution"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", password),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        # Prepared statements: the same few statements run for every decision, and planning them costs as much as
        # running them. (A pooler in front must keep them, or hand out whole sessions.)
        "OPTIONS": {"prepare_threshold": 3, "server_side_binding": True, **DATABASE_SOCKET, **parts},
        # Connections live as long as their thread; web requests check them first, tasks see celery.py.
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }


DATABASES = {
    "default": database_settings(ENV.database_url.get_secret_value(), ENV.database_password.get_secret_value())
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = False
# Times on pages for people: to the second, with their zone.
FORMAT_MODULE_PATH = ["execution_project.formats"]

STATIC_URL = "static/"
# Static files are served from the packages themselves: no collect step between a clone and a running service.
WHITENOISE_USE_FINDERS = True

SESSION_ENGINE = "execution_project.sessions"
# A working day from the sign-in, and half an hour without a request.
SESSION_COOKIE_AGE = 8 * 60 * 60
SESSION_IDLE_SECONDS = 30 * 60
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENV.mode is not Mode.PAPER
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Strict"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
# Browsers that came by TLS once come by nothing else. Sent by TLS only.
SECURE_HSTS_SECONDS = 0 if ENV.mode is Mode.PAPER else 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = ENV.mode is not Mode.PAPER
# SECURE_SSL_REDIRECT (W008) stays off: TLS ends at a proxy or the port is on loopback, neighbours and health checks
# call this port in plain HTTP, and a redirect would answer a POST that has already shown its key.
SILENCED_SYSTEM_CHECKS = ["security.W008"]
DATA_UPLOAD_MAX_MEMORY_SIZE = LONGEST_BODY_BYTES

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    # JSON only: a web page cannot make a browser post it across origins without being asked first.
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["execution.api.permissions.ServiceKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["execution.api.permissions.HoldsServiceKey"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "execution.api.errors.explain",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Execution Service",
    "DESCRIPTION": "Order execution, position monitoring and trade life cycle for Binance USD-M Futures.",
    "VERSION": "1.0.0",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
}
UNFOLD = theme(ENV.mode)

SERVICE_NAME = "execution"
SERVICE_VERSION = "1.0.0"
LOGGING = logging_settings(level=ENV.log_level, form=ENV.log_format, secrets=ENV.secret_values())
