"""The language: one file per domain; `ls topics` is the catalogue of every message."""
