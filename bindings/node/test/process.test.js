'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { once } = require('node:events')
const { Worker } = require('node:worker_threads')
const { SOON, QUICK, directory, open, run, says, eventOf } = require('./help.js')

const opening = (home, more = '') => `
  const { Node } = require('clerver')
  const options = { home: ${JSON.stringify(home)}, beatMs: 200, ttlMs: 4000 }
  const main = async () => { const node = await Node.open(options); ${more} }
  main().catch((error) => { console.error(error); process.exit(9) })`

test('an idle node does not keep the process alive, ref does', async () => {
  const home = directory()
  const idle = await run(opening(home, 'console.log(node.hasRef())')).ended
  assert.deepEqual([idle.code, idle.out, idle.err], [0, 'false\n', ''])
  const held = run(opening(home, 'node.ref(); console.log(node.hasRef()); process.stdin.on("data", () => { node.unref(); process.stdin.destroy() })'))
  await says(held, 'true')
  assert.equal(held.child.exitCode, null)
  held.child.stdin.write('go\n')
  assert.equal((await held.ended).code, 0)
})

test('a node that listens keeps the process alive until unref', async () => {
  const home = directory()
  const listening = run(opening(home, 'process.once("SIGUSR2", () => node.unref()); console.log(await node.listen("127.0.0.1:0"))'))
  await says(listening, '127.0.0.1')
  listening.child.kill('SIGUSR2')
  assert.equal((await listening.ended).code, 0)
})

test('a wait keeps the process alive until it is over', async () => {
  const home = directory()
  const waiting = await run(opening(home, 'await node.accept({ timeout: 300 }).catch((error) => console.log(error.code))')).ended
  assert.deepEqual([waiting.code, waiting.out], [0, 'TIMEOUT\n'])
})

test('a client with an idle session ends by itself, and what it wrote arrives', async (t) => {
  const home = directory()
  const server = await open(t, home)
  const address = await server.listen('127.0.0.1:0')
  const client = run(opening(home, `
    const session = await node.connect('${address}')
    const channel = await session.open('x')
    await channel.send('last words')
    globalThis.kept = [node, session, channel]`))
  const session = await server.accept(SOON)
  const channel = await session.acceptChannel(SOON)
  assert.equal(String(await channel.receive(SOON)), 'last words')
  assert.deepEqual([(await client.ended).code, client.said.err], [0, ''])
  await session.waitState('closed', SOON)
})

test('process.exit with sessions, handlers and waits does not hang', async (t) => {
  const home = directory()
  const server = await open(t, home)
  const address = await server.listen('127.0.0.1:0')
  for (const [end, code] of [['process.exit(7)', 7], ['throw new Error("uncaught")', 1]]) {
    const client = run(opening(home, `
      node.serve('hang', () => { console.log('hanging'); setImmediate(() => { ${end} }); return new Promise(() => {}) })
      node.registerKind('x', { destroy: () => new Promise(() => {}) })
      const session = await node.connect('${address}')
      session.attach('x', {})
      session.receiving = (await session.open('x')).receive().catch(() => {})
      await session.acceptChannel()`))
    const session = await server.accept(SOON)
    const began = Date.now()
    await assert.rejects(session.call('hang', '', SOON), { name: 'ClerverError' })
    assert.equal((await client.ended).code, code)
    assert.ok(Date.now() - began < 8000)
    await session.waitState(['closed', 'lost'], SOON)
  }
})

test('a killed process is lost, with a report', async (t) => {
  const home = directory()
  const server = await open(t, home, { ttlMs: 800 })
  const address = await server.listen('127.0.0.1:0')
  const client = run(opening(home, `await node.connect('${address}'); node.ref()`).replace('4000', '800'))
  const session = await server.accept(SOON)
  client.child.kill('SIGKILL')
  assert.equal(await session.waitState('lost', SOON), 'lost')
  await eventOf(session, 'lost')
})

const worker = (source) => `
  const { parentPort, workerData } = require('node:worker_threads')
  const { Node } = require('clerver')
  const main = async () => { const node = await Node.open({ ...workerData }); ${source} }
  main().catch((error) => { parentPort.postMessage(String(error)); throw error })`

test('workers have nodes of their own', async (t) => {
  const home = directory()
  const server = await open(t, home)
  const address = await server.listen('127.0.0.1:0')
  server.serve('echo', (request) => request)
  const source = worker(`
    const session = await node.connect('${address}')
    let sum = 0
    for (let at = 0; at < 200; at++) sum += Number(await session.call('echo', String(at)))
    await session.close()
    await node.close()
    parentPort.postMessage(sum)`)
  const start = () => new Worker(source, { eval: true, workerData: { home, ...QUICK } })
  const answers = await Promise.all([0, 1, 2].map(async () => {
    const one = start()
    const ended = once(one, 'exit')
    const [answer] = await once(one, 'message')
    assert.deepEqual(await ended, [0])
    return answer
  }))
  assert.deepEqual(answers, [19900, 19900, 19900])
})

test('a worker that is terminated takes its node with it', async (t) => {
  const home = directory()
  const server = await open(t, home)
  const address = await server.listen('127.0.0.1:0')
  const source = worker(`
    node.serve('hang', () => { parentPort.postMessage('hanging'); return new Promise(() => {}) })
    const session = await node.connect('${address}')
    await session.acceptChannel()`)
  for (let round = 0; round < 3; round++) {
    const one = new Worker(source, { eval: true, workerData: { home, ...QUICK } })
    const session = await server.accept(SOON)
    const failing = assert.rejects(session.call('hang', '', SOON), { name: 'ClerverError' })
    assert.deepEqual(await once(one, 'message'), ['hanging'])
    await one.terminate()
    await failing
    await session.waitState(['closed', 'lost'], SOON)
  }
})

test('import and require give the same', async () => {
  const { default: all, ...named } = await import('clerver')
  const required = require('clerver')
  assert.equal(all, required)
  assert.deepEqual(Object.keys(named).sort(), Object.keys(required).sort())
  for (const [name, value] of Object.entries(named)) assert.equal(value, required[name])
})
