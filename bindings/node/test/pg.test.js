// The client of a database that knows nothing of Clerver: the real `pg`, over createConnection. The database is played,
// as far as the protocol of PostgreSQL (version 3, "simple query") goes.
'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Client, Pool } = require('pg')
const { SOON, pair, Relay } = require('./help.js')

const TEXT = 25

const int16 = (value) => Buffer.from([value >> 8, value & 255])
const int32 = (value) => Buffer.from([value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255])
const message = (type, ...parts) => {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)))
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body])
}
const ready = message('Z', 'I')

/** Rows of one column, whose values are the query's number and a long text. */
function answer(sql) {
  const count = Number(sql.match(/\d+/)?.[0])
  const column = Buffer.concat([Buffer.from('line\0'), int32(0), int16(0), int32(TEXT), int16(-1), int32(-1), int16(0)])
  const value = 'x'.repeat(10_000)
  const row = message('D', int16(1), int32(value.length), value)
  return Buffer.concat([message('T', int16(1), column), ...Array(count).fill(row), message('C', `SELECT ${count}\0`), ready])
}

/** Plays the database on a stream, until its client says good-bye. */
async function play(stream) {
  let input = Buffer.alloc(0)
  let hasBegun = false
  for await (const data of stream) {
    input = Buffer.concat([input, data])
    for (;;) {
      const head = hasBegun ? 1 : 0
      if (input.length < head + 4 || input.length < head + input.readInt32BE(head)) break
      const [type, body] = [String(input.subarray(0, head)), input.subarray(head + 4, head + input.readInt32BE(head))]
      input = input.subarray(head + 4 + body.length)
      if (!hasBegun) {
        hasBegun = true
        stream.write(Buffer.concat([message('R', int32(0)), message('K', int32(1), int32(2)), ready]))
      } else if (type === 'Q') {
        stream.write(answer(String(body)))
      } else if (type === 'X') {
        stream.end()
      }
    }
  }
}

/** A client, and its end of the database. */
async function connected(ours, theirs) {
  const client = new Client({ stream: () => ours.createConnection({ channel: 'postgres' }), user: 'test' })
  const connecting = client.connect()
  const database = (await theirs.acceptChannel(SOON)).duplex()
  const played = play(database)
  played.catch(() => {})
  await connecting
  return { client, database, played }
}

const errorOf = (client) => new Promise((resolve) => client.on('error', resolve))

test('pg queries a database through a session whose connection breaks', async (t) => {
  let relay
  const through = async (address) => (relay = await Relay.start(t, address)).address
  const { ours, theirs } = await pair(t, { announce: false }, { through })
  const { client, played } = await connected(ours, theirs)
  assert.equal((await client.query('select 3 lines')).rows.length, 3)
  const large = client.query('select 2000 lines')
  relay.cut()
  const { rows } = await large
  assert.equal(rows.length, 2000)
  assert.ok(rows.every((row) => row.line.length === 10_000))
  await client.end()
  await played

  const pool = new Pool({ stream: () => ours.createConnection(), user: 'test', max: 1 })
  const asked = pool.query('select 1 line')
  const serving = play((await theirs.acceptChannel(SOON)).duplex())
  assert.equal((await asked).rowCount, 1)
  await pool.end()
  await serving
})

test('pg hears that its database went, and that its session was lost', async (t) => {
  let relay
  const through = async (address) => (relay = await Relay.start(t, address)).address
  const { ours, theirs } = await pair(t, { ttlMs: 1000, announce: false }, { through })
  const first = await connected(ours, theirs)
  const gone = errorOf(first.client)
  first.database.end()
  assert.match((await gone).message, /terminated unexpectedly/)

  const second = await connected(ours, theirs)
  const lost = errorOf(second.client)
  relay.isOpen = false
  relay.cut()
  assert.equal((await lost).code, 'LOST')
  await assert.rejects(second.played, { code: 'LOST' })
})

test('pg hears of a session that its database closed', async (t) => {
  const { ours, theirs } = await pair(t)
  const { client } = await connected(ours, theirs)
  const gone = errorOf(client)
  await theirs.close({ timeout: 0 })
  await ours.close({ timeout: 0 })
  assert.match((await gone).message, /terminated unexpectedly/)
})
