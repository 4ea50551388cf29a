"""All routes of the exchange by method and path."""

from paper_exchange.http.calls import RouteTable
from paper_exchange.http.routes import account, algos, batch, extras, listen_key, market, orders, settings

ROUTES: RouteTable = {
    **market.ROUTES,
    **orders.ROUTES,
    **algos.ROUTES,
    **account.ROUTES,
    **settings.ROUTES,
    **listen_key.ROUTES,
    **batch.ROUTES,
    **extras.ROUTES,
}
