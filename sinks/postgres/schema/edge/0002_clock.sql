-- How far the platform's clock is ahead of the machines', outside production: at most one row, read by the edge and the workers.
CREATE TABLE clock (
    one   boolean  NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    ahead interval NOT NULL
);
