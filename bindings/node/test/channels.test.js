'use strict'

const assert = require('node:assert/strict')
const http = require('node:http')
const { Readable, Writable, Duplex } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { createHash } = require('node:crypto')
const { once } = require('node:events')
const { test } = require('node:test')
const { SOON, pair, channelPair, Relay, pattern, directory, open } = require('./help.js')

test('messages arrive whole, in order, until the end', async (t) => {
  const sessions = await pair(t)
  const { near, far } = await channelPair(sessions, 'orders')
  assert.equal(far.name, 'orders')
  assert.equal(far.isBytes, false)
  assert.equal(far.number, near.number)
  await near.send('one')
  await near.send(Buffer.alloc(0))
  await near.send(pattern(1_000_000))
  near.end()
  await assert.rejects(near.send('late'), { code: 'CLOSED' })
  const got = []
  for await (const message of far) got.push(message)
  assert.deepEqual(got.map((message) => message.length), [3, 0, 1_000_000])
  assert.ok(got[2].equals(pattern(1_000_000)))
  assert.ok(Buffer.isBuffer(got[0]))
  await far.send('back')
  assert.equal(String(await near.receive(SOON)), 'back')
  await assert.rejects(far.receive(), { code: 'END' })
  assert.equal(near.report().written, near.report().held)
})

test('a wait that is given up loses no message, and the order stays', async (t) => {
  const sessions = await pair(t)
  const { near, far } = await channelPair(sessions, 'x')
  const abort = new AbortController()
  const first = far.receive({ signal: abort.signal })
  const second = far.receive({ timeout: 30 })
  const third = far.receive(SOON)
  abort.abort()
  await assert.rejects(first, { name: 'AbortError' })
  await assert.rejects(second, { code: 'TIMEOUT', class: 'retry' })
  await assert.rejects(far.receive({ timeout: 0 }), { code: 'TIMEOUT' })
  assert.equal(far.tryReceive(), undefined)
  for (let at = 0; at < 50; at++) await near.send(String(at))
  assert.equal(String(await third), '0')
  const rest = await Promise.all(Array.from({ length: 49 }, () => far.receive(SOON)))
  assert.deepEqual(rest.map(Number), Array.from({ length: 49 }, (_, at) => at + 1))
  for (let round = 0; round < 200; round++) {
    const signals = [new AbortController(), new AbortController()]
    const waits = signals.map(({ signal }) => far.receive({ signal }).then(String, (error) => error.name))
    const sent = near.send(`m${round}`)
    signals[round % 2].abort()
    await sent
    const got = await waits[(round + 1) % 2]
    assert.equal(got, `m${round}`)
  }
})

test('a full channel makes the sender wait, and a signal gives that up', async (t) => {
  const sessions = await pair(t, { messageBytesMax: 65536, sessionBudgetBytes: 9 << 20 })
  const { near, far } = await channelPair(sessions, 'x')
  const piece = Buffer.alloc(65536, 7)
  let sent = 0
  const fill = async () => {
    for (;; sent++) await near.send(piece, { timeout: 500 })
  }
  await assert.rejects(fill(), { code: 'TIMEOUT' })
  assert.ok(sent > 10, `${sent} sent`)
  assert.equal(near.trySend(piece), undefined)
  await assert.rejects(near.send(piece, { signal: AbortSignal.timeout(30) }), { name: 'AbortError' })
  const waiting = near.send('last', SOON)
  for (let at = 0; at < sent; at++) assert.equal((await far.receive(SOON)).length, 65536)
  await waiting
  assert.equal(String(await far.receive(SOON)), 'last')
})

test('reset and stop reach the other end, a closed handle is closed', async (t) => {
  const sessions = await pair(t)
  const { near, far } = await channelPair(sessions, 'x')
  const receiving = far.receive(SOON)
  near.reset('no more wood')
  await assert.rejects(receiving, { code: 'RESET', message: /no more wood/ })
  near.stop()
  await assert.rejects(async () => { for (;;) await far.send('x', SOON) }, { code: 'STOPPED' })
  const other = await sessions.ours.open('y')
  const waiting = other.receive()
  other.close()
  other.close()
  await assert.rejects(waiting, { code: 'HANDLE' })
  assert.ok(other.isClosed)
  assert.throws(() => other.end(), { code: 'HANDLE' })
  await assert.rejects(other.send('x'), { code: 'HANDLE' })
  await assert.rejects(other.receive(), { code: 'HANDLE' })
})

test('channels are accepted until the session is over', async (t) => {
  const { ours, theirs } = await pair(t)
  const names = []
  const accepting = (async () => {
    for await (const channel of theirs.channels()) names.push([channel.name, channel.isBytes])
  })()
  await (await ours.open('a')).send('x')
  await ours.open('b', { bytes: true, bulk: true })
  await ours.drain(SOON)
  await ours.close()
  await accepting
  assert.deepEqual(names, [['a', false], ['b', true]])
})

/** Bytes as chunks of odd sizes. */
function* chunks(size) {
  for (let at = 0; at < size; ) {
    const count = Math.min(size - at, 1 + ((at * 7919) % 50_000))
    yield pattern(count, at)
    at += count
  }
}

/** Size and hash of what a stream reads. Not by `for await`, which destroys it in the end, writing or not. */
function digest(stream) {
  return new Promise((resolve, reject) => {
    const hash = createHash('sha256')
    let size = 0
    stream.on('data', (data) => {
      size += data.length
      hash.update(data)
    })
    stream.once('end', () => resolve([size, hash.digest('hex')]))
    stream.once('error', reject)
  })
}

const SIZE = 6_000_000
const whole = () => createHash('sha256').update(pattern(SIZE)).digest('hex')

test('pipeline carries megabytes both ways while connections are cut', async (t) => {
  let relay
  const through = async (address) => (relay = await Relay.start(t, address)).address
  const sessions = await pair(t, {}, { through })
  const { near, far } = await channelPair(sessions, 'pipe', { bytes: true })
  const [one, other] = [near.duplex(), far.duplex()]
  assert.ok(one instanceof Duplex)
  assert.equal(one, near.duplex())
  let cuts = 0
  const cutting = setInterval(() => {
    if (relay.sockets.size > 0 && relay.bytes > 1_000_000 * (cuts + 1) && cuts < 3) {
      relay.cut()
      cuts++
    }
  }, 5)
  try {
    const results = await Promise.all([
      digest(one), digest(other),
      pipeline(Readable.from(chunks(SIZE)), one, { end: true }),
      pipeline(Readable.from(chunks(SIZE)), other, { end: true }),
    ])
    assert.deepEqual(results.slice(0, 2), [[SIZE, whole()], [SIZE, whole()]])
  } finally {
    clearInterval(cutting)
  }
  assert.ok(cuts > 0, 'it was never cut')
  assert.ok(sessions.ours.info().linksTotal > 1)
})

test('a slow reader holds a pipeline back', async (t) => {
  const sessions = await pair(t, { messageBytesMax: 65536, sessionBudgetBytes: 9 << 20 })
  const { near, far } = await channelPair(sessions, 'slow', { bytes: true })
  let made = 0
  async function* endless() {
    for (;; made += 65536) yield Buffer.alloc(65536)
  }
  const abort = new AbortController()
  const piping = pipeline(Readable.from(endless()), near.duplex(), { signal: abort.signal })
  let before = -1
  while (made !== before) {
    before = made
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  assert.ok(made > 0 && made < 40 << 20, `${made} bytes`)
  abort.abort()
  await assert.rejects(piping, { name: 'AbortError' })
  await assert.rejects(digest(far.duplex()), { code: 'RESET' })
})

test('a channel of messages is a stream of messages', async (t) => {
  const sessions = await pair(t)
  const { near, far } = await channelPair(sessions, 'objects')
  const writing = pipeline(Readable.from(['a', '', Buffer.from('ccc'), 'd'.repeat(100_000)]), near.duplex())
  const sizes = []
  const reading = far.duplex()
  for await (const message of reading) sizes.push(message.length)
  assert.deepEqual(sizes, [1, 0, 3, 100_000])
  reading.end()
  await writing
})

test('a session that is lost destroys its streams with the error', async (t) => {
  const sessions = await pair(t, { beatMs: 100, ttlMs: 500 })
  const { near, far } = await channelPair(sessions, 'x', { bytes: true })
  const stream = far.duplex()
  stream.resume()
  await near.send('x')
  const failed = once(stream, 'error')
  await sessions.client.close({ timeout: 0 })
  const [error] = await failed
  assert.ok(['LOST', 'CLOSED', 'RESET'].includes(error.code), error.code)
})

test('an http.Agent and a http server talk over a session', async (t) => {
  const { ours, theirs } = await pair(t)
  const seen = []
  const server = http.createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`)
    request.pipe(response)
  })
  const serving = (async () => {
    for await (const channel of theirs.channels()) server.emit('connection', channel.duplex())
  })()
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  agent.createConnection = ours.createConnection
  const ask = (path, body) => new Promise((resolve, reject) => {
    const request = http.request({ agent, host: 'inside', path, method: 'POST', timeout: 20_000 }, (response) => {
      digest(response).then(resolve, reject)
    })
    request.on('error', reject)
    request.end(body)
  })
  const body = pattern(SIZE)
  assert.deepEqual(await ask('/first', body), [SIZE, whole()])
  assert.equal((await ask('/second', 'short'))[0], 5)
  agent.destroy()
  const once_ = await new Promise((resolve, reject) => {
    http.get({ createConnection: ours.createConnection, path: '/third' }, (response) => resolve(digest(response))).on('error', reject)
  })
  assert.equal(once_[0], 0)
  assert.deepEqual(seen, ['POST /first', 'POST /second', 'GET /third'])
  await ours.close()
  await serving
})

test('createConnection is what a client of a database takes for a socket', async (t) => {
  const { ours, theirs } = await pair(t)
  const stream = ours.createConnection({ channel: 'postgres' })
  // In this order pg does it.
  stream.setNoDelay(true)
  stream.setKeepAlive(true, 1000)
  stream.connect(5432, 'database')
  stream.ref().unref()
  assert.equal(stream.readyState, 'opening')
  stream.write('early, ')
  await once(stream, 'connect')
  assert.equal(stream.readyState, 'open')
  assert.equal(stream.remoteAddress, theirs.node.id)
  const channel = await theirs.acceptChannel(SOON)
  assert.equal(channel.name, 'postgres')
  stream.end('late')
  const got = []
  for await (const data of channel) got.push(data)
  assert.equal(String(Buffer.concat(got)), 'early, late')
  const idle = ours.createConnection()
  await once(idle.setTimeout(20), 'timeout')
  idle.destroy()
  await once(idle, 'close')
  await ours.close()
  const late = ours.createConnection()
  const [error] = await once(late, 'error')
  assert.equal(error.code, 'HANDLE')
})

test('stored channels outlive their nodes', async (t) => {
  const home = directory()
  const stores = [directory(), directory()]
  const server = await open(t, home, { storeDir: stores[0], nodeName: 'server' })
  let client = await open(t, home, { storeDir: stores[1], nodeName: 'client' })
  const address = await server.listen('127.0.0.1:0')
  const ours = await client.connect(address, SOON)
  const theirs = await server.accept(SOON)
  const jobs = await ours.open('jobs', { stored: true })
  assert.ok(jobs.isStored)
  assert.throws(() => jobs.duplex(), { code: 'STATE' })
  await jobs.send('first', SOON)
  await jobs.send('second', SOON)
  await jobs.confirm(SOON)
  let channel = await theirs.acceptChannel(SOON)
  const first = await channel.take(SOON)
  assert.deepEqual([String(first.data), first.redelivered, first.restartPoint.length], ['first', false, 0])
  await channel.ack(first, SOON)
  const second = await channel.take(SOON)
  assert.ok(second.end > first.end)
  await channel.setRestartPoint('half of it', SOON)
  await assert.rejects(channel.ack(second.end + 1000), { code: 'ARG' })
  await server.close()

  const again = await open(t, home, { storeDir: stores[0], nodeName: 'server' })
  const restored = await again.accept(SOON)
  assert.equal(restored.sid, theirs.sid)
  channel = await restored.acceptChannel(SOON)
  const repeated = await channel.take(SOON)
  assert.deepEqual(
    [String(repeated.data), repeated.end, repeated.redelivered, String(repeated.restartPoint)],
    ['second', second.end, true, 'half of it'],
  )
  await channel.ack(repeated.end, SOON)
  await assert.rejects(channel.ack({}), { code: 'ERR_INVALID_ARG_TYPE' })
})

test('a stored channel needs a store', async (t) => {
  const { ours } = await pair(t)
  await assert.rejects(ours.open('x', { stored: true }), { name: 'ClerverError' })
})
