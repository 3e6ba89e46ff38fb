"""Referrals: users invite friends by codes and links; when a friend does what a scheme asks for, both and those above are rewarded.

scheme, code, click -> referrals; a code goes user -> code -> user
user_registered -> attributed; order_paid, voucher_redeemed and others -> qualified -> screened -> flagged, or approved in time
approved -> the scheme's budget -> referral_reward_granted -> points; order_refunded, void -> referral_reward_clawed_back -> points
ambassadors: commission earned -> payout requested -> completed
"""
