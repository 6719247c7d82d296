'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { SOON, pair, Relay, eventOf, clerver } = require('./help.js')

/** A kind that notes what becomes of its objects, and a wait for the next note. */
function noting(more) {
  const notes = []
  let ring
  const note = (text) => {
    notes.push(text)
    ring?.()
  }
  const next = async () => {
    while (notes.length === 0) await new Promise((resolve) => (ring = resolve))
    return notes.shift()
  }
  return { note, next, kind: { destroy: (payload) => note(`destroyed ${payload.name}`), ...more?.(note) } }
}

test('an object is kept, used, updated, printed, and ended once', async (t) => {
  const { server, ours, theirs } = await pair(t)
  const { kind, next } = noting(() => ({ print: (payload) => `named ${payload.name}` }))
  server.registerKind('lamp', kind)
  assert.throws(() => server.registerKind('lamp', kind), { code: 'IN_USE' })
  assert.throws(() => theirs.attach('nothing', {}), { code: 'ARG' })
  const payload = { name: 'desk' }
  const lamp = theirs.attach('lamp', payload)
  assert.equal(theirs.object(lamp), payload)
  const attached = await eventOf(ours, 'objectAttached')
  assert.deepEqual([attached.object, attached.kind], [lamp, 'lamp'])
  ours.touch(lamp)
  ours.update(lamp, 'bright')
  const updated = await eventOf(theirs, 'objectUpdated')
  assert.deepEqual([updated.object, String(updated.data)], [lamp, 'bright'])
  assert.throws(() => ours.update(lamp, Buffer.alloc(20_000)), { code: 'SIZE' })
  const info = theirs.objects().find(({ object }) => object === lamp)
  assert.deepEqual([info.kind, info.state, info.ttl, String(info.data)], ['lamp', 'alive', null, 'bright'])
  assert.match((await theirs.printObjects()).join('\n'), /named desk/)

  let leave
  const using = theirs.useObject(lamp, async (same) => {
    assert.equal(same, payload)
    theirs.endObject(lamp)
    assert.throws(() => theirs.object(lamp), { code: 'POISONED' })
    await new Promise((resolve) => (leave = resolve))
    payload.name = 'used desk'
    return 'result'
  })
  while (leave === undefined) await new Promise(setImmediate)
  leave()
  assert.equal(await using, 'result')
  assert.equal(await next(), 'destroyed used desk')
  assert.equal((await eventOf(ours, 'objectEnded')).object, lamp)
  assert.throws(() => theirs.object(lamp), { code: 'HANDLE' })
  await assert.rejects(theirs.useObject(lamp, () => {}), { code: 'HANDLE' })

  const other = theirs.attach('lamp', { name: 'hall' })
  await assert.rejects(theirs.useObject(other, () => { throw new Error('dark') }), /dark/)
  await eventOf(ours, 'objectAttached')
  ours.release(other)
  assert.equal(await next(), 'destroyed hall')
})

test('objects end by their TTL, and with their owner', async (t) => {
  const { server, client, theirs } = await pair(t)
  const { kind, next } = noting()
  server.registerKind('lamp', { ...kind, level: 255 })
  theirs.attach('lamp', { name: 'short' }, { ttl: 300 })
  theirs.attach('lamp', { name: 'long' })
  assert.equal(await next(), 'destroyed short')
  await client.close()
  assert.equal(await next(), 'destroyed long')
})

async function apart(t, options) {
  let relay
  const through = async (address) => (relay = await Relay.start(t, address)).address
  const sessions = await pair(t, { beatMs: 100, ttlMs: 600, announce: false, redialMaxMs: 200, ...options }, { through })
  return { ...sessions, part: () => ((relay.isOpen = false), relay.cut()), meet: () => (relay.isOpen = true) }
}

test('an object is embalmed, and revived with its session', async (t) => {
  const { server, ours, theirs, part, meet } = await apart(t, { volatile: true })
  const { kind, next } = noting((note) => ({
    keep: 60_000,
    embalm: async (payload) => (note(`embalmed ${payload.name}`), JSON.stringify(payload)),
    revive: async (data) => (note('revived'), JSON.parse(data)),
  }))
  server.registerKind('lamp', kind)
  const lamp = theirs.attach('lamp', { name: 'desk' })
  part()
  assert.equal(await next(), 'embalmed desk')
  meet()
  assert.equal(await next(), 'revived')
  await ours.waitState('live', SOON)
  await theirs.waitState('live', SOON)
  assert.deepEqual(theirs.object(lamp), { name: 'desk' })
  theirs.endObject(lamp)
  assert.equal(await next(), 'destroyed desk')
})

test('an embalmed object is taken over by the next session', async (t) => {
  const { server, client, ours, theirs, address, part, meet } = await apart(t)
  const { kind, next } = noting((note) => ({
    embalm: (payload) => (note('embalmed'), payload.name),
    revive: (data) => ({ name: `second ${data}` }),
  }))
  server.registerKind('lamp', kind)
  const lamp = theirs.attach('lamp', { name: 'desk' })
  part()
  assert.equal(await next(), 'embalmed')
  await theirs.waitState('lost', SOON)
  await ours.waitState('lost', SOON)
  meet()
  await client.connect(address, SOON)
  const again = await server.accept(SOON)
  again.reviveObject(theirs, lamp)
  const revived = await eventOf(again, 'objectRevived')
  assert.deepEqual([revived.from, revived.was], [theirs.number, lamp])
  assert.deepEqual(again.object(revived.object), { name: 'second desk' })
})

test('callbacks that throw are told, and what follows happens', async (t) => {
  const { server, theirs, part, meet } = await apart(t, { volatile: true })
  const failing = noting((note) => ({
    embalm: () => { throw new Error('cannot lie down') },
    revive: () => ({}),
    destroy: (payload) => { note(`destroyed ${payload.name}`); throw new clerver.ClerverError('STORE', 'stuck') },
  }))
  const stiff = noting((note) => ({
    embalm: () => Buffer.from('all of it'),
    revive: () => Promise.reject(new Error('cannot get up')),
    discard: (data) => note(`discarded ${data}`),
  }))
  const wrong = noting(() => ({ embalm: () => 42, revive: () => ({}) }))
  server.registerKind('failing', failing.kind)
  server.registerKind('stiff', stiff.kind)
  server.registerKind('wrong', wrong.kind)
  for (const kind of ['failing', 'stiff', 'wrong']) theirs.attach(kind, { name: kind })
  part()
  assert.equal(await failing.next(), 'destroyed failing')
  assert.equal(await wrong.next(), 'destroyed wrong')
  await theirs.waitState('embalmed', SOON)
  meet()
  assert.equal(await stiff.next(), 'discarded all of it')
  const told = []
  for await (const event of server.events(SOON)) {
    if (event.type === 'callbackFailed') told.push(`${event.kind} ${event.action} ${event.error.message}`)
    if (told.length === 4) break
  }
  const wanted = [
    'failing destroy stuck', 'failing embalm cannot lie down', 'stiff revive cannot get up',
    'wrong embalm what embalm returned: must be a Buffer, typed array, DataView, ArrayBuffer or string, not a value of type number',
  ]
  assert.deepEqual(told.sort(), wanted)
  await theirs.waitState('live', SOON)
})

test('abandon hears of an object whose use does not end', async (t) => {
  const { server, client, theirs } = await pair(t, { graceMs: 200 })
  let stop
  const { kind, next } = noting((note) => ({ abandon: () => (note('abandoned'), stop()) }))
  server.registerKind('lamp', kind)
  const lamp = theirs.attach('lamp', { name: 'desk' })
  const using = theirs.useObject(lamp, () => new Promise((resolve) => (stop = resolve)))
  while (stop === undefined) await new Promise(setImmediate)
  await client.close()
  assert.equal(await next(), 'abandoned')
  await using
  assert.equal(await next(), 'destroyed desk')
})

test('a service attaches an object for its caller', async (t) => {
  const { server, ours } = await pair(t)
  const { kind, next } = noting()
  server.registerKind('lamp', kind)
  server.serve('switch on', (request, call) => String(call.session.attach('lamp', { name: String(request) })))
  const lamp = Number(await ours.call('switch on', 'desk'))
  await eventOf(ours, 'objectAttached')
  ours.release(lamp)
  assert.equal(await next(), 'destroyed desk')
})
