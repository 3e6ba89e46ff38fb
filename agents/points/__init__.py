"""Points: a soft currency that users are awarded, spend, hold and send each other; a double-entry ledger tells where each point is.

award, spend, hold, transfer -> points -> ledger, balance, expiring; a transfer goes sender -> transit -> recipient, or back
user_registered -> award; voucher_purchase_started -> hold, voucher_purchased -> capture, voucher_purchase_failed -> release
points that expire -> their time -> expire
"""
