'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { SOON, pair, open, clerver, pattern } = require('./help.js')

const { ClerverError, AbortError } = clerver

test('a call gets its reply, whatever the handler answers', async (t) => {
  const { server, ours } = await pair(t)
  server.serve('buffer', (request) => request)
  server.serve('string', async (request) => `${request}!`)
  server.serve('view', () => new Uint16Array([0x0201]))
  server.serve('nothing', () => undefined)
  server.serve('later', (request) => new Promise((resolve) => setImmediate(resolve, request)))
  assert.deepEqual(await ours.call('buffer', Buffer.from([1, 2, 3])), Buffer.from([1, 2, 3]))
  assert.equal(String(await ours.call('string', 'ä')), 'ä!')
  assert.deepEqual([...(await ours.call('view', ''))], [1, 2])
  assert.equal((await ours.call('nothing')).length, 0)
  assert.equal(String(await ours.call('later', new TextEncoder().encode('x').buffer)), 'x')
  const large = pattern(3_000_000)
  assert.ok((await ours.call('buffer', large, SOON)).equals(large))
})

test('many calls at once run beside each other', async (t) => {
  const { server, ours } = await pair(t)
  let running = 0
  let most = 0
  let open
  const all = new Promise((resolve) => (open = resolve))
  server.serve('wait', async (request) => {
    most = Math.max(most, ++running)
    if (running === 40) open()
    await all
    return request
  })
  const replies = await Promise.all(Array.from({ length: 40 }, (_, at) => ours.call('wait', String(at), SOON)))
  assert.deepEqual(replies.map(String), Array.from({ length: 40 }, (_, at) => String(at)))
  assert.equal(most, 40)
})

test('what a handler throws is the caller\'s error, and the service goes on', async (t) => {
  const { server, ours } = await pair(t)
  const throwing = {
    plain: () => { throw new Error('no such order') },
    promise: () => Promise.reject(new RangeError('too far')),
    text: () => { throw 'only text' },
    nothing: () => { throw undefined },
    hostile: () => { throw { get message() { throw new Error('ha') } } },
    answer: () => ({ not: 'bytes' }),
    busy: () => { throw new ClerverError('BUSY', 'come back later') },
    denied: () => { throw new ClerverError('DENIED', 'not you') },
    notRun: () => { throw new ClerverError('NOT_RUN', 'not begun') },
    code: () => { throw Object.assign(new Error('gone'), { code: 'ENOENT' }) },
  }
  for (const [name, handler] of Object.entries(throwing)) server.serve(name, handler)
  const wanted = {
    plain: ['CALL_FAILED', /no such order/], promise: ['CALL_FAILED', /too far/], text: ['CALL_FAILED', /only text/],
    nothing: ['CALL_FAILED', /undefined/], hostile: ['CALL_FAILED', /handler failed/],
    answer: ['CALL_FAILED', /what the handler returned: must be a Buffer/], busy: ['BUSY', /come back later/],
    denied: ['DENIED', /not you/], notRun: ['NOT_RUN', /not begun/], code: ['CALL_FAILED', /gone/],
  }
  for (let round = 0; round < 2; round++) {
    for (const [name, [code, message]] of Object.entries(wanted)) {
      await assert.rejects(ours.call(name, '', SOON), { name: 'ClerverError', code, message })
    }
  }
  await assert.rejects(ours.call('absent', '', SOON), { code: 'NO_SERVICE', class: 'misuse' })
})

test('a reply comes in parts', async (t) => {
  const { server, ours } = await pair(t)
  server.serve('parts', async (request, call) => {
    for (const letter of String(request)) await call.replyPart(letter)
    return 'last'
  })
  server.serve('generator', async function* () {
    yield 'one'
    yield Buffer.from('two')
  })
  const call = await ours.startCall('parts', 'abc')
  assert.match(call.id, /^[0-9a-f]{32}\/\d+$/)
  const parts = []
  for await (const part of call) parts.push(String(part))
  assert.deepEqual(parts, ['a', 'b', 'c', 'last'])
  assert.equal(call.outcome, 'reply')
  assert.equal(String(await ours.call('parts', 'xy')), 'xylast')
  const other = await ours.startCall('generator')
  assert.equal(String(await other.receive(SOON)), 'one')
  assert.equal(String(await other.receive(SOON)), 'two')
  assert.equal(await other.receive(SOON), undefined)
  other.close()
})

test('large parts wait for a slow reader', async (t) => {
  const { server, ours } = await pair(t, { messageBytesMax: 1 << 20, sessionBudgetBytes: 10 << 20 })
  let sent = 0
  server.serve('flood', async (_, call) => {
    for (; sent < 64; sent++) await call.replyPart(Buffer.alloc(1 << 20, sent))
  })
  const call = await ours.startCall('flood')
  let at = 0
  for await (const part of call) {
    if (part.length === 0) continue
    assert.equal(part[0], at++)
    assert.ok(sent - at < 40, `${sent} sent, ${at} read`)
  }
  assert.equal(at, 64)
})

test('time-outs and signals end a call, and the handler hears of it', async (t) => {
  const { server, ours } = await pair(t)
  const heard = []
  let told
  const news = () => new Promise((resolve) => (told = resolve))
  server.serve('patience', async (request, call) => {
    heard.push(`${request} ${call.remaining < 100_000}`)
    await new Promise((resolve) => call.signal.addEventListener('abort', resolve))
    assert.ok(call.isCancelled)
    told(String(request))
  })
  let cancelled = news()
  await assert.rejects(ours.call('patience', 'timeout', { timeout: 100 }), { code: 'TIMEOUT', class: 'retry' })
  assert.equal(await cancelled, 'timeout')

  cancelled = news()
  const abort = new AbortController()
  const reason = new Error('changed my mind')
  const calling = ours.call('patience', 'signal', { signal: abort.signal })
  setTimeout(() => abort.abort(reason), 50)
  await assert.rejects(calling, (error) => {
    assert.ok(error instanceof AbortError)
    assert.deepEqual([error.name, error.code, error.cause], ['AbortError', 'ABORT_ERR', reason])
    return true
  })
  assert.equal(await cancelled, 'signal')
  await assert.rejects(ours.call('patience', 'never', { signal: AbortSignal.abort() }), { name: 'AbortError' })

  cancelled = news()
  const call = await ours.startCall('patience', 'cancel')
  const receiving = call.receive()
  call.cancel()
  await assert.rejects(receiving, { code: 'CANCELLED' })
  assert.equal(await cancelled, 'cancel')
  assert.deepEqual(heard, ['timeout true', 'signal false', 'cancel false'])
  await assert.rejects((await ours.startCall('patience', 'x', { timeout: 80 })).receive(), { code: 'TIMEOUT' })
})

test('a service has a level, is taken back, and its name is its own', async (t) => {
  const { server, ours } = await pair(t)
  server.serve('level', (_, call) => String(call.level), { level: 200 })
  assert.equal(String(await ours.call('level')), '255')
  assert.throws(() => server.serve('level', () => ''), { code: 'IN_USE' })
  server.unserve('level')
  assert.throws(() => server.unserve('level'), { code: 'NO_SERVICE' })
  await assert.rejects(ours.call('level'), { code: 'NO_SERVICE' })
  server.serve('level', () => 'again')
  assert.equal(String(await ours.call('level')), 'again')
})

test('a handler calls its caller back', async (t) => {
  const { server, client, ours } = await pair(t)
  client.serve('name', () => 'Ada')
  server.serve('greet', async (_, call) => `hello ${await call.session.call('name', '', SOON)}`)
  assert.equal(String(await ours.call('greet', '', SOON)), 'hello Ada')
})

test('calls that ran are in the history', async (t) => {
  const { server, ours, theirs } = await pair(t)
  server.serve('echo', (request) => request)
  await ours.call('echo', 'x')
  const [task] = theirs.history()
  assert.equal(task.service, 'echo')
  assert.ok(task.started > 0)
})

test('more calls than a session has room for wait, started ones do not', async (t) => {
  const { server, ours } = await pair(t, { channelsMax: 2 })
  const goes = []
  server.serve('gate', (request) => new Promise((resolve) => goes.push(() => resolve(request))))
  server.serve('echo', (request) => request)
  const calls = [await ours.startCall('gate', 'a'), await ours.startCall('gate', 'b')]
  await assert.rejects(ours.startCall('gate', 'c'), { code: 'CHANNELS', class: 'limit' })
  await assert.rejects(ours.call('echo', 'd', { timeout: 50 }), { code: 'TIMEOUT' })
  const waiting = ours.call('echo', 'e', SOON)
  while (goes.length < 2) await new Promise(setImmediate)
  goes[0]()
  assert.equal(String(await calls[0].receive(SOON)), 'a')
  assert.equal(await calls[0].receive(SOON), undefined)
  assert.equal(await calls[0].receive(SOON), undefined)
  assert.equal(String(await waiting), 'e')
  goes[1]()
  for await (const part of calls[1]) assert.equal(String(part), 'b')
  const replies = await Promise.all(Array.from({ length: 100 }, (_, at) => ours.call('echo', String(at), SOON)))
  assert.deepEqual(replies.map(Number), Array.from({ length: 100 }, (_, at) => at))
})
