\set id random(1, :rows)
\set balance random(1, 100000)
INSERT INTO accounts (id, owner, balance, note) VALUES (:id, :id, :balance, 'upserted by pgbench') ON CONFLICT (id) DO UPDATE SET balance = excluded.balance, note = excluded.note;
