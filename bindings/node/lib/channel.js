// A channel: an ordered, reliable, two-way sequence of messages or bytes.
'use strict'

const errors = require('./errors.js')
const { Waiting } = require('./waiting.js')
const { ChannelDuplex } = require('./stream.js')

const { ClerverError, limits, bytes, count, text } = errors
const asyncDispose = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')

class Channel {
  #session
  #native
  #readable
  #writable
  #isWatched = false
  #isClosed = false
  /** A stream has it, and nobody else may read or write. */
  #duplex

  constructor(session, native) {
    this.#session = session
    this.#native = native
    this.number = native.number()
    this.name = native.name()
    this.isBytes = native.isBytes()
    this.isStored = native.isStored()
    const token = session.node._token()
    const watch = () => {
      if (this.#isWatched) return
      native.watch(token)
      this.#isWatched = true
    }
    this.#readable = new Waiting(session.node, token * 2, watch, true)
    this.#writable = new Waiting(session.node, token * 2 + 1, watch, true)
  }

  get session() {
    return this.#session
  }

  get isClosed() {
    return this.#isClosed
  }

  #what(doing) {
    return `${doing} channel "${this.name}"`
  }

  #check(doing) {
    if (this.#isClosed) throw new ClerverError('HANDLE', `${this.#what(doing)}: it is closed`)
  }

  // Sending.

  async send(data, options) {
    const what = this.#what('send on')
    const given = limits(options)
    const whole = bytes(data)
    await this._send(whole, what, given)
    if (this.isStored) await this.confirm(options)
  }

  /** Sends everything, once there is room; what is sent is not taken back by a signal. */
  _send(whole, what, given) {
    let from = 0
    const attempt = () => {
      this.#check('send on')
      do {
        const sent = this.#native.trySend(whole, from)
        if (sent < 0) return null
        from += sent
      } while (this.isBytes && from < whole.length)
      return true
    }
    return this.#writable.wait(attempt, what, given)
  }

  trySend(data) {
    this.#check('send on')
    const sent = this.#native.trySend(bytes(data), 0)
    return sent < 0 ? undefined : sent
  }

  async confirm(options) {
    await this.#onDisk(limits(options))
  }

  /** Waits until what was done here so far is on the disk; what others do meanwhile is not waited for. */
  async #onDisk(given) {
    this.#check('use')
    const mark = this.#native.storedMark()
    if (mark === null) return
    const attempt = () => {
      this.#check('use')
      return this.#native.tryConfirm(mark)
    }
    try {
      await this.#writable.waitBeside(attempt, this.#what('confirm'), given)
    } catch (error) {
      if (error.code !== 'TIMEOUT') throw error
      // It says so in the words of the library.
      this.#native.confirm()
    }
  }

  // Receiving.

  async receive(options) {
    return this._receive(limits(options))
  }

  _receive(given) {
    const attempt = () => {
      this.#check('receive on')
      return this.#native.tryReceive()
    }
    return this.#readable.wait(attempt, this.#what('receive on'), given)
  }

  tryReceive() {
    this.#check('receive on')
    return this.#native.tryReceive() ?? undefined
  }

  async take(options) {
    const attempt = () => {
      this.#check('receive on')
      return this.#native.tryTake()
    }
    return this.#readable.wait(attempt, this.#what('receive on'), limits(options))
  }

  async ack(delivery, options) {
    const end = count(typeof delivery === 'object' && delivery !== null ? delivery.end : delivery, 'end')
    const given = limits(options)
    this.#check('use')
    if (this.#native.ack(end) === null) await this.#onDisk(given)
  }

  async setRestartPoint(point, options) {
    const data = bytes(point, 'point')
    const given = limits(options)
    this.#check('use')
    if (this.#native.setRestartPoint(data) === null) await this.#onDisk(given)
  }

  /** What the peer sends, until it ends. */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      let data
      try {
        data = await this._receive({ timeout: -1 })
      } catch (error) {
        if (error.code === 'END') return
        throw error
      }
      yield data
    }
  }

  // The end.

  end() {
    this.#check('end')
    this.#native.end()
  }

  reset(why = '') {
    this.#check('reset')
    this.#native.reset(text(why, 'why'))
  }

  stop() {
    if (!this.#isClosed) this.#native.stop()
  }

  report() {
    return this.#native.report()
  }

  close() {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#native.close()
    this.#readable.ring()
    this.#writable.ring()
  }

  duplex(options) {
    this.#check('make a stream of')
    if (this.isStored) throw new ClerverError('STATE', `${this.#what('make a stream of')}: it is stored`)
    return (this.#duplex ??= new ChannelDuplex(errors.record(options), this))
  }

  async [asyncDispose]() {
    this.close()
  }

  [Symbol.dispose ?? Symbol.for('nodejs.dispose')]() {
    this.close()
  }
}

module.exports = { Channel }
