-- What the scripts of psql look at: in a schema of its own.
DROP SCHEMA IF EXISTS ps CASCADE;
CREATE SCHEMA ps;
CREATE TABLE ps.orders (
  id bigint PRIMARY KEY, customer text NOT NULL, total numeric(12,2) DEFAULT 0, placed timestamptz DEFAULT now(),
  tags text[], body jsonb, UNIQUE (customer, placed));
CREATE INDEX orders_by_total ON ps.orders (total DESC, id);
CREATE TABLE ps.lines (
  order_id bigint NOT NULL REFERENCES ps.orders ON DELETE CASCADE, line int, replaces int,
  PRIMARY KEY (order_id, line), CONSTRAINT earlier FOREIGN KEY (order_id, replaces) REFERENCES ps.lines (order_id, line) DEFERRABLE INITIALLY DEFERRED
);
CREATE MATERIALIZED VIEW ps.by_customer AS SELECT customer, count(*) AS orders FROM ps.orders GROUP BY customer;
CREATE UNIQUE INDEX by_customer_key ON ps.by_customer (customer);
CREATE VIEW ps.big AS SELECT id, total FROM ps.orders WHERE total > 100;
INSERT INTO ps.orders (id, customer, total, placed) VALUES
  (1, 'ada', 10, '2024-01-01 00:00+00'), (2, 'bob', 250.5, '2024-01-02 00:00+00'), (3, 'ada', 99.99, '2024-02-01 00:00+00');
