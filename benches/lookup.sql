\set id random(1, :rows)
SELECT id, owner, balance, note FROM accounts WHERE id = :id;
