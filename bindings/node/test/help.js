// What the tests share: nodes of their own, a relay that cuts connections, programs in processes of their own.
'use strict'

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const clerver = require('clerver')

/** Longer than anything takes that works. */
const SOON = { timeout: 20_000 }

const homes = []
process.on('exit', () => {
  for (const home of homes) fs.rmSync(home, { recursive: true, force: true })
})

/** A directory that is gone when the process is. */
function directory() {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'clerver-node-'))
  homes.push(home)
  return home
}

const QUICK = { beatMs: 200, ttlMs: 4000 }

/** A node that is closed with the test. */
async function open(t, home, options) {
  const node = await clerver.Node.open({ home, ...QUICK, ...options })
  t.after(() => node.close({ timeout: 1000 }))
  return node
}

/** Two nodes of one host, and both ends of their session. */
async function pair(t, options, more) {
  const home = directory()
  const server = await open(t, home, options)
  const client = await open(t, home, { ...options, ...more?.client })
  const address = await server.listen('127.0.0.1:0')
  const ours = await client.connect(more?.through ? await more.through(address) : address, { ...SOON, ...more?.connect })
  const theirs = await server.accept(SOON)
  return { home, server, client, address, ours, theirs }
}

/** Both ends of a new channel. */
async function channelPair(sessions, name, options) {
  const near = await sessions.ours.open(name, options)
  const far = await sessions.theirs.acceptChannel(SOON)
  return { near, far }
}

/** A relay in front of a port, whose connections can be reset. */
class Relay {
  static async start(t, address) {
    const relay = new Relay()
    const at = address.lastIndexOf(':')
    relay.sockets = new Set()
    relay.bytes = 0
    relay.isOpen = true
    relay.server = net.createServer((near) => {
      if (!relay.isOpen) return near.resetAndDestroy()
      const far = net.connect(Number(address.slice(at + 1)), address.slice(0, at))
      for (const [one, other] of [[near, far], [far, near]]) {
        relay.sockets.add(one)
        one.on('error', () => {})
        one.on('data', (data) => (relay.bytes += data.length))
        one.on('close', () => {
          relay.sockets.delete(one)
          other.destroy()
        })
        one.pipe(other)
      }
    })
    relay.server.listen(0, '127.0.0.1')
    await once(relay.server, 'listening')
    relay.address = `127.0.0.1:${relay.server.address().port}`
    t.after(() => {
      relay.cut()
      relay.server.close()
    })
    return relay
  }

  cut() {
    for (const socket of this.sockets) socket.resetAndDestroy()
  }
}

/** Runs a program as a process of its own, in which the collector's pools stay small. */
function run(source, ...words) {
  const child = spawn(process.execPath, ['--expose-gc', '--max-semi-space-size=2', '-e', source, ...words], {
    cwd: path.join(__dirname, '..'),
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const said = { out: '', err: '' }
  child.stdout.on('data', (data) => (said.out += data))
  child.stderr.on('data', (data) => (said.err += data))
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, ...said }))
  return { child, said, ended }
}

/** Waits until a child has said this. */
async function says({ child, said, ended }, text) {
  while (!said.out.includes(text)) {
    const end = await Promise.race([once(child.stdout, 'data').then(() => undefined), ended])
    if (end !== undefined && !said.out.includes(text)) throw new Error(`it ended: ${JSON.stringify(end)}`)
  }
}

/** Takes events until one of this type comes. */
async function eventOf(what, type) {
  for (;;) {
    const event = await what.nextEvent(SOON)
    if (event.type === type) return event
  }
}

/** `size` bytes that show whether one is missing or twice there. */
function pattern(size, from = 0) {
  const data = Buffer.allocUnsafe(size)
  for (let at = 0; at < size; at++) data[at] = (from + at) % 251
  return data
}

module.exports = { SOON, QUICK, directory, open, pair, channelPair, Relay, run, says, eventOf, pattern, clerver }
