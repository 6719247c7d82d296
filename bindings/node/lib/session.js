// A session: the virtual connection with one peer.
'use strict'

const errors = require('./errors.js')
const { payloads, post } = require('./post.js')
const { Waiting } = require('./waiting.js')
const { Channel } = require('./channel.js')
const { Call } = require('./call.js')
const { isFinal } = require('./hub.js')
const { keepPayload } = require('./kind.js')
const { connection } = require('./stream.js')

const { AbortError, ClerverError, limits, record, text, bytes, count, time } = errors
const asyncDispose = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')
const CLOSE_TIME = 10_000
const FOREVER = { timeout: -1, signal: undefined }

/** Whether a code says that a session or handle is over. */
const isOverCode = (code) => code === 'CLOSED' || code === 'LOST' || code === 'HANDLE' || code === 'END'

class Session {
  #node
  #native
  #hub
  #peer
  #isClosed = false

  constructor(node, native, hub) {
    this.#node = node
    this.#native = native
    this.#hub = hub
    this.number = native.number()
    this.sid = native.sid()
    this.createConnection = this.createConnection.bind(this)
  }

  get node() {
    return this.#node
  }

  get peer() {
    return (this.#peer ??= this.#native.peer())
  }

  get state() {
    return this.#native.state()
  }

  get isClosed() {
    return this.#isClosed
  }

  info() {
    return this.#native.info()
  }

  lossReport() {
    return withCause(this.#native.lossReport())
  }

  addresses() {
    return this.#native.addresses()
  }

  roam(address) {
    this.#native.roam(address === undefined ? undefined : text(address, 'address'))
  }

  goTo(address) {
    this.#native.goTo(address === undefined ? undefined : text(address, 'address'))
  }

  #check(what) {
    if (this.#isClosed) throw new ClerverError('HANDLE', `${what}: the session's handle is closed`)
  }

  #wait(attempt, what, options) {
    this.#check(what)
    const looked = () => {
      this.#check(what)
      return attempt()
    }
    return this.#hub.waiting.wait(looked, what, limits(options))
  }

  // Events and state.

  async nextEvent(options) {
    const event = await this.#wait(() => this.#native.nextEvent(), 'wait for an event of the session', options)
    if (event.error !== undefined) event.error = errors.errorOf(event.error)
    if (event.report !== undefined) withCause(event.report)
    return event
  }

  async *events(options) {
    for (;;) {
      let event
      try {
        event = await this.nextEvent(options)
      } catch (error) {
        if (isOverCode(error.code)) return
        throw error
      }
      yield event
    }
  }

  async waitState(states, options) {
    const wanted = typeof states === 'function' ? states : (state) => [states].flat().includes(state)
    const what = 'wait for a state of the session'
    return this.#wait(() => {
      const state = this.#native.state()
      if (wanted(state)) return state
      if (!isFinal(state)) return null
      const cause = this.lossReport()?.cause
      throw cause ?? new ClerverError(state === 'closed' ? 'CLOSED' : 'LOST', `${what}: it is ${state}`)
    }, what, options)
  }

  // Channels.

  async open(name = '', options) {
    text(name, 'name')
    const given = record(options)
    const flags = (given.bytes ? 1 : 0) | (given.bulk ? 2 : 0) | (given.stored ? 4 : 0)
    const native = await this.#wait(() => this.#native.open(name, flags), 'open a channel', given)
    return new Channel(this, native)
  }

  async acceptChannel(options) {
    return new Channel(this, await this.#wait(() => this.#native.accept(), 'accept a channel', options))
  }

  /** Channels that the peer opens, until the session is over. */
  async *channels(options) {
    for (;;) {
      let channel
      try {
        channel = await this.acceptChannel(options)
      } catch (error) {
        if (isOverCode(error.code)) return
        throw error
      }
      yield channel
    }
  }

  /** A stream.Duplex over a channel of bytes, at once; for options like those of pg and http.Agent. */
  createConnection(options, callback) {
    if (typeof options === 'function') [options, callback] = [undefined, options]
    return connection(this, options, callback)
  }

  // Calls.

  async call(service, request = '', options) {
    const { timeout, signal } = limits(options)
    const native = await this.#startCall(text(service, 'service'), bytes(request, 'request'), timeout, signal)
    const what = `call service "${service}"`
    const token = this.#node._token()
    const waiting = new Waiting(this.#node, token * 2, () => native.watch(token), true)
    try {
      return await waiting.wait(() => native.collect(), what, { timeout: -1, signal })
    } finally {
      // Cancels it if the reply is not whole.
      native.close()
    }
  }

  async startCall(service, request = '', options) {
    const { timeout, signal } = limits(options)
    text(service, 'service')
    this.#check(`call service "${service}"`)
    if (signal?.aborted) throw new AbortError(signal.reason)
    const native = this.#native.callStart(service, bytes(request, 'request'), timeout, false)
    return new Call(this.#node, native, service, signal)
  }

  #startCall(service, request, timeout, signal) {
    const until = timeout < 0 ? Infinity : performance.now() + timeout
    const attempt = () => {
      const left = timeout < 0 ? -1 : Math.max(0, until - performance.now())
      return this.#native.callStart(service, request, left, true)
    }
    // Mostly there is room.
    this.#check(`call service "${service}"`)
    if (signal?.aborted) throw new AbortError(signal.reason)
    return attempt() ?? this.#wait(attempt, `call service "${service}"`, { timeout: timeout < 0 ? undefined : timeout, signal })
  }

  // Objects.

  attach(kind, payload, options) {
    text(kind, 'kind')
    const ttl = time(record(options).ttl, 'ttl')
    const number = keepPayload(payload)
    try {
      return this.#native.attach(post, kind, number, ttl)
    } catch (error) {
      payloads.delete(number)
      throw error
    }
  }

  object(number) {
    return payloads.get(this.#native.payload(count(number, 'object')))
  }

  async useObject(number, use) {
    count(number, 'object')
    errors.callback(use, 'use')
    let visit
    let failure
    let result
    await this.#node._operate((to, ticket) => void (visit = this.#native.enter(to, ticket, number)), {
      visit: async (payload) => {
        try {
          result = await use(payloads.get(payload))
        } catch (error) {
          failure = { error }
        } finally {
          visit.leave()
        }
      },
    })
    if (failure !== undefined) throw failure.error
    return result
  }

  reviveObject(from, number) {
    if (!(from instanceof Session)) throw errors.wrongType('from', 'must be a Session')
    this.#native.revive(from.#native, count(number, 'object'))
  }

  endObject(number) {
    this.#native.endObject(count(number, 'object'))
  }

  touch(number) {
    this.#native.touch(count(number, 'object'))
  }

  update(number, data) {
    this.#native.update(count(number, 'object'), bytes(data))
  }

  release(number) {
    this.#native.release(count(number, 'object'))
  }

  objects() {
    return this.#native.objects()
  }

  async printObjects() {
    return this.#node._operate((to, ticket) => this.#native.printObjects(to, ticket))
  }

  history() {
    return this.#native.history()
  }

  // The end.

  async drain(options) {
    try {
      await this.#hub.waiting.wait(() => this.#native.isDelivered(), 'drain the session', limits(options))
    } catch (error) {
      if (error.code !== 'TIMEOUT') throw error
      // It says what is left.
      this.#native.drain()
    }
  }

  async close(options) {
    const timeout = time(record(options).timeout, 'timeout', CLOSE_TIME)
    if (this.#isClosed) return
    this.#isClosed = true
    const isLent = !this.#hub.keeps(this)
    try {
      this.#native.closeStart(timeout)
      if (isLent || timeout === 0) return
      await this.#hub.waiting.wait(() => this.#native.closeEnd(), 'close the session', FOREVER)
    } finally {
      this.#hub.letGo(this)
    }
  }

  async [asyncDispose]() {
    await this.close()
  }
}

function withCause(report) {
  if (report !== null) report.cause = errors.errorOf(report.cause)
  return report ?? undefined
}

module.exports = { Session }
