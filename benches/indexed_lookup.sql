\set customer random(1, :rows / 5 - 1)
SELECT id, customer, state, note FROM journeys WHERE customer = :customer;
