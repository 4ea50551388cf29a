"""How the admin looks: the theme's settings, read by `settings.py`; what it shows is decided in `execution.admin`."""

from typing import Any

# Tailwind's blue. Red and green stay for losses and gains alone.
BLUE = {
    "50": "oklch(97% .014 254.604)",
    "100": "oklch(93.2% .032 255.585)",
    "200": "oklch(88.2% .059 254.128)",
    "300": "oklch(80.9% .105 251.813)",
    "400": "oklch(70.7% .165 254.624)",
    "500": "oklch(62.3% .214 259.815)",
    "600": "oklch(54.6% .245 262.881)",
    "700": "oklch(48.8% .243 264.376)",
    "800": "oklch(42.4% .199 265.638)",
    "900": "oklch(37.9% .146 265.522)",
    "950": "oklch(28.2% .091 267.935)",
}


def theme(mode: str) -> dict[str, Any]:
    """Return the settings of django-unfold; callbacks are names because the admin can be imported later only."""
    return {
        "SITE_TITLE": "Execution Service",
        "SITE_HEADER": f"Execution Service · {mode}",
        "SITE_URL": None,
        "ENVIRONMENT": "execution.admin.menu.mode_label",
        "COLORS": {"primary": BLUE},
        "STYLES": ["execution.admin.menu.stylesheet"],
        "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "execution.admin.menu.favicon"}],
        "SIDEBAR": {"navigation": "execution.admin.menu.sidebar"},
        "DASHBOARD_CALLBACK": "execution.admin.home.with_figures",
    }
