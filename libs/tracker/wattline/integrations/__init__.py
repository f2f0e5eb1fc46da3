"""Bridges to what trains and tracks already; each module needs the extra of its name, and nothing else imports it."""
