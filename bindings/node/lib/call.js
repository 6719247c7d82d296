// A call that was started, and its replies.
'use strict'

const { ClerverError, limits } = require('./errors.js')
const { Waiting } = require('./waiting.js')

class Call {
  #native
  #service
  #waiting
  #signal
  #abort = () => this.cancel()
  /** How it ended: the whole reply came, or the error that came instead. */
  #end

  constructor(node, native, service, signal) {
    this.#native = native
    this.#service = service
    const token = node._token()
    this.#waiting = new Waiting(node, token * 2, () => native.watch(token), true)
    this.id = native.id()
    this.#signal = signal
    signal?.addEventListener('abort', this.#abort, { once: true })
  }

  get outcome() {
    return this.#native.outcome()
  }

  /** The next part of the reply; undefined once it is whole. */
  async receive(options) {
    const what = `receive a reply of service "${this.#service}"`
    const part = await this.#waiting.wait(() => this.#take(), what, limits(options))
    return part === false ? undefined : part
  }

  #take() {
    if (this.#end?.error !== undefined) throw this.#end.error
    if (this.#end !== undefined) return false
    let part
    try {
      part = this.#native.receive()
    } catch (error) {
      this.#over({ error })
      throw error
    }
    if (part === false) this.#over({})
    return part
  }

  /** The native half has nothing more, and may let it go. */
  #over(end) {
    this.#end ??= end
    this.#native.close()
    this.#signal?.removeEventListener('abort', this.#abort)
  }

  cancel() {
    if (this.#end !== undefined) return
    this.#native.cancel()
    this.#waiting.ring()
  }

  close() {
    this.cancel()
    const what = `receive a reply of service "${this.#service}"`
    this.#over({ error: new ClerverError('HANDLE', `${what}: the call was closed`) })
    this.#waiting.ring()
  }

  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        const part = await this.receive()
        if (part === undefined) return
        yield part
      }
    } finally {
      this.close()
    }
  }

  [Symbol.dispose ?? Symbol.for('nodejs.dispose')]() {
    this.close()
  }
}

module.exports = { Call }
