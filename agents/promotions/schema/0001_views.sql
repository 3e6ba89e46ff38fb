-- Each campaign: its terms as far as they are counted, and how many of its vouchers are in which state.
CREATE TABLE campaign (
    campaign_id text   NOT NULL PRIMARY KEY,
    partner_id  text   NOT NULL,
    name        text   NOT NULL,
    status      text   NOT NULL,
    price       bigint NOT NULL,  -- points
    value       bigint NOT NULL,  -- minor units of the currency
    currency    text   NOT NULL,
    quantity    bigint NOT NULL,
    budget      bigint NOT NULL,  -- minor units of the currency
    reserved    bigint NOT NULL,
    issued      bigint NOT NULL,
    failed      bigint NOT NULL,
    redeemed    bigint NOT NULL,
    expired     bigint NOT NULL
);

-- Each voucher, from the moment in which its purchase began.
CREATE TABLE voucher (
    campaign_id text        NOT NULL,
    voucher_id  text        NOT NULL,
    user_id     text        NOT NULL,
    partner_id  text        NOT NULL,
    name        text        NOT NULL,
    price       bigint      NOT NULL,
    value       bigint      NOT NULL,
    currency    text        NOT NULL,
    status      text        NOT NULL,
    reason      text,
    code        text,
    started_at  timestamptz NOT NULL,
    valid_from  timestamptz,
    valid_to    timestamptz,
    redeemed_at timestamptz,
    PRIMARY KEY (campaign_id, voucher_id)
);

CREATE INDEX voucher_of_user ON voucher (user_id, started_at, campaign_id, voucher_id);
CREATE INDEX voucher_by_code ON voucher (partner_id, code);
