"""What is known of each campaign; its vouchers and its users are found by id."""

from agents.promotions.rules import Campaign, Shopper, Voucher
from streams.decision import ROOT
from streams.table import Table

CAMPAIGNS = Table("promotions", {ROOT: Campaign, "voucher": Voucher, "user": Shopper})
