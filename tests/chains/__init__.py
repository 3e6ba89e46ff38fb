"""Chains across domains: whatever dies between two of their steps, all of it happens, once, or is made good."""
