"""Governance: what every domain leans on to keep its content, its users and their data in order.

submit_for_moderation -> checks, people -> content_approved, content_rejected
"""
