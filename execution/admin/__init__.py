"""The admin site: operators read every table, and act on dead letters, decisions and the kill switch."""

from django.contrib import admin

from execution.admin import brakes, messages, trading, webhooks

__all__ = ["brakes", "messages", "trading", "webhooks"]

# One page for both: the groups of `menu`, instead of an application's tables from A to Z.
admin.site.index_template = admin.site.app_index_template = "execution/home.html"
admin.site.index_title = "Home"
