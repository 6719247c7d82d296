// Channels as streams of Node.
'use strict'

const { Duplex } = require('node:stream')
const { ClerverError, record } = require('./errors.js')

const FOREVER = { timeout: -1, signal: undefined }

/**
 * A channel as a stream. `write` answers false while the peer reads too slowly, and reading too slowly holds the peer
 * back. Of a channel of messages it is a stream of objects: each chunk is one message.
 */
class ChannelDuplex extends Duplex {
  #channel
  #opening
  #idle
  #idleTime = 0
  #isReading = false

  constructor(options, channel, opening) {
    const isMessages = channel !== undefined && !channel.isBytes
    super({
      ...options,
      decodeStrings: true,
      readableObjectMode: isMessages,
      writableObjectMode: isMessages,
      ...(isMessages ? { readableHighWaterMark: 1, writableHighWaterMark: 1 } : {}),
    })
    this.#channel = channel
    this.#opening = opening
  }

  get channel() {
    return this.#channel
  }

  /** As of a socket, for those who ask one. */
  get connecting() {
    return this.#channel === undefined && !this.destroyed
  }

  get pending() {
    return this.connecting
  }

  get readyState() {
    if (this.connecting) return 'opening'
    if (this.readable && this.writable) return 'open'
    return this.readable ? 'readOnly' : this.writable ? 'writeOnly' : 'closed'
  }

  get remoteAddress() {
    return this.#channel?.session.peer.node
  }

  _construct(ready) {
    if (this.#opening === undefined) return ready()
    this.#opening.then(
      (channel) => {
        this.#channel = channel
        if (this.destroyed) {
          channel.close()
          return ready()
        }
        ready()
        this.emit('connect')
        this.emit('ready')
      },
      (error) => ready(error),
    )
  }

  _read() {
    if (this.#isReading) return
    this.#isReading = true
    this.#readOn()
  }

  async #readOn() {
    try {
      let wantsMore = true
      while (wantsMore && !this.destroyed) {
        const data = await this.#channel._receive(FOREVER)
        this.#active()
        // An empty chunk would end a stream of bytes.
        if (data.length > 0 || this.readableObjectMode) wantsMore = this.push(data)
      }
      this.#isReading = false
    } catch (error) {
      this.#isReading = false
      if (this.destroyed) return
      if (error.code === 'END') this.push(null)
      else this.destroy(error)
    }
  }

  _write(chunk, encoding, done) {
    const data = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk
    this.#active()
    this.#send(data).then(() => done(), done)
  }

  _writev(chunks, done) {
    if (this.writableObjectMode) return this.#sendAll(chunks).then(() => done(), done)
    this.#active()
    this.#send(Buffer.concat(chunks.map(({ chunk }) => chunk))).then(() => done(), done)
  }

  #send(data) {
    if (!ArrayBuffer.isView(data)) {
      const error = new TypeError('write: a message must be a Buffer, typed array or string')
      error.code = 'ERR_INVALID_ARG_TYPE'
      return Promise.reject(error)
    }
    return this.#channel._send(Buffer.from(data.buffer, data.byteOffset, data.byteLength), 'write to a channel', FOREVER)
  }

  async #sendAll(chunks) {
    for (const { chunk, encoding } of chunks) {
      await this.#send(typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk)
    }
  }

  _final(done) {
    try {
      this.#channel.end()
      done()
    } catch (error) {
      // The peer has closed the session in good order, and was read to the end: nothing is missing here or there.
      const isOver = error.code === 'CLOSED' && this.readableEnded
      done(isOver ? null : error)
    }
  }

  _destroy(error, done) {
    clearTimeout(this.#idle)
    const channel = this.#channel
    if (channel !== undefined && !channel.isClosed) {
      try {
        // The peer must not take what came for all of it.
        if (!this.writableFinished) channel.reset(error?.message ?? 'the stream was destroyed')
        if (!this.readableEnded) channel.stop()
      } catch {
        // The session is over, and the peer knows by that.
      }
      channel.close()
    }
    done(error)
  }

  // What users of sockets call. There is nothing to delay or to keep alive in a session.

  setNoDelay() {
    return this
  }

  setKeepAlive() {
    return this
  }

  ref() {
    return this
  }

  unref() {
    return this
  }

  address() {
    return {}
  }

  /** It is connected by itself; what follows 'connect' follows. */
  connect(...values) {
    const listener = values.find((value) => typeof value === 'function')
    if (listener !== undefined) this.once('connect', listener)
    if (this.#channel !== undefined) {
      process.nextTick(() => {
        this.emit('connect')
        this.emit('ready')
      })
    }
    return this
  }

  setTimeout(milliseconds, listener) {
    this.#idleTime = milliseconds
    if (listener !== undefined) {
      if (milliseconds > 0) this.once('timeout', listener)
      else this.removeListener('timeout', listener)
    }
    this.#active()
    return this
  }

  #active() {
    if (this.#idle !== undefined) clearTimeout(this.#idle)
    this.#idle = undefined
    if (this.#idleTime > 0 && !this.destroyed) {
      this.#idle = setTimeout(() => this.emit('timeout'), this.#idleTime)
      this.#idle.unref()
    }
  }

  destroySoon() {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', this.destroy)
  }
}

/** A stream over a channel of bytes that is being opened. */
function connection(session, options, callback) {
  const given = record(options)
  if (callback !== undefined && typeof callback !== 'function') {
    throw new TypeError('createConnection: the callback must be a function')
  }
  const name = typeof given.channel === 'string' ? given.channel : ''
  const opening = Promise.resolve().then(() => session.open(name, { bytes: true, signal: given.signal }))
  // As of net.connect: it closes when the peer ends, or its user would wait for 'close' for ever.
  const stream = new ChannelDuplex({ allowHalfOpen: given.allowHalfOpen === true }, undefined, opening)
  if (callback !== undefined) stream.once('connect', () => callback(null, stream))
  return stream
}

module.exports = { ChannelDuplex, connection, ClerverError }
