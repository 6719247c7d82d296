'use strict'

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { SOON, directory, open, pair, channelPair, Relay, eventOf, clerver } = require('./help.js')

test('both ends know each other', async (t) => {
  const { server, client, ours, theirs } = await pair(t, { hostName: 'castle' })
  assert.equal(ours.sid, theirs.sid)
  assert.equal(ours.state, 'live')
  assert.equal(ours.node, client)
  assert.equal(ours.peer.node, server.id)
  assert.equal(ours.peer.host, server.hostId)
  assert.match(server.hostId, /^([A-Z2-7]{7}-){7}[A-Z2-7]{7}$/)
  const info = theirs.info()
  assert.deepEqual([info.level, info.links, info.peerHostName, info.beat], [255, 1, 'castle', 200])
  assert.deepEqual(info.peer, theirs.peer)
  assert.equal(ours.lossReport(), undefined)
  assert.deepEqual(ours.addresses().map(({ isInUse }) => isInUse), [true])
  assert.equal(client.counters().sessions, 1)
  await assert.rejects(server.accept({ timeout: 10 }), { code: 'TIMEOUT' })
})

test('a second connect shares the session', async (t) => {
  const { client, server, address, ours } = await pair(t)
  const again = await client.connect(address, SOON)
  assert.equal(again.number, ours.number)
  server.serve('echo', (request) => request)
  await ours.close()
  assert.equal(String(await again.call('echo', 'still here')), 'still here')
  await assert.rejects(ours.call('echo', 'x'), { code: 'HANDLE' })
  await again.close()
  assert.equal(again.state, 'closed')
})

test('a list, a race, any node, standby and bulk links', async (t) => {
  const home = directory()
  const server = await open(t, home)
  const client = await open(t, home)
  const first = await server.listen('127.0.0.1:0')
  const second = await server.listen('127.0.0.2:0')
  const nobody = await (await open(t, home)).listen('127.0.0.1:0')
  assert.equal(server.addresses().length, 2)
  server.announce([first])
  assert.deepEqual(server.addresses(), [first])
  server.announce(null)
  assert.throws(() => server.announce('x'), { code: 'ERR_INVALID_ARG_TYPE' })
  const options = { ...SOON, race: true, anyNode: true, standbyLinks: 1, bulkLinks: 1 }
  const ours = await client.connect([first, second], options)
  const roles = new Set()
  while (roles.size < 3) roles.add((await eventOf(ours, 'linkAttached')).role)
  assert.deepEqual([...roles].sort(), ['bulk', 'primary', 'standby'])
  await assert.rejects(client.connect(nobody.replace('127.0.0.1', '127.0.0.9'), { timeout: 300 }), { code: 'TIMEOUT' })
  await assert.rejects(client.connect([], SOON), { code: 'ARG' })
  await assert.rejects(client.connect('127.0.0.1:0', SOON), { code: 'ARG' })
  await assert.rejects(server.listen(first), { code: 'IN_USE' })
  await assert.rejects(client.connect(`clv://${'A'.repeat(56)}@${first}`, SOON), { code: 'ARG' })
})

test('a connect is given up', async (t) => {
  const node = await open(t, directory())
  const connecting = node.connect('127.0.0.1:9', { signal: AbortSignal.timeout(50) })
  await assert.rejects(connecting, { name: 'AbortError', code: 'ABORT_ERR' })
  await assert.rejects(node.connect('127.0.0.1:9', { signal: AbortSignal.abort() }), { name: 'AbortError' })
  assert.equal(node.hasRef(), false)
  const waiting = assert.rejects(node.connect('127.0.0.1:9'), { code: 'CLOSED' })
  await node.close()
  await waiting
})

test('a session survives its connections, roams and goes where it is sent', async (t) => {
  let relay
  const through = async (address) => (relay = await Relay.start(t, address)).address
  const sessions = await pair(t, {}, { through })
  const { ours, theirs, server, address } = sessions
  const { near, far } = await channelPair(sessions, 'x')
  await near.send('before')
  relay.cut()
  await near.send('after')
  for (const wanted of ['before', 'after']) assert.equal(String(await far.receive(SOON)), wanted)
  await eventOf(ours, 'linkEnded')
  ours.roam(address)
  const began = await eventOf(ours, 'moveBegan')
  assert.deepEqual([began.to, began.cause], [address, 'asked'])
  await eventOf(theirs, 'peerMoves')
  const other = await server.listen('127.0.0.2:0')
  theirs.goTo(other)
  assert.equal((await eventOf(ours, 'moveBegan')).cause, 'goTo')
  assert.ok((await eventOf(ours, 'linkAttached')).address.startsWith(other))
  assert.throws(() => theirs.goTo('no address'), { code: 'ARG' })
  await near.send('from there')
  assert.equal(String(await far.receive(SOON)), 'from there')
  assert.ok(ours.info().linksTotal >= 3)
})

test('states are waited for, and a lost session says what is missing', async (t) => {
  let relay
  const through = async (address) => (relay = await Relay.start(t, address)).address
  const sessions = await pair(t, { beatMs: 100, ttlMs: 800, announce: false }, { through })
  const { ours, theirs } = sessions
  assert.equal(await ours.waitState('live'), 'live')
  await assert.rejects(ours.waitState(['closed', 'lost'], { timeout: 20 }), { code: 'TIMEOUT' })
  const { near } = await channelPair(sessions, 'x')
  relay.isOpen = false
  relay.cut()
  assert.equal(await ours.waitState((state) => state === 'suspended', SOON), 'suspended')
  await near.send('never arrives')
  const ends = [
    assert.rejects(near.receive(), { code: 'LOST', class: 'lost' }),
    assert.rejects(ours.acceptChannel(), { code: 'LOST' }),
  ]
  assert.equal(await ours.waitState('lost', SOON), 'lost')
  await Promise.all(ends)
  const { report } = await eventOf(ours, 'lost')
  assert.ok(report.cause instanceof clerver.ClerverError)
  assert.ok(report.channels[0].written - report.channels[0].held >= 13)
  assert.equal(ours.lossReport().channels.length, 1)
  await assert.rejects(ours.waitState('live'), { code: 'LOST' })
  const rest = []
  for await (const event of ours.events()) rest.push(event.type)
  await assert.rejects(ours.nextEvent(), { code: 'END' })
  await theirs.waitState('lost', SOON)
})

test('a volatile session is embalmed and comes back', async (t) => {
  let relay
  const through = async (address) => (relay = await Relay.start(t, address)).address
  const options = { beatMs: 100, ttlMs: 600, announce: false, volatile: true, redialMaxMs: 200 }
  const sessions = await pair(t, options, { through })
  const { near, far } = await channelPair(sessions, 'x')
  relay.isOpen = false
  relay.cut()
  await sessions.ours.waitState('embalmed', SOON)
  await near.send('kept')
  relay.isOpen = true
  await sessions.ours.waitState('live', SOON)
  assert.equal(String(await far.receive(SOON)), 'kept')
})

test('drain and close report what is left', async (t) => {
  const sessions = await pair(t)
  const { server, client, ours, theirs } = sessions
  let go
  server.serve('slow', () => new Promise((resolve) => (go = resolve)))
  const calling = ours.call('slow', '', SOON)
  calling.catch(() => {})
  while (go === undefined) await new Promise(setImmediate)
  const report = await server.drain({ timeout: 100 })
  assert.deepEqual(report.running, ['service "slow"'])
  await eventOf(ours, 'peerDrains')
  assert.equal((await eventOf(server, 'draining')).sessions, 1)
  await assert.rejects(ours.open('x'), { code: 'DRAINING' })
  go('done')
  assert.equal(String(await calling), 'done')
  assert.deepEqual((await server.drain(SOON)).running, [])
  await ours.drain(SOON)
  await ours.close()
  assert.ok(ours.isClosed)
  await theirs.waitState('closed', SOON)
  await eventOf(theirs, 'closed')
  assert.deepEqual(await client.close(), { undelivered: [], stuck: [] })
  assert.deepEqual(await client.close(), { undelivered: [], stuck: [] })
})

test('closing a node ends everything that waits, and later calls say so', async (t) => {
  const sessions = await pair(t)
  const { client, ours } = sessions
  const { near } = await channelPair(sessions, 'x')
  const waits = [
    client.accept(), client.nextEvent().then(() => client.accept()), near.receive(), ours.acceptChannel(),
    (async () => { for (;;) await ours.nextEvent() })(), sessions.server.accept({ timeout: 50 }),
  ]
  const settled = Promise.allSettled(waits)
  await client.close()
  for (const { reason } of await settled) {
    assert.ok(['CLOSED', 'END', 'LOST', 'HANDLE', 'TIMEOUT', 'STOPPED'].includes(reason?.code), String(reason))
  }
  assert.ok(client.isClosed)
  await assert.rejects(client.accept(), { code: 'CLOSED' })
  await assert.rejects(client.listen('127.0.0.1:0'), { code: 'CLOSED' })
  await assert.rejects(client.connect('127.0.0.1:1'), { code: 'CLOSED' })
  await assert.rejects(ours.call('x'), { name: 'ClerverError' })
  assert.throws(() => client.serve('x', () => ''), { code: 'CLOSED' })
  assert.equal(client.hasRef(), false)
  client.ref().unref()
  for await (const event of client.events()) assert.ok(event.type)
  for await (const _ of client.sessions()) assert.fail()
})

test('a handler that does not end is named as stuck', async (t) => {
  const { server, ours } = await pair(t, { graceMs: 100 })
  let begin
  const begun = new Promise((resolve) => (begin = resolve))
  server.serve('stuck', () => (begin(), new Promise(() => {})))
  ours.call('stuck').catch(() => {})
  await begun
  const began = Date.now()
  const report = await server.close({ timeout: 300 })
  assert.deepEqual(report.stuck, ['service "stuck"'])
  assert.ok(Date.now() - began < 5000)
})

test('events of the node are typed and in order', async (t) => {
  const { server, client } = await pair(t)
  const accepted = await eventOf(server, 'accepted')
  assert.equal(accepted.peer.node, client.id)
  const connected = await eventOf(client, 'connected')
  assert.equal(connected.shared, false)
  await client.close()
  const seen = []
  for await (const event of server.events(SOON)) {
    seen.push(event.type)
    if (event.type === 'sessionState' && event.to === 'closed') break
  }
  assert.ok(seen.includes('sessionState'))
})

test('a host that is not trusted is refused, until the trust files are read again', async (t) => {
  const server = await open(t, directory())
  const home = directory()
  const address = await server.listen('127.0.0.1:0')
  const client = await open(t, home)
  await assert.rejects(client.connect(address, { timeout: 3000 }), (error) => {
    assert.equal(error.class, 'denied')
    assert.ok(error.remedy.length > 0)
    return true
  })
  const refused = await eventOf(server, 'refused')
  assert.equal(refused.host, client.hostId)
  assert.ok(refused.error instanceof clerver.ClerverError)
  await server.reloadTrust()
})

test('the log goes to a function', async (t) => {
  const lines = []
  const home = directory()
  const server = await open(t, home)
  server.log('debug', (level, line) => lines.push([level, line]))
  const client = await open(t, home)
  const session = await client.connect(await server.listen('127.0.0.1:0'), SOON)
  await session.close()
  await server.close()
  assert.ok(lines.length > 0)
  assert.ok(lines.every(([level, line]) => /^(error|warn|info|debug)$/.test(level) && line.length > 0))
})

test('a file of options is read', async (t) => {
  const file = path.join(directory(), 'node.toml')
  fs.writeFileSync(file, 'beat_ms = 300\nttl_ms = 3000\n')
  const home = directory()
  const server = await open(t, home, { config: file, beatMs: undefined, ttlMs: undefined })
  const client = await open(t, home, { config: file, beatMs: undefined, ttlMs: undefined })
  const session = await client.connect(await server.listen('127.0.0.1:0', { level: 255 }), SOON)
  assert.equal(session.info().beat, 300)
})

test('async disposal closes', async (t) => {
  const { client, ours } = await pair(t)
  const dispose = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')
  const channel = await ours.open('x')
  await channel[dispose]()
  assert.ok(channel.isClosed)
  await ours[dispose]()
  assert.ok(ours.isClosed)
  await client[dispose]()
  assert.ok(client.isClosed)
})
