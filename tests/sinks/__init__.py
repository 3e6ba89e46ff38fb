"""Tests of the drivers, above all of the store on Postgres beside the one in memory."""
