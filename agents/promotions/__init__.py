"""Promotions: partners' campaigns, whose vouchers users buy with points and show at the till.

create, activate, purchase, redeem -> promotions -> voucher, campaign
voucher_purchase_started -> points held -> voucher_purchased -> captured; refused or not in time -> voucher_purchase_failed -> released
voucher_purchased -> its time is over -> voucher_expired
"""
