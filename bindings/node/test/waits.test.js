// Waits for a peer hold no threads, and end at once when they are given up.
'use strict'

const assert = require('node:assert/strict')
const fs = require('node:fs')
const { once, setMaxListeners } = require('node:events')
const { test } = require('node:test')
const { SOON, pair, open, directory, channelPair, Relay, eventOf } = require('./help.js')

const NOBODY = '127.0.0.1:1'
const soon = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const threads = () => fs.readdirSync('/proc/self/task').length

/** Sends until there is no room, and answers how many messages. */
function fill(channel) {
  const message = Buffer.alloc(200_000)
  let sent = 0
  while (channel.trySend(message) !== undefined) sent++
  return sent
}

test('500 handlers wait at the same time, and one worker is enough', async (t) => {
  const { server, ours } = await pair(t, { workers: 1 })
  const before = threads()
  let go
  let begun
  const all = new Promise((resolve) => (go = resolve))
  const isFull = new Promise((resolve) => (begun = resolve))
  let running = 0
  server.serve('wait', async (request) => {
    if (++running === 500) begun()
    await all
    return request
  })
  const calls = Array.from({ length: 500 }, (_, at) => ours.call('wait', String(at), SOON))
  await isFull
  assert.ok(threads() <= before + 1, `${before} threads, then ${threads()}`)
  assert.equal((await server.drain({ timeout: 0 })).running.length, 500)
  go()
  assert.deepEqual((await Promise.all(calls)).map(Number), Array.from({ length: 500 }, (_, at) => at))
})

test('connects, drains and closes that wait have no threads', async (t) => {
  let relay
  const through = async (address) => (relay = await Relay.start(t, address)).address
  const sessions = await pair(t, { ttlMs: 20_000, announce: false }, { through })
  const { client, ours } = sessions
  const { near } = await channelPair(sessions, 'full')
  relay.isOpen = false
  relay.cut()
  await ours.waitState('suspended', SOON)
  near.trySend('this does not arrive')
  // Who drains connects no more.
  const other = await open(t, directory())
  const before = threads()
  const abort = new AbortController()
  const { signal } = abort
  setMaxListeners(0, signal)
  const waits = Array.from({ length: 200 }, (_, at) => [
    other.connect(`127.0.0.1:${1 + (at % 5)}`, { signal }), ours.drain({ signal }), client.drain({ signal }),
  ]).flat()
  const settled = Promise.allSettled(waits)
  await soon(300)
  assert.ok(threads() <= before + 1, `${before} threads, then ${threads()}`)
  abort.abort()
  for (const { reason } of await settled) assert.equal(reason?.name, 'AbortError')
  const closing = ours.close({ timeout: 300 })
  assert.equal(ours.state, 'closing')
  assert.ok(threads() <= before + 1)
  await assert.rejects(closing, { code: 'TIMEOUT' })
  await ours.close()
})

test('a connect that is given up dials no more', async (t) => {
  const node = await open(t, directory(), { redialMs: 20, redialMaxMs: 20 })
  const abort = new AbortController()
  const connecting = node.connect(NOBODY, { signal: abort.signal })
  await eventOf(node, 'dialRetry')
  abort.abort()
  await assert.rejects(connecting, { name: 'AbortError' })
  // What was on its way.
  while (await node.nextEvent({ timeout: 0 }).catch(() => undefined));
  await soon(200)
  await assert.rejects(node.nextEvent({ timeout: 0 }), { code: 'TIMEOUT' })
  await assert.rejects(node.connect(NOBODY, { timeout: 60 }), { code: 'TIMEOUT', message: /127\.0\.0\.1:1/ })
  await assert.rejects(node.connect(NOBODY, { timeout: 0 }), { code: 'TIMEOUT' })
  const late = assert.rejects(node.connect(NOBODY), { code: 'CLOSED' })
  await node.close()
  await late
})

test('a drain of a session ends when the peer has read, and tells what is left before', async (t) => {
  const sessions = await pair(t)
  const { ours } = sessions
  const { near, far } = await channelPair(sessions, 'full')
  const sent = fill(near)
  await assert.rejects(ours.drain({ timeout: 0 }), { code: 'TIMEOUT', message: /1 channels are not delivered/ })
  const draining = ours.drain(SOON)
  for (let at = 0; at < sent; at++) await far.receive(SOON)
  await draining
  await ours.drain({ timeout: 0 })
  fill(near)
  // It ends with the session, if all has not arrived before.
  const lost = Promise.allSettled([ours.drain({ timeout: 120_000 })])
  await sessions.server.close({ timeout: 0 })
  await ours.close({ timeout: 100 }).catch(() => {})
  await lost
})

test('a drain of a node tells how far it is, and ends with the last handler', async (t) => {
  const { server, ours } = await pair(t)
  const goes = []
  server.serve('slow', () => new Promise((resolve) => goes.push(resolve)))
  const calls = [ours.call('slow', '', SOON), ours.call('slow', '', SOON)]
  while (goes.length < 2) await soon(1)
  const draining = server.drain(SOON)
  assert.equal((await eventOf(server, 'draining')).running.length, 2)
  goes[0]()
  assert.equal((await eventOf(server, 'draining')).running.length, 1)
  goes[1]()
  assert.deepEqual(await draining, { undelivered: [], running: [] })
  assert.equal((await eventOf(server, 'draining')).running.length, 0)
  await Promise.all(calls)
})

test('a handler hears at once that its caller gave up', async (t) => {
  const { server, client, ours } = await pair(t)
  let heard
  server.serve('patience', async (_, call) => {
    if (!call.signal.aborted) await once(call.signal, 'abort')
    heard(call.signal.reason.code)
  })
  const give = [
    (call) => call.cancel(),
    (call) => call.close(),
    () => client.close(),
  ]
  for (const up of give) {
    const told = new Promise((resolve) => (heard = resolve))
    const call = await ours.startCall('patience')
    await soon(30)
    const began = performance.now()
    up(call)
    assert.equal(await told, 'CANCELLED')
    t.diagnostic(`${performance.now() - began} ms`)
    if (up !== give[2]) assert.ok(performance.now() - began < 40)
  }
})

test('the signal of a handler that goes on aborts when its own node is closed', async (t) => {
  const { server, ours } = await pair(t, { graceMs: 100 })
  let begin
  const begun = new Promise((resolve) => (begin = resolve))
  server.serve('stuck', (_, call) => (begin(call), new Promise(() => {})))
  ours.call('stuck').catch(() => {})
  const call = await begun
  const { signal } = call
  assert.deepEqual((await server.close({ timeout: 300 })).stuck, ['service "stuck"'])
  assert.ok(signal.aborted)
  await assert.rejects(call.replyPart('x'), { name: 'ClerverError' })
})

test('parts of a reply wait for room, in order, until the caller is gone', async (t) => {
  const { server, ours } = await pair(t, { workers: 1, messageBytesMax: 1 << 20, sessionBudgetBytes: 10 << 20 })
  const part = Buffer.alloc(1 << 20)
  const counts = []
  const ends = []
  server.serve('flood', async (request, call) => {
    const at = Number(request)
    counts[at] = 0
    const sends = Array.from({ length: 64 }, () => call.replyPart(part).then(() => counts[at]++))
    ends[at] = Promise.all(sends).then(() => 'sent', (error) => error.code)
    await ends[at]
  })
  server.serve('echo', (request) => request)
  const call = await ours.startCall('flood', '0')
  while (counts[0] === undefined || counts[0] === 0) await soon(1)
  await soon(50)
  assert.ok(counts[0] < 64, `${counts[0]} sent, and nobody reads`)
  assert.equal(String(await ours.call('echo', 'x', SOON)), 'x')
  let bytes = 0
  for await (const got of call) bytes += got.length
  assert.equal(bytes, 64 << 20)
  assert.equal(await ends[0], 'sent')
  const other = await ours.startCall('flood', '1')
  while (counts[1] === undefined || counts[1] === 0) await soon(1)
  other.cancel()
  assert.equal(await ends[1], 'STOPPED')
})

test('a part that waits when the handler returns is rejected', async (t) => {
  const { server, ours } = await pair(t, { messageBytesMax: 1 << 20, sessionBudgetBytes: 10 << 20 })
  let rejected
  server.serve('hasty', (_, call) => {
    const sends = Array.from({ length: 64 }, () => call.replyPart(Buffer.alloc(1 << 20)))
    rejected = Promise.allSettled(sends)
  })
  const call = await ours.startCall('hasty')
  let parts = 0
  for await (const part of call) if (part.length > 0) parts++
  const results = await rejected
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, parts)
  assert.equal(results.at(-1).reason.code, 'STATE')
})

test('replies that nobody reads hold nobody up', async (t) => {
  const { server, ours } = await pair(t, { workers: 1, messageBytesMax: 1 << 20, sessionBudgetBytes: 10 << 20 })
  const part = Buffer.alloc(1 << 20)
  server.serve('flood', async (_, call) => {
    const isOut = () => Promise.race([call.replyPart(part).then(() => true), soon(50).then(() => false)])
    while (await isOut());
    return part
  })
  server.serve('echo', (request) => request)
  const before = threads()
  const calls = await Promise.all(Array.from({ length: 8 }, () => ours.startCall('flood')))
  await soon(500)
  assert.ok(threads() <= before + 1, `${before} threads, then ${threads()}`)
  assert.equal(String(await ours.call('echo', 'x', SOON)), 'x')
  // All of them: what is not read of the others takes the session's room.
  await Promise.all(calls.map(async (call) => {
    for await (const got of call) assert.equal(got.length, part.length)
  }))
  assert.deepEqual(await server.drain(SOON), { undelivered: [], running: [] })
})

test('a service that is taken back has not run what comes too late', async (t) => {
  const { server, ours } = await pair(t)
  server.serve('x', () => 'too late')
  const calls = Array.from({ length: 50 }, () => ours.call('x', '', SOON).then(String, (error) => error.code))
  await soon(2)
  server.unserve('x')
  for (const answer of await Promise.all(calls)) assert.ok(['too late', 'NOT_RUN', 'NO_SERVICE'].includes(answer), answer)
})

test('stored channels wait for the disk without a thread', async (t) => {
  const { ours, theirs } = await pair(t, { storeDir: directory() }, { client: { storeDir: directory() } })
  const jobs = await ours.open('jobs', { stored: true })
  assert.ok(jobs.isStored)
  const before = threads()
  const sends = Array.from({ length: 100 }, (_, at) => jobs.send(String(at), SOON))
  assert.ok(threads() <= before, `${before} threads, then ${threads()}`)
  await Promise.all(sends)
  const reader = await theirs.acceptChannel(SOON)
  for (let at = 0; at < 100; at++) {
    const taken = await reader.take(SOON)
    assert.equal(String(taken.data), String(at))
    const noted = [reader.setRestartPoint(`half of ${at}`, SOON), reader.ack(taken, SOON)]
    assert.ok(threads() <= before, `${before} threads, then ${threads()}`)
    await Promise.all(noted)
  }
  await reader.confirm({ timeout: 0 })
  await assert.rejects(jobs.send('unconfirmed', { timeout: 0 }), { code: 'UNCONFIRMED' })
  await jobs.confirm(SOON)
  const ordinary = await ours.open('ordinary')
  await ordinary.confirm({ timeout: 0 })
  await assert.rejects(ordinary.ack(0), { code: 'STATE' })
})
