"""The edge: publishes commands and serves views over HTTP. It knows no domain; routes come from contracts and view functions."""
