-- Each scheme as it is defined now.
CREATE TABLE scheme (
    scheme_id         text   NOT NULL PRIMARY KEY,
    name              text   NOT NULL,
    status            text   NOT NULL,
    revision          bigint NOT NULL,
    event             text   NOT NULL,
    depth             bigint NOT NULL,
    budget            bigint NOT NULL,  -- points
    currency          text,
    commission_budget bigint NOT NULL,  -- minor units of the currency
    payout_threshold  bigint            -- minor units of the currency
);

-- What each scheme has given, less what was clawed back.
CREATE TABLE bank (
    scheme_id  text   NOT NULL PRIMARY KEY,
    points     bigint NOT NULL,
    commission bigint NOT NULL,
    exhausted  bigint NOT NULL  -- referrals that did not fit into the budget
);

CREATE TABLE code (
    code       text        NOT NULL PRIMARY KEY,
    user_id    text        NOT NULL,
    scheme_id  text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);

CREATE INDEX code_of_user ON code (user_id, code);

-- How often each visitor followed each link.
CREATE TABLE click (
    visitor_id text        NOT NULL,
    code       text        NOT NULL,
    user_id    text        NOT NULL,
    scheme_id  text        NOT NULL,
    clicks     bigint      NOT NULL,
    own        boolean     NOT NULL,
    last_at    timestamptz NOT NULL,
    PRIMARY KEY (visitor_id, code)
);

CREATE INDEX click_of_code ON click (code);
CREATE INDEX click_of_scheme ON click (scheme_id);

-- Codes of new users that did not count.
CREATE TABLE ignored (
    user_id text NOT NULL PRIMARY KEY,
    code    text,
    reason  text NOT NULL
);

CREATE INDEX ignored_code ON ignored (code);

-- Who was brought by whom: at most one referral of a user, under the user's id.
CREATE TABLE referral (
    referral_id   text        NOT NULL PRIMARY KEY,
    referrer_id   text        NOT NULL,
    scheme_id     text        NOT NULL,
    code          text        NOT NULL,
    touch         text        NOT NULL,
    status        text        NOT NULL,
    since         timestamptz NOT NULL,
    reason        text,
    source        text,
    attributed_at timestamptz NOT NULL,
    qualified_at  timestamptz,
    approve_at    timestamptz
);

CREATE INDEX referral_of_referrer ON referral (referrer_id, attributed_at, referral_id);
CREATE INDEX referral_of_scheme ON referral (scheme_id, status);
CREATE INDEX referral_of_code ON referral (code);
CREATE INDEX referral_flagged ON referral (since, referral_id) WHERE status = 'flagged';

-- Those above each referral, to the depth that its scheme had: 1 is the referrer.
CREATE TABLE descendant (
    referral_id text   NOT NULL,
    level       bigint NOT NULL,
    user_id     text   NOT NULL,
    PRIMARY KEY (referral_id, level)
);

CREATE INDEX descendant_of_user ON descendant (user_id, level, referral_id);

CREATE TABLE reward (
    reward_id   text        NOT NULL PRIMARY KEY,
    scheme_id   text        NOT NULL,
    referral_id text        NOT NULL,
    level       bigint      NOT NULL,
    user_id     text        NOT NULL,
    points      bigint      NOT NULL,
    commission  bigint      NOT NULL,  -- minor units of the scheme's currency
    status      text        NOT NULL,
    since       timestamptz NOT NULL
);

CREATE INDEX reward_of_user ON reward (user_id, referral_id);
CREATE INDEX reward_of_referral ON reward (referral_id);
CREATE INDEX reward_of_scheme ON reward (scheme_id, status);

-- Commission of ambassadors, in minor units of the scheme's currency; clawed back is not earned.
CREATE TABLE earnings (
    scheme_id text   NOT NULL,
    user_id   text   NOT NULL,
    earned    bigint NOT NULL,
    requested bigint NOT NULL,
    paid      bigint NOT NULL,
    PRIMARY KEY (scheme_id, user_id)
);

CREATE INDEX earnings_of_user ON earnings (user_id, scheme_id);

CREATE TABLE ambassador (
    user_id text        NOT NULL PRIMARY KEY,
    status  text        NOT NULL,
    tier    text        NOT NULL,
    since   timestamptz NOT NULL
);

CREATE TABLE payout (
    scheme_id text        NOT NULL,
    user_id   text        NOT NULL,
    payout_id text        NOT NULL,
    amount    bigint      NOT NULL,
    currency  text        NOT NULL,
    status    text        NOT NULL,
    since     timestamptz NOT NULL,
    PRIMARY KEY (scheme_id, user_id, payout_id)
);

CREATE INDEX payout_of_user ON payout (user_id, since, scheme_id, payout_id);
