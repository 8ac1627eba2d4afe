import type { AnyScaler } from '../../src/scaler/define.ts';
import mysql from '../../src/scalers/mysql.ts';
import postgresql from '../../src/scalers/postgresql.ts';
import { startMariadb } from '../../test/mariadb.ts';
import { startPostgres } from '../../test/postgres.ts';
import { mustBind } from '../../test/scaler-contract.ts';
import type { Bench, BenchRow } from '../bench.ts';
import { readMany } from './many-triggers.ts';

const count = 1000;
const names = Array.from({ length: count }, (_, index) => `queue-${index}`);
const table = 'CREATE TABLE tasks (queue varchar(20) PRIMARY KEY, waiting int)';
const rows = `INSERT INTO tasks VALUES ${names.map(name => `('${name}', 2)`).join(', ')}`;
const queryOf = (name: string) => `SELECT waiting FROM tasks WHERE queue = '${name}'`;

/** A thousand queries, each of its own, on one database. */
export const sqlBench: Bench = {
  name: 'sql',
  async run() {
    return [await postgres(), await mariadb()];
  },
};

async function postgres(): Promise<BenchRow> {
  await using server = await startPostgres();
  await server.sql(`${table}; ${rows}`);
  const way = { host: server.host, port: String(server.port), userName: 'postgres', dbName: 'shop' };
  const params = { ...way, sslmode: 'disable', targetQueryValue: '5' };
  return await measure('PostgreSQL', {
    scaler: postgresql,
    params: names.map(name => ({ ...params, query: queryOf(name) })),
    sessions: () => server.sessions(),
  });
}

async function mariadb(): Promise<BenchRow> {
  await using server = await startMariadb();
  await server.sql(`USE shop; ${table}; ${rows}`);
  const way = { host: server.host, port: String(server.port), username: 'root', dbName: 'shop' };
  return await measure('MariaDB', {
    scaler: mysql,
    params: names.map(name => ({ ...way, queryValue: '5', query: queryOf(name) })),
    sessions: () => server.sessions(),
  });
}

async function measure(
  what: string,
  {
    scaler,
    params,
    sessions,
  }: { scaler: unknown; params: Record<string, string>[]; sessions(): Promise<string[]> },
): Promise<BenchRow> {
  const triggers = params.map(each => mustBind(scaler as AnyScaler, { params: each }));
  const { firstMs, passMs, values, seen } = await readMany(triggers, async () => (await sessions()).length);
  const wrong = values.filter(value => value !== 2);
  if (wrong.length > 0) throw new Error(`${wrong.length} triggers read wrongly: ${wrong[0]}`);
  const measured = `connections: ${seen}, ${passMs.toFixed(0)} ms a pass, ${firstMs.toFixed(0)} ms the first`;
  return {
    what: `${count} queries on one database, ${what}`,
    measured,
    wanted: 'at most 5 connections, < 1 s',
    ok: seen <= 5 && passMs < 1000,
  };
}
