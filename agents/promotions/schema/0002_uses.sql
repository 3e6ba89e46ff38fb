-- A campaign with all of its terms that somebody is shown, and its further figures.
ALTER TABLE campaign
    ADD kind         text   NOT NULL DEFAULT 'voucher',
    ADD max_uses     bigint NOT NULL DEFAULT 1,
    ADD per_user     bigint NOT NULL DEFAULT 1,
    ADD percent      bigint,
    ADD min_spend    bigint NOT NULL DEFAULT 0,   -- minor units of the currency
    ADD min_quantity bigint NOT NULL DEFAULT 1,
    ADD venues       text   NOT NULL DEFAULT '',  -- their ids, with spaces between; none is any
    ADD sale_from    timestamptz,
    ADD sale_to      timestamptz,
    ADD valid_from   timestamptz,
    ADD valid_to     timestamptz,
    ADD valid_days   bigint,
    ADD cancelled    bigint NOT NULL DEFAULT 0,
    ADD given        bigint NOT NULL DEFAULT 0,
    ADD refunded     bigint NOT NULL DEFAULT 0,
    ADD spend        bigint NOT NULL DEFAULT 0,   -- minor units of the currency
    ADD taken        bigint NOT NULL DEFAULT 0,   -- minor units of the currency
    ADD unsold       bigint NOT NULL DEFAULT 0;

UPDATE campaign SET spend = value * (issued + reserved), taken = redeemed * value, unsold = least(quantity, budget / value) - issued - reserved;

CREATE INDEX campaign_active ON campaign (campaign_id) WHERE status = 'active';

-- How much of a voucher is redeemed or reserved: uses, or the money of a gift in minor units of its currency.
ALTER TABLE voucher
    ADD kind     text   NOT NULL DEFAULT 'voucher',
    ADD capacity bigint NOT NULL DEFAULT 1,
    ADD used     bigint NOT NULL DEFAULT 0,
    ADD held     bigint NOT NULL DEFAULT 0;

UPDATE voucher SET used = 1 WHERE status = 'redeemed';

-- Each promo code, with the orders that were paid with it and those that may be.
CREATE TABLE promo_code (
    campaign_id text        NOT NULL,
    code        text        NOT NULL,
    partner_id  text        NOT NULL,
    capacity    bigint      NOT NULL,
    used        bigint      NOT NULL,
    held        bigint      NOT NULL,
    valid_from  timestamptz NOT NULL,
    valid_to    timestamptz NOT NULL,
    PRIMARY KEY (campaign_id, code)
);

-- Each redemption; of a promo code, voucher_id is the code.
CREATE TABLE redemption (
    campaign_id    text        NOT NULL,
    redemption_id  text        NOT NULL,
    partner_id     text        NOT NULL,
    voucher_id     text        NOT NULL,
    user_id        text        NOT NULL,
    order_id       text,
    venue_id       text,
    staff_id       text,
    value          bigint      NOT NULL,  -- minor units of the currency
    currency       text        NOT NULL,
    status         text        NOT NULL,
    reason         text,
    redeemed_at    timestamptz NOT NULL,
    rolled_back_at timestamptz,
    PRIMARY KEY (campaign_id, redemption_id)
);

INSERT INTO redemption
SELECT campaign_id, voucher_id, partner_id, voucher_id, user_id, NULL, NULL, NULL, value, currency, 'redeemed', NULL, redeemed_at, NULL
FROM voucher WHERE status = 'redeemed';

CREATE INDEX redemption_of_partner ON redemption (partner_id, redeemed_at, campaign_id, redemption_id);

-- For whom somebody acts at a venue; for nobody without a partner.
CREATE TABLE staff (
    venue_id   text NOT NULL,
    user_id    text NOT NULL,
    partner_id text,
    PRIMARY KEY (venue_id, user_id)
);
