DROP SCHEMA IF EXISTS bi CASCADE;
CREATE SCHEMA bi;
CREATE TABLE bi.sales (
  id bigint PRIMARY KEY, customer text NOT NULL, region varchar(20), amount numeric(12,2), rate double precision,
  sold timestamp, seen timestamptz, day date, paid boolean, body jsonb);
CREATE INDEX sales_by_day ON bi.sales (day, customer);
CREATE VIEW bi.paid AS SELECT id, customer, amount FROM bi.sales WHERE paid;
INSERT INTO bi.sales VALUES
  (1, 'ada', 'north', 10.00, 0.5, '2024-01-01 10:00:00', '2024-01-01 10:00:00+00', '2024-01-01', true, '{"k": 1}'),
  (2, 'bob', 'south', 250.50, 1.5, '2024-01-15 11:30:00', '2024-01-15 11:30:00+00', '2024-01-15', false, '{"k": 2}'),
  (3, 'ada', 'north', 99.99, 2.5, '2024-02-03 23:59:59', '2024-02-03 23:59:59+00', '2024-02-03', true, NULL),
  (4, 'eve', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
