\set customer random(0, :rows - 1)
SELECT id, customer, state, note FROM journeys WHERE customer = :customer;
