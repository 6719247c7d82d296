// A call that was started, and its replies.
'use strict'

const { ClerverError, limits } = require('./errors.js')
const { Waiting } = require('./waiting.js')

class Call {
  #native
  #service
  #waiting

  constructor(node, native, service) {
    this.#native = native
    this.#service = service
    const token = node._token()
    this.#waiting = new Waiting(node, token * 2, () => native.watch(token), true)
    this.id = native.id()
  }

  get outcome() {
    return this.#native.outcome()
  }

  /** The next part of the reply; undefined once it is whole. */
  async receive(options) {
    const attempt = () => this.#native.receive()
    const part = await this.#waiting.wait(attempt, `receive a reply of service "${this.#service}"`, limits(options))
    return part === false ? undefined : part
  }

  cancel() {
    this.#native.cancel()
    this.#waiting.ring()
  }

  close() {
    this.#native.cancel()
    this.#waiting.ring()
    this.#native.close()
    this.#waiting.end((what) => new ClerverError('CANCELLED', `${what}: the call was closed`))
  }

  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        const part = await this.receive()
        if (part === undefined) return
        yield part
      }
    } finally {
      this.#native.close()
    }
  }

  [Symbol.dispose ?? Symbol.for('nodejs.dispose')]() {
    this.close()
  }
}

module.exports = { Call }
