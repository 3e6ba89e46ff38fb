"""Points: a soft currency that users are awarded, spend, hold and send each other; a double-entry ledger tells where each point is.

award, spend, hold, transfer -> points -> ledger, balance; a transfer goes sender -> transit -> recipient, or back
"""
