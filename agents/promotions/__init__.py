"""Promotions: partners' campaigns, whose vouchers users buy with points and show at the till, and whose codes bring down the price of an order.

create, activate, pause, end, purchase, issue, redeem, roll back, transfer, cancel, generate, apply -> promotions -> campaign, voucher, promo_code, redemption
voucher_purchase_started -> points held -> voucher_purchased -> captured; refused or not in time -> voucher_purchase_failed -> released
voucher_reserved, promo_code_applied -> the order paid -> voucher_redeemed -> refunded -> rolled back; failed or not in time -> voucher_reservation_released
voucher_purchased -> its time is over -> voucher_expired; all sold -> campaign_budget_exhausted; the sale over -> campaign_ended
venue_verified, staff_added -> who may redeem where
"""
