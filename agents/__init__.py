"""The domains: one folder each, found by name; a domain never imports another."""
