// A node: one running clerver of this process.
'use strict'

const native = require('./native.js')
const errors = require('./errors.js')
const { post, operate, nextNumber, services, kinds, logs } = require('./post.js')
const { Waiting } = require('./waiting.js')
const { Session } = require('./session.js')
const { Hub } = require('./hub.js')
const service = require('./service.js')
const kind = require('./kind.js')

const { AbortError, ClerverError, limits, record, text, count, callback, time } = errors
const asyncDispose = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')

/** Events that nobody took yet; of more the oldest go, and are counted. */
const EVENTS_MAX = 4096
/** What a node gets to say good-bye when the process ends, in milliseconds. */
const LAST_WORD = 1000
const CLOSE_TIME = 10_000
const LEVELS = ['error', 'warn', 'info', 'debug']

/** All that are open, of this environment. */
const open = new Set()

process.on('exit', () => {
  if (open.size === 0) return
  // First of all: a worker of a node that waits for a handler would never end.
  const nodes = [...open]
  post.shut()
  for (const node of nodes) node._closeNow()
})

/** Option names as in the library's table: beatMs is beat_ms. */
const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** Pairs of option and value as text. */
function wishesOf(options) {
  const pairs = []
  for (const [name, value] of Object.entries(record(options))) {
    if (value === undefined || name === 'signal') continue
    if (!['string', 'number', 'boolean', 'bigint'].includes(typeof value)) {
      throw errors.wrongType(name, 'must be a string, number or boolean')
    }
    pairs.push([snake(name), String(value)])
  }
  return pairs
}

class Node {
  #native
  #holds = 0
  /** Undefined: holds the process while something waits, or it listens. */
  #isRef
  #isListening = false
  #isClosed = false
  #closing
  #waitings = new Map()
  #all = new Set()
  #hubs = new Map()
  #accepting
  #draining
  #events = []
  #dropped = 0
  #eventWaiting
  #numbers = new Map()
  #log

  constructor(handle, guard) {
    if (guard !== Node.#guard) throw new TypeError('Node: use Node.open()')
    this.#native = handle
    this.id = handle.id()
    this.hostId = handle.hostId()
    this.#accepting = new Waiting(this, undefined, undefined, true)
    this.#draining = new Waiting(this, undefined, undefined, false)
    this.#eventWaiting = new Waiting(this, undefined, undefined, true)
    handle.watch(post, (tokens, events) => this.#ready(tokens, events))
    open.add(this)
  }

  static #guard = Symbol('Node')

  static async open(options) {
    const wishes = wishesOf(options)
    const signal = errors.signal(options?.signal)
    const discard = (handle) => handle.closeNow(0)
    const handle = await operate(undefined, (to, ticket) => native.openNode(to, ticket, wishes), { signal, discard })
    return new Node(handle, Node.#guard)
  }

  // What is ready, and what happened.

  #ready(tokens, events) {
    for (let at = 0; at < tokens.length; at++) this.#waitings.get(tokens[at])?.ring()
    if (events !== null) this.#happened(events)
    this._drainMoved()
  }

  #happened(events) {
    let hasSessions = false
    for (const event of events) {
      hasSessions ||= event.type === 'accepted' || event.type === 'restored' || event.type === 'dropped'
      if (event.error !== undefined) event.error = errors.errorOf(event.error)
      this._tell(event)
    }
    if (hasSessions) this.#accepting.ring()
  }

  _tell(event) {
    if (this.#events.push(event) > EVENTS_MAX) {
      this.#events.shift()
      this.#dropped++
    }
    this.#eventWaiting.ring()
  }

  /** A drain may have come further: who looks makes the event that tells how far. */
  _drainMoved() {
    if (!this.#draining.isIdle) this.#draining.ring()
  }

  _token() {
    return nextNumber()
  }

  _waits(key, waiting) {
    if (key !== undefined) this.#waitings.set(key, waiting)
    this.#all.add(waiting)
  }

  _waitsNoMore(key, waiting) {
    if (key !== undefined && waiting.isIdle) this.#waitings.delete(key)
    this.#all.delete(waiting)
  }

  /** Rings `ringer` for this key until it is taken away. */
  _listenTo(key, ringer) {
    if (ringer === undefined) this.#waitings.delete(key)
    else this.#waitings.set(key, ringer)
  }

  // What keeps the process alive.

  #update() {
    this.#native.setHeld(this.#isRef ?? (this.#holds > 0 || this.#isListening))
  }

  _hold() {
    if (this.#holds++ === 0 && !this.#isListening && this.#isRef === undefined) this.#native.setHeld(true)
  }

  _release() {
    if (--this.#holds === 0 && !this.#isListening && this.#isRef === undefined) this.#native.setHeld(false)
  }

  ref() {
    this.#isRef = true
    this.#update()
    return this
  }

  unref() {
    this.#isRef = false
    this.#update()
    return this
  }

  hasRef() {
    return !this.#isClosed && (this.#isRef ?? (this.#holds > 0 || this.#isListening))
  }

  _operate(start, more) {
    return operate(this, start, more)
  }

  // Addresses and sessions.

  async listen(address, options) {
    text(address, 'address')
    const { signal, level } = { level: undefined, ...record(options) }
    const wanted = level === undefined ? -1 : count(level, 'level', 255)
    const start = (to, ticket) => this.#native.listen(to, ticket, address, wanted)
    const bound = await operate(this, start, { signal: errors.signal(signal) })
    this.#isListening = true
    this.#update()
    return bound
  }

  announce(addresses) {
    if (addresses !== null && !Array.isArray(addresses)) {
      throw errors.wrongType('addresses', 'must be an array of strings, or null to find them out again')
    }
    this.#native.announce(addresses === null ? undefined : addresses.map((address) => text(address, 'address')))
  }

  addresses() {
    return this.#native.addresses()
  }

  async connect(addresses, options) {
    const list = Array.isArray(addresses) ? addresses : [addresses]
    for (const address of list) text(address, 'address')
    const given = record(options)
    const { timeout, signal } = limits(given)
    const flags = (given.race ? 1 : 0) | (given.anyNode ? 2 : 0)
    const bulk = count(given.bulkLinks ?? 0, 'bulkLinks', 8)
    const standby = count(given.standbyLinks ?? 0, 'standbyLinks', 4)
    if (signal?.aborted) throw new AbortError(signal.reason)
    const connecting = this.#native.connect(list, flags, bulk, standby, timeout)
    const token = this._token()
    const waiting = new Waiting(this, token * 2, () => connecting.watch(token), true)
    try {
      // Its time is kept by the library, which says what the last dial failed with.
      const handle = await waiting.wait(() => connecting.take(), `connect to ${list}`, { timeout: -1, signal })
      return this._keepSession(handle)
    } finally {
      // Gives it up if there is no session.
      connecting.close()
    }
  }

  async accept(options) {
    const accept = () => this.#native.accept()
    return this._keepSession(await this.#accepting.wait(accept, 'accept a session', limits(options)))
  }

  /** Sessions that peers make, until the node closes. */
  async *sessions(options) {
    yield* untilClosed(() => this.accept(options))
  }

  [Symbol.asyncIterator]() {
    return this.sessions()
  }

  /** A session of the program: it stays until it is closed or over. */
  _keepSession(handle) {
    const hub = this._hubOf(handle)
    const session = new Session(this, handle, hub)
    hub.keep(session)
    return session
  }

  /** The program's handle of a session, or else one that keeps nothing open. */
  _sessionOf(handle) {
    const hub = this._hubOf(handle)
    return hub.first() ?? new Session(this, handle, hub)
  }

  _hubOf(handle) {
    const number = handle.number()
    let hub = this.#hubs.get(number)
    if (hub === undefined) {
      hub = new Hub(this, handle, () => this.#hubs.delete(number))
      if (!hub.isOver) this.#hubs.set(number, hub)
    }
    return hub
  }

  // Services and kinds of objects.

  serve(name, handler, options) {
    text(name, 'name')
    callback(handler, 'handler')
    const given = record(options)
    const level = count(given.level ?? 1, 'level', 255)
    const number = nextNumber()
    services.set(number, service.runner(this, handler))
    try {
      this.#native.serve(post, number, name, level, given.idempotent === true)
    } catch (error) {
      services.delete(number)
      throw error
    }
    this.#numbers.set(name, number)
    return this
  }

  unserve(name) {
    this.#native.unserve(text(name, 'name'))
    services.delete(this.#numbers.get(name))
    this.#numbers.delete(name)
  }

  registerKind(name, callbacks) {
    text(name, 'name')
    const wish = kind.wishOf(callbacks)
    const number = nextNumber()
    kinds.set(number, kind.runner(this, name, callbacks))
    try {
      this.#native.registerKind(post, number, name, wish)
    } catch (error) {
      kinds.delete(number)
      throw error
    }
    this.#numbers.set(`kind ${number}`, number)
    return this
  }

  // Events.

  async nextEvent(options) {
    const take = () => {
      if (this.#dropped > 0) {
        const count = this.#dropped
        this.#dropped = 0
        return { type: 'dropped', count }
      }
      if (this.#events.length > 0) return this.#events.shift()
      if (this.#isClosed) throw new ClerverError('CLOSED', 'wait for an event of the node: it is closed')
      return null
    }
    return this.#eventWaiting.wait(take, 'wait for an event of the node', limits(options))
  }

  async *events(options) {
    yield* untilClosed(() => this.nextEvent(options))
  }

  log(level, write) {
    const at = LEVELS.indexOf(text(level, 'level'))
    if (at < 0) throw errors.wrongType('level', `must be one of ${LEVELS.join(', ')}`)
    callback(write, 'write')
    logs.delete(this.#log)
    this.#log = nextNumber()
    logs.set(this.#log, write)
    this.#native.setLog(post, this.#log, at)
  }

  counters() {
    return this.#native.counters()
  }

  async reloadTrust() {
    await operate(this, (to, ticket) => this.#native.reloadTrust(to, ticket))
  }

  // The end.

  get isClosed() {
    return this.#isClosed
  }

  async drain(options) {
    try {
      return await this.#draining.wait(() => this.#native.drain(true), 'drain the node', limits(options))
    } catch (error) {
      if (error.code !== 'TIMEOUT') throw error
      return this.#native.drain(false)
    }
  }

  close(options) {
    this.#closing ??= this.#close(options)
    return this.#closing
  }

  async #close(options) {
    const timeout = time(record(options).timeout, 'timeout', CLOSE_TIME)
    try {
      return await operate(this, (to, ticket) => this.#native.close(to, ticket, timeout))
    } finally {
      this.#end()
    }
  }

  #end() {
    if (this.#isClosed) return
    this.#isClosed = true
    open.delete(this)
    const closed = (what) => new ClerverError('CLOSED', `${what}: the node is closed`)
    for (const waiting of [...this.#all]) waiting.end(closed)
    for (const hub of [...this.#hubs.values()]) hub.end()
    // Handlers whose callers are gone with it.
    for (const ringer of [...this.#waitings.values()]) ringer.ring()
    for (const number of this.#numbers.values()) {
      services.delete(number)
      kinds.delete(number)
    }
    // What the workers still have to say comes with the next mail; the log's last lines with it.
    const log = this.#log
    setImmediate(() => logs.delete(log)).unref()
    this.#waitings.clear()
    this.#native.unwatch()
  }

  /** The process ends. */
  _closeNow() {
    this.#native.closeNow(LAST_WORD)
  }

  async [asyncDispose]() {
    await this.close()
  }
}

/** What `next` answers, until the node, session or channel is over in good order. */
async function* untilClosed(next) {
  for (;;) {
    let value
    try {
      value = await next()
    } catch (error) {
      if (error.code === 'CLOSED' || error.code === 'END') return
      throw error
    }
    yield value
  }
}

module.exports = { Node }
