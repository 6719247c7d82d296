'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { SOON, directory, open, pair, channelPair, clerver, run } = require('./help.js')

const TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }
const RANGE = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' }

/** Values of every type but the one that is wanted. */
const ODD = [null, 1, NaN, true, 1n, Symbol('x'), {}, [], () => {}, new Map(), Object.create(null), new Proxy({}, {})]

test('options that do not exist, or do not fit, are named', async () => {
  const home = directory()
  const config = { name: 'ClerverError', code: 'CONFIG', class: 'misuse' }
  await assert.rejects(clerver.Node.open({ home, beatMS: 1 }), { ...config, message: /beat_m_s/ })
  await assert.rejects(clerver.Node.open({ home, beatMs: 1 }), { ...config, message: /beat_ms.*"1".*from 50/ })
  await assert.rejects(clerver.Node.open({ home, beatMs: 'often' }), config)
  await assert.rejects(clerver.Node.open({ home: 'relative' }), { ...config, message: /absolute path/ })
  await assert.rejects(clerver.Node.open({ home, config: `${home}/none.toml` }), config)
  await assert.rejects(clerver.Node.open({ home, callerDriven: true }), { code: 'UNSUPPORTED' })
  await assert.rejects(clerver.Node.open({ home, replace: true }), { code: 'UNSUPPORTED' })
  await assert.rejects(clerver.Node.open({ home, nodeName: {} }), TYPE)
  for (const odd of [null, 1, 'x', Symbol('x')]) await assert.rejects(clerver.Node.open(odd), TYPE)
  assert.throws(() => new clerver.Node(), TypeError)
  await assert.rejects(clerver.Node.open({ home, signal: AbortSignal.abort() }), { name: 'AbortError' })
})

test('arguments of a wrong type are refused, and nothing else happens', async (t) => {
  const { server, client, ours, theirs } = await pair(t)
  const { near } = await channelPair({ ours, theirs }, 'x')
  server.serve('echo', (request) => request)
  for (const odd of ODD) {
    await assert.rejects(client.listen(odd), TYPE)
    await assert.rejects(ours.call(odd), TYPE)
    await assert.rejects(ours.open(odd), TYPE)
    assert.throws(() => client.serve(odd, () => ''), TYPE)
    assert.throws(() => client.registerKind(odd, { destroy() {} }), TYPE)
    assert.throws(() => client.unserve(odd), TYPE)
    assert.throws(() => client.log(odd, () => {}), TYPE)
    assert.throws(() => ours.attach(odd), TYPE)
    assert.throws(() => near.reset(odd), TYPE)
    if (!Array.isArray(odd)) await assert.rejects(client.connect(odd), TYPE)
    if (typeof odd !== 'function') {
      assert.throws(() => client.serve('x', odd), TYPE)
      assert.throws(() => client.registerKind('x', { destroy: odd }), TYPE)
      await assert.rejects(ours.useObject(1, odd), TYPE)
    }
    if (odd !== null) await assert.rejects(near.receive({ signal: odd }), TYPE)
    if (odd !== 1) assert.throws(() => ours.touch(odd), (error) => /^ERR_/.test(error.code))
    await assert.rejects(near.send(odd), TYPE)
    await assert.rejects(ours.call('echo', odd), TYPE)
  }
  for (const timeout of ['1', {}, true]) await assert.rejects(near.receive({ timeout }), TYPE)
  for (const timeout of [-1, NaN, -Infinity]) await assert.rejects(near.receive({ timeout }), RANGE)
  for (const number of [-1, 1.5, 2 ** 53]) assert.throws(() => ours.touch(number), RANGE)
  assert.throws(() => client.serve('x', () => '', { level: 256 }), RANGE)
  await assert.rejects(client.connect('127.0.0.1:1', { bulkLinks: 9 }), RANGE)
  assert.throws(() => client.registerKind('x', { destroy() {}, embalm() {} }), TYPE)
  assert.throws(() => ours.reviveObject({}, 1), TYPE)
  assert.throws(() => ours.createConnection({}, 'x'), TypeError)
  await assert.rejects(ours.open('x'.repeat(300)), { code: 'ARG' })
  assert.equal(String(await ours.call('echo', 'and it goes on', { timeout: 2 ** 40 })), 'and it goes on')
  await assert.rejects(ours.open('\ud800 lone surrogate').then((channel) => channel.close()).then(() => { throw Object.assign(new Error(), { code: 'ARG' }) }), { code: 'ARG' })
})

test('methods taken from their object, and native objects, are refused without a crash', async (t) => {
  const { ours } = await pair(t)
  const channel = await ours.open('x')
  for (const object of [ours, channel, ours.node]) {
    for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(object))) {
      const { value } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(object), name)
      if (/^(_|constructor$|createConnection$)/.test(name) || typeof value !== 'function') continue
      await assert.rejects(async () => {
        const result = await value.call({}, 'x', () => {})
        if (typeof result?.next === 'function') await result.next()
        if (['ref', 'unref', 'stop', 'close'].includes(name)) throw new TypeError('it did nothing')
      }, (error) => error instanceof Error, name)
    }
  }
  const native = require('../lib/native.js')
  for (const [name, thing] of Object.entries(native)) {
    if (!name.startsWith('Native')) continue
    assert.throws(() => new thing(), Error, name)
    for (const method of Object.getOwnPropertyNames(thing.prototype)) {
      if (method === 'constructor') continue
      assert.throws(() => thing.prototype[method].call({}), Error, `${name}.${method}`)
      assert.throws(() => thing.prototype[method].call(undefined), Error, `${name}.${method}`)
    }
  }
  for (const odd of ODD) {
    try {
      native.objectDone(odd, odd, odd, odd)
    } catch (error) {
      assert.ok(error instanceof Error)
    }
  }
})

test('messages above the limit are refused, the largest one passes', async (t) => {
  const sessions = await pair(t, { messageBytesMax: 1 << 20, sessionBudgetBytes: 10 << 20 })
  const { near, far } = await channelPair(sessions, 'x')
  await assert.rejects(near.send(Buffer.alloc((1 << 20) + 1)), { code: 'SIZE', class: 'limit' })
  await near.send(Buffer.alloc(1 << 20))
  assert.equal((await far.receive(SOON)).length, 1 << 20)
  sessions.server.serve('large', (request) => Buffer.alloc(request.length === 0 ? (1 << 20) + 1 : 1))
  await assert.rejects(sessions.ours.call('large', Buffer.alloc((1 << 20) + 1)), { code: 'SIZE' })
  await assert.rejects(sessions.ours.call('large', '', { timeout: 3000 }), { name: 'ClerverError' })
  assert.equal((await sessions.ours.call('large', 'x', SOON)).length, 1)
})

test('a closed call says so', async (t) => {
  const { server, ours } = await pair(t)
  server.serve('wait', (_, call) => new Promise((resolve) => call.signal.addEventListener('abort', () => resolve())))
  const call = await ours.startCall('wait')
  const receiving = assert.rejects(call.receive(), { code: 'CANCELLED' })
  call.close()
  call.close()
  await receiving
  await assert.rejects(call.receive(), { code: 'CANCELLED' })
  assert.ok(['unknown', 'notRun'].includes(call.outcome))
})

test('errors have a code, a number, a class and a remedy', () => {
  const { ClerverError, AbortError, codes } = clerver
  const error = new ClerverError('BUSY')
  assert.deepEqual([error.name, error.code, error.number, error.class], ['ClerverError', 'BUSY', 5, 'retry'])
  assert.match(error.stack, /input\.test\.js/)
  assert.throws(() => new ClerverError('NO_SUCH'), TypeError)
  assert.equal(new Set(codes.map(({ number }) => number)).size, codes.length)
  assert.ok(codes.every(({ remedy }) => remedy.length > 0))
  assert.equal(new AbortError('x').cause, 'x')
})

test('100,000 calls and 100,000 messages hold memory flat', { timeout: 300_000 }, async () => {
  const { code, out, err } = await run(`
    const { Node } = require('clerver')
    const home = ${JSON.stringify(directory())}
    const main = async () => {
      const server = await Node.open({ home }), client = await Node.open({ home })
      server.serve('echo', (request) => request)
      const session = await client.connect(await server.listen('127.0.0.1:0'))
      const other = await server.accept()
      const near = await session.open('x'), far = await other.acceptChannel()
      const measure = () => { gc(); gc(); return process.memoryUsage() }
      let before
      for (let round = 0; round <= 12; round++) {
        for (let at = 0; at < 1000; at++) {
          const calls = Array.from({ length: 10 }, () => session.call('echo', 'hello'))
          for (let count = 0; count < 10; count++) await near.send('hello')
          for (let count = 0; count < 10; count++) await far.receive({ timeout: 20000 })
          await Promise.all(calls)
        }
        await new Promise(setImmediate)
        // The collector's own pools are full by then.
        if (round === 2) before = measure()
      }
      const after = measure()
      console.log(JSON.stringify([after.rss - before.rss, after.heapUsed - before.heapUsed, client.counters().buffered]))
      await client.close()
      await server.close()
    }
    main()`).ended
  assert.deepEqual([code, err], [0, ''])
  const [rss, heap] = JSON.parse(out)
  assert.ok(heap < 1 << 20, `heap grew by ${heap}`)
  assert.ok(rss < 12 << 20, `memory grew by ${rss}`)
})
