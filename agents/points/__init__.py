"""Points: a soft currency that users are awarded, spend, hold and send each other; a double-entry ledger tells where each point is.

award, spend, hold, transfer, reverse, adjust -> points -> ledger, balance, expiring, pending; a transfer goes sender -> transit -> recipient, or back
user_registered, voucher_redeemed, order_paid, workout_recorded, ... -> rules as data -> award, pending for a time -> tier
quest_completed, referral_reward_granted -> award; order_refunded, referral_reward_clawed_back -> reversal, owed where it was used
voucher_purchase_started -> hold, voucher_purchased -> capture, voucher_purchase_failed -> release, voucher_refunded -> reversal
points that expire or are unlocked, the period of a tier -> their time -> expire, unlock, review
"""
