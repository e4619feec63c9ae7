'use strict';
// npm pg with pg-cursor, pg-query-stream and pg-copy-streams: one JSON line per feature.
const assert = require('node:assert');
const { pipeline } = require('node:stream/promises');
const { Readable } = require('node:stream');
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');
const QueryStream = require('pg-query-stream');
const copy = require('pg-copy-streams');

const SECONDS_MAX = Number(process.env.FEATURE_SECONDS ?? 20);
const LONG =
  'SELECT sum(a + b) FROM generate_series(1, 100000) AS a, generate_series(1, 1000000) AS b';
const name = 'npm pg';
const features = [];
const feature = (title, work, options) => features.push({ title, work, options });
const equal = assert.deepStrictEqual;

async function connect(options) {
  const client = new Client(options);
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function fails(code, promise) {
  try {
    await promise;
  } catch (error) {
    equal(error.code, code, error.message);
    return error;
  }
  throw new Error(`no error, expected SQLSTATE ${code}`);
}

async function text(stream) {
  let found = '';
  for await (const part of stream) found += part;
  return found;
}

feature('query and types', async (c) => {
  const { rows, fields } = await c.query(
    `SELECT 1::int AS i, 2::bigint AS l, 1.5::float8 AS d, 1.50::numeric AS n, 'ü' AS t, true AS b,
     '2024-01-02 03:04:05+00'::timestamptz AS tz, '{"a":[1]}'::jsonb AS j, '\\x00ff'::bytea AS y, ARRAY[1,2] AS a, NULL AS z`,
  );
  equal(rows[0], {
    i: 1, l: '2', d: 1.5, n: '1.50', t: 'ü', b: true, tz: new Date('2024-01-02T03:04:05Z'), j: { a: [1] },
    y: Buffer.from([0, 255]), a: [1, 2], z: null,
  });
  equal(fields.map((f) => f.dataTypeID), [23, 20, 701, 1700, 25, 16, 1184, 3802, 17, 1007, 25]);
});

feature('fields know their table', async (c) => {
  await c.query('DROP TABLE IF EXISTS np_f; CREATE TABLE np_f (a int, b text)');
  const oid = (await c.query("SELECT 'np_f'::regclass::oid AS o")).rows[0].o;
  const { fields } = await c.query('SELECT b FROM np_f');
  equal([fields[0].tableID, fields[0].columnID], [oid, 2]);
});

feature('parameters', async (c) => {
  const { rows } = await c.query('SELECT $1::int + 1 AS a, $2::text AS b, $3::jsonb AS j, $4::timestamptz AS d, $5::int[] AS l, $6::bytea AS y', [
    41, "it's", { k: [1] }, new Date('2024-01-01T00:00:00Z'), [1, null], Buffer.from([1, 0]),
  ]);
  equal(rows[0], { a: 42, b: "it's", j: { k: [1] }, d: new Date('2024-01-01T00:00:00Z'), l: [1, null], y: Buffer.from([1, 0]) });
});

feature('untyped parameters', async (c) => {
  equal((await c.query('SELECT $1 AS a, $2::text || $3 AS b', ['x', 'y', 'z'])).rows[0], { a: 'x', b: 'yz' });
});

feature('named prepared statement', async (c) => {
  for (let n = 0; n < 3; n++) {
    equal((await c.query({ name: 'np_s', text: 'SELECT $1::int * 2 AS d', values: [n] })).rows[0].d, n * 2);
  }
});

feature('binary results', async (c) => {
  const { rows } = await c.query({ text: 'SELECT 5::int AS i, true AS b, $1::text AS t', values: ['x'], binary: true });
  equal(rows[0], { i: 5, b: true, t: 'x' });
});

feature('row mode array and several statements', async (c) => {
  equal((await c.query({ text: 'SELECT 1, 2', rowMode: 'array' })).rows, [[1, 2]]);
  const results = await c.query('SELECT 1 AS a; SELECT 2 AS b');
  equal(results.map((r) => r.rows), [[{ a: 1 }], [{ b: 2 }]]);
});

feature('command and row count', async (c) => {
  await c.query('DROP TABLE IF EXISTS np_r; CREATE TABLE np_r (a int)');
  const found = [];
  for (const q of ['INSERT INTO np_r VALUES (1), (2)', 'UPDATE np_r SET a = 3 WHERE a = 1', 'DELETE FROM np_r', 'SELECT * FROM np_r']) {
    const r = await c.query(q);
    found.push([r.command, r.rowCount]);
  }
  equal(found, [['INSERT', 2], ['UPDATE', 1], ['DELETE', 2], ['SELECT', 0]]);
});

feature('errors', async (c) => {
  await c.query('DROP TABLE IF EXISTS np_e; CREATE TABLE np_e (a int PRIMARY KEY, b text NOT NULL)');
  await c.query("INSERT INTO np_e VALUES (1, 'x')");
  const error = await fails('23505', c.query("INSERT INTO np_e VALUES ($1, 'y')", [1]));
  equal([error.constraint, error.table, error.schema, error.detail, error.severity],
    ['np_e_pkey', 'np_e', 'public', 'Key (a)=(1) already exists.', 'ERROR']);
  equal((await fails('42P01', c.query('SELECT * FROM np_missing'))).position, '15');
});

feature('transaction', async (c) => {
  await c.query('DROP TABLE IF EXISTS np_t; CREATE TABLE np_t (a int)');
  await c.query('BEGIN');
  await c.query('INSERT INTO np_t VALUES ($1)', [1]);
  await c.query('ROLLBACK');
  equal((await c.query('SELECT count(*)::int AS n FROM np_t')).rows[0].n, 0);
});

feature('pg-cursor', async (c) => {
  const cursor = c.query(new Cursor('SELECT g FROM generate_series(1, $1::int) AS g', [1000]));
  equal((await cursor.read(2)).map((r) => r.g), [1, 2]);
  equal((await cursor.read(3)).map((r) => r.g), [3, 4, 5]);
  await cursor.close();
  equal((await c.query('SELECT 1 AS a')).rows, [{ a: 1 }]);
});

feature('pg-query-stream', async (c) => {
  let sum = 0;
  for await (const row of c.query(new QueryStream('SELECT g FROM generate_series(1, 5000) AS g', [], { batchSize: 77 }))) sum += row.g;
  equal(sum, 12502500);
});

feature('pg-copy-streams: from and to', async (c) => {
  await c.query('DROP TABLE IF EXISTS np_c; CREATE TABLE np_c (a int, b text)');
  const into = c.query(copy.from('COPY np_c FROM STDIN WITH (FORMAT csv)'));
  await pipeline(Readable.from(['1,"x,', 'y"\n2,', '\n']), into);
  equal(into.rowCount, 2);
  const out = c.query(copy.to('COPY (SELECT * FROM np_c ORDER BY a) TO STDOUT'));
  equal(await text(out), '1\tx,y\n2\t\\N\n');
});

feature('pg-copy-streams: binary', async (c) => {
  await c.query('DROP TABLE IF EXISTS np_cb; CREATE TABLE np_cb (a int)');
  const chunks = [];
  for await (const part of c.query(copy.to('COPY (SELECT 5) TO STDOUT (FORMAT binary)'))) chunks.push(part);
  await pipeline(Readable.from([Buffer.concat(chunks)]), c.query(copy.from('COPY np_cb FROM STDIN (FORMAT binary)')));
  equal((await c.query('SELECT a FROM np_cb')).rows, [{ a: 5 }]);
});

feature('notices', async (c) => {
  const seen = [];
  c.on('notice', (n) => seen.push([n.severity, n.message]));
  await c.query('DROP TABLE IF EXISTS np_missing');
  equal(seen, [['NOTICE', 'table "np_missing" does not exist, skipping']]);
});

feature('listen and notify', async (c) => {
  const seen = new Promise((resolve) => c.on('notification', (m) => resolve([m.channel, m.payload])));
  await c.query('LISTEN np_channel');
  await c.query("NOTIFY np_channel, 'hello'");
  equal(await seen, ['np_channel', 'hello']);
});

feature('statement_timeout of the connection', async (c) => {
  await fails('57014', c.query(LONG));
}, { statement_timeout: 500 });

feature('lock_timeout and idle_in_transaction_session_timeout of the connection', async (c) => {
  equal((await c.query('SHOW lock_timeout')).rows[0].lock_timeout, '500ms');
  equal((await c.query('SHOW idle_in_transaction_session_timeout')).rows[0].idle_in_transaction_session_timeout, '1min');
}, { lock_timeout: 500, idle_in_transaction_session_timeout: 60000, application_name: 'np' });

feature('pool', async () => {
  const pool = new Pool({ max: 3 });
  const found = await Promise.all([...Array(12).keys()].map((n) => pool.query('SELECT $1::int AS n', [n])));
  equal(found.map((r) => r.rows[0].n), [...Array(12).keys()]);
  await pool.end();
});

async function attempt({ title, work, options }) {
  let client;
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${SECONDS_MAX} s`)), SECONDS_MAX * 1000);
  });
  try {
    await Promise.race([limit, (async () => {
      client = await connect(options);
      await work(client);
    })()]);
    return null;
  } catch (error) {
    return `${error.code ?? ''} ${error.message}`.trim().slice(0, 1200);
  } finally {
    clearTimeout(timer);
    if (client) client.end().catch(() => {});
  }
}

(async () => {
  let failed = 0;
  for (const one of features) {
    if (process.argv.length > 2 && !process.argv.slice(2).some((word) => one.title.includes(word))) continue;
    const began = Date.now();
    const error = await attempt(one);
    const seconds = (Date.now() - began) / 1000;
    failed += error === null ? 0 : 1;
    console.log(JSON.stringify({ client: name, feature: one.title, ok: error === null, error, seconds }));
  }
  process.exit(failed ? 1 : 0);
})();
